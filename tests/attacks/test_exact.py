"""The exact solver: equal to brute force and closed forms where these exist, and never beaten elsewhere."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import benchmark, images
from robustsnn.attacks import RandomSearch, quick
from robustsnn.attacks.exact import Exact
from robustsnn.attacks.threat import Linf, verify
from robustsnn.attacks.trains import cells, first_layer
from robustsnn.encoders import Direct, Poisson
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct
from robustsnn.models import Classifier
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import IF, LIF, Neurons

NEURONS = [
    IF(),
    IF(reset="soft"),
    LIF(tau=0.5),
    LIF(tau=0.7, theta=0.6, reset="soft"),
    LIF(tau=0.5, theta=0.4, decay_input=True),
    LIF(tau=0.3, theta=0.8, decay_input=True, reset="soft"),
]


def mlp(neuron: LIF, steps: int, pixels: int = 3, width: int = 6, classes: int = 3, seed: int = 0) -> Classifier:
    """Two hidden layers on `[1, 1, pixels]`, with weights for which most neurons fire at some images only."""
    torch.manual_seed(seed)
    body = Layers(
        nn.Flatten(2),
        nn.Linear(pixels, width),
        Neurons(neuron, steps),
        nn.Linear(width, width),
        Neurons(neuron, steps),
        nn.Linear(width, classes),
    )
    with torch.no_grad():
        for layer in body:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(std=1.2)
                layer.bias.normal_(0.3 * neuron.theta, 0.3)
    return Classifier(body, Direct(), (1, 1, pixels)).eval()


def grid(x: Tensor, eps: float, points: int) -> Tensor:
    """All images of a grid over the ball, its corners included; float64 rounded to float32."""
    axes = [np.linspace(max(0.0, v - eps), min(1.0, v + eps), points) for v in x.flatten().double().tolist()]
    return torch.tensor(np.array(list(itertools.product(*axes))), dtype=torch.float32).view(-1, *x.shape)


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_train_of_a_constant_current_is_that_of_its_cell(neuron, steps):
    breaks, trains = cells(neuron, steps)
    assert (np.diff(breaks) > 1e-6).all()
    assert (trains[1:] != trains[:-1]).any(1).all()
    assert not trains[0].any()
    assert trains[-1].all()
    currents = torch.linspace(-0.5, 4 * neuron.theta / neuron.gain, 20001, dtype=torch.float64)
    inside = np.abs(currents.numpy()[:, None] - breaks).min(1) > 1e-9
    fired = neuron.spikes(currents[None], steps).T.numpy()
    expected = trains[np.searchsorted(breaks, currents.numpy(), side="right")]
    assert (fired == expected)[inside].all()


def test_the_cells_of_an_integrator_with_hard_reset_are_the_shares_of_its_threshold():
    breaks, trains = cells(IF(theta=1.2), 4)
    np.testing.assert_allclose(breaks, [1.2 / 4, 1.2 / 3, 1.2 / 2, 1.2])
    assert trains.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_the_cells_of_sampled_images_lie_in_the_range_of_their_box(neuron):
    first = first_layer(mlp(neuron, 3, pixels=5))
    draws = np.random.default_rng(0)
    for _ in range(20):
        low = draws.uniform(0, 0.8, 5)
        high = low + draws.uniform(0, 0.2, 5)
        least, most = first.range(low, high, 1e-5)
        points = np.where(draws.random((500, 5)) < 0.5, low, high)  # corners, where the ends are
        points[::2] = draws.uniform(low, high, (250, 5))
        seen = np.stack([first.cell(point) for point in points])
        assert (seen >= least).all()
        assert (seen <= most).all()
        # and the bounds are attained neuron by neuron, at the corners that the signs of the weights name
        up = [first.cell(np.where(row > 0, high, low))[i] for i, row in enumerate(first.weight)]
        down = [first.cell(np.where(row > 0, low, high))[i] for i, row in enumerate(first.weight)]
        assert (np.array(up) == most).all()
        assert (np.array(down) == least).all()


def test_the_first_layer_and_the_rest_are_the_network():
    torch.manual_seed(0)
    body = Layers(
        Fold(nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)),
        Neurons(IF(), 4),
        Fold(nn.MaxPool2d(2)),
        nn.Flatten(2),
        nn.Linear(12, 4),
    )
    model = Classifier(body, Direct(), (2, 8, 8), (0.4, 0.5), (0.2, 0.3))
    for i in range(5):
        model(images(8, (2, 8, 8), seed=i))
    first, x = first_layer(model.eval()), images(6, (2, 8, 8))
    choices = np.stack([first.cell(image) for image in x.flatten(1).double().numpy()])
    torch.testing.assert_close(first.logits(choices), model(x))
    assert model.body[0][0].training is False
    assert first.weight.dtype == np.float64


def threshold(theta: float = 1.0, steps: int = 1) -> Classifier:
    """One neuron on 2 pixels with current 3 x_1 - 2 x_2 + 0.5; class 1 has the larger logit where it fires."""
    body = Layers(nn.Flatten(2), nn.Linear(2, 1), Neurons(IF(theta=theta), steps), nn.Linear(1, 2))
    with torch.no_grad():
        body[1].weight.copy_(torch.tensor([[3.0, -2.0]]))
        body[1].bias.fill_(0.5)
        body[3].weight.copy_(torch.tensor([[0.0], [2.0 * steps]]))
        body[3].bias.copy_(torch.tensor([1.0, 0.0]))
    return Classifier(body, Direct(), (1, 1, 2), (0.0,), (1.0,)).eval()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_one_neuron_is_decided_by_the_closed_form(steps):
    # It fires within T steps where 3 x_1 - 2 x_2 + 0.5 >= theta / T; at the image that is 0, and it moves by 5 eps.
    exact, x = Exact(threshold(1.5, steps)), torch.tensor([[[0.1, 0.4]]])
    radius = 1.5 / steps / 5
    for share, status in ((0.5, "robust"), (0.999, "robust"), (1.001, "broken"), (1.2, "broken")):
        assert exact.decide(x, 0, share * radius).status == status


def test_the_data_range_cuts_the_ball():
    exact = Exact(threshold(2.0))
    x = torch.tensor([[[0.0, 0.9]]])
    # The current is largest at (eps, 0.9 - eps): 5 eps - 1.3, which is 2 at 0.66.
    assert exact.decide(x, 0, 0.659).status == "robust"
    assert exact.decide(x, 0, 0.661).status == "broken"
    x = torch.tensor([[[0.9, 0.9]]])  # 3.2 - 1.8 + 5 eps, but x_1 is at most 1
    assert Exact(threshold(3.0)).decide(x, 0, 0.6).status == "robust"  # 3 - 0.6 + 0.5
    assert Exact(threshold(2.8)).decide(x, 0, 0.6).status == "broken"


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_it_agrees_with_a_fine_grid(neuron, steps):
    seen = set()
    for seed in range(5):
        model = mlp(neuron, steps, seed=seed)
        exact = Exact(model)
        for x in images(2, (1, 1, 3), seed=seed):
            y = int(model(x[None]).argmax())
            for eps in (0.02, 0.1):
                verdict = exact.decide(x, y, eps)
                points = grid(x, eps, 21)
                wrong = bool((~correct(model(points), torch.full((len(points),), y))).any())
                assert verdict.status != "undecided"
                # A grid finds nothing that is not there, and misses what is smaller than its mesh.
                assert not (wrong and verdict.status == "robust")
                if verdict.status == "broken":
                    assert verdict.image is not None
                    verify(Linf(eps), verdict.image[None], x[None], exact)
                    assert not correct(model(verdict.image[None]), torch.tensor([y]))[0]
                seen.add((verdict.status, wrong))
    assert {("robust", False), ("broken", True)} <= seen


def test_a_misclassified_image_is_broken_at_no_distance_and_so_is_a_tie():
    model, x = mlp(IF(), 2), torch.full((1, 1, 3), 0.5)
    y = int(model(x[None]).argmax())
    exact = Exact(model)
    assert exact.decide(x, y, 0.0).status == "robust"
    verdict = exact.decide(x, (y + 1) % 3, 0.0)
    assert verdict.status == "broken"
    assert verdict.image is not None
    assert torch.equal(verdict.image, x)
    with torch.no_grad():
        model.body[-1].weight[(y + 1) % 3] = model.body[-1].weight[y]
        model.body[-1].bias[(y + 1) % 3] = model.body[-1].bias[y]
    assert Exact(model).decide(x, y, 0.0).status == "broken"


@pytest.mark.parametrize("neuron", [IF(), LIF(tau=0.5, reset="soft")], ids=repr)
def test_nothing_breaks_what_is_proved_and_larger_balls_keep_what_is_broken(neuron):
    model = mlp(neuron, 3, pixels=16, width=8, classes=4, seed=3)
    exact, x = Exact(model), images(8, (1, 1, 16))
    y = model(x).argmax(1)
    radii = (0.01, 0.02, 0.03)
    table = [[exact.decide(image, int(label), eps).status for eps in radii] for image, label in zip(x, y, strict=True)]
    for row in table:
        assert "undecided" not in row
        assert row == sorted(row, reverse=True)  # robust, then broken
    proved = torch.tensor([row[1] == "robust" for row in table])
    assert 0 < int(proved.sum()) < 8
    for attack in [a for _, a in quick(radii[1]).members()] + [RandomSearch(Linf(radii[1]), "corners", 500)]:
        found = attack.run(model, x, y).images
        assert correct(model(found), y)[proved].all()


def test_it_does_not_matter_how_many_combinations_are_tried_at_once():
    model = mlp(LIF(tau=0.5), 3, pixels=8, width=7)
    x = images(6, (1, 1, 8))
    y = model(x).argmax(1)
    whole, parts = Exact(model), Exact(model, table=5)
    for image, label in zip(x, y, strict=True):
        for eps in (0.03, 0.1):
            one, other = (exact.decide(image, int(label), eps) for exact in (whole, parts))
            assert one.status == other.status
            assert other.combinations <= one.combinations or one.status == "broken"


def test_pixels_that_are_not_free_stay():
    model = mlp(IF(), 3, pixels=12, width=7, seed=1)
    exact, x = Exact(model), images(8, (1, 1, 12))
    free = torch.zeros(1, 1, 12, dtype=torch.bool)
    free[..., [2, 7]] = True
    statuses = []
    for image, label in zip(x, model(x).argmax(1), strict=True):
        verdict = exact.decide(image, int(label), 0.3, free=free)
        plane = image.repeat(3721, 1, 1, 1)
        plane[:, free] = grid(image[free], 0.3, 61)
        wrong = not correct(model(plane), label.expand(3721)).all()
        assert not (wrong and verdict.status == "robust")
        if verdict.image is not None:
            assert torch.equal(verdict.image[~free], image[~free])
        else:
            assert exact.decide(image, int(label), 0.3).status in ("robust", "broken")
        statuses.append(verdict.status)
    assert set(statuses) == {"robust", "broken"}


def test_out_of_time_is_undecided():
    model = mlp(IF(), 4, pixels=16, width=10)
    x = images(1, (1, 1, 16))[0]
    assert Exact(model).decide(x, int(model(x[None]).argmax()), 0.2, seconds=0.0).status == "undecided"


@pytest.mark.parametrize(
    ("layers", "encoder", "reason"),
    [
        ([nn.Flatten(2), nn.Linear(3, 2)], Direct(), "no layer of neurons"),
        ([nn.Flatten(2), nn.ReLU(), nn.Linear(3, 2), Neurons(IF(), 2)], Direct(), "not affine"),
        ([nn.Flatten(2), nn.Linear(3, 2), Neurons(IF(), 2)], Poisson(2), "direct coding"),
    ],
)
def test_other_networks_are_refused(layers, encoder, reason):
    with pytest.raises(UserError, match=reason):
        Exact(Classifier(Layers(*layers), encoder, (1, 1, 3)))


# Planted defects: the tests above would see them


def test_bounds_of_the_wrong_sign_are_seen_by_sampled_images():
    model = mlp(IF(), 3, pixels=5)
    first = first_layer(model)
    wrong = replace(first, weight=-first.weight)  # as if the bounds were those of -A
    low, high = np.full(5, 0.4), np.full(5, 0.6)
    least, most = wrong.range(low, high, 1e-5)
    seen = first.cell(high)
    assert not ((seen >= least) & (seen <= most)).all()


@pytest.mark.parametrize("field", ["weight", "bias", "breaks"])
def test_a_first_layer_that_is_off_is_seen_by_the_grid(field):
    mistakes = 0
    for seed in range(6):
        model = mlp(IF(), 3, seed=seed)
        exact = Exact(model)
        exact.first = replace(exact.first, **{field: 2 * getattr(exact.first, field)})
        for x in images(4, (1, 1, 3), seed=seed):
            y = model(x[None]).argmax(1)
            points = grid(x, 0.1, 9)
            wrong = not correct(model(points), y.expand(len(points))).all()
            mistakes += exact.decide(x, int(y), 0.1).status != ("broken" if wrong else "robust")
    assert mistakes


def test_the_benchmark_counts_what_is_missed_and_sees_a_proof_that_is_refuted():
    truth = ["wrong", "robust", "broken", "broken", "undecided"]
    rows = [{"truth": truth, "standing": {"quick": [False, True, True, False, False]}}]
    with benchmark("truth") as script:
        assert script.missed(rows, "quick") == (1, 2)
        assert script.impossible(rows) == 0
        rows[0]["standing"]["quick"][1] = False
        assert script.impossible(rows) == 1
