"""Validation, clean and robust, and the choice of an epoch by it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers import Linear
from robustsnn.attacks import pgd
from robustsnn.attacks.threat import Linf
from robustsnn.data.batches import ImageSet
from robustsnn.ground.errors import UserError
from robustsnn.objectives import Natural, SparsityRegularised
from robustsnn.objectives.schedule import ByValidation, Cosine, Scheduled
from robustsnn.training.fit import accuracy, constant, fit
from robustsnn.training.saving import RunFolder
from robustsnn.training.validation import Validation, best_epoch, robust_accuracy, validate

LEVELS = torch.tensor([0, 51, 102, 128, 153, 204, 255], dtype=torch.uint8)


class Threshold(nn.Module):
    """Class 1 above a half: an image's distance to the boundary is |x - 1/2|."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)


def pixels(labels):
    return ImageSet(LEVELS.view(-1, 1, 1, 1), torch.tensor(labels), ("dark", "bright"), "pixels")


def noise(n=30, seed=0):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 4, 4), generator=draws, dtype=torch.uint8)
    labels = (images.float().mean((1, 2, 3)) > 128).long()
    return ImageSet(images, labels, ("dark", "bright", "none"), "noise")


def draws():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("eps", "robust"), [(0.0, 7), (0.05, 6), (0.15, 4), (0.4, 2), (0.55, 0)])
def test_robust_accuracy_is_known_on_a_threshold(eps, robust):
    data = pixels([0, 0, 0, 1, 1, 1, 1])
    assert accuracy(Threshold(), data) == 1.0
    found = robust_accuracy(Threshold(), data, pgd(eps, 3), draws(), batch_size=3)
    assert found == pytest.approx(robust / 7)


def test_an_image_that_is_wrong_as_it_is_does_not_count_even_if_the_attack_mends_it():
    class Mends:
        threat, label, black_box, passes = Linf(1.0), "mends", True, 0

        def run(self, model, x, y, *, generator=None):
            return SimpleNamespace(images=y.float().view(-1, 1, 1, 1))

    data = pixels([1, 0, 0, 1, 1, 1, 0])
    assert robust_accuracy(Threshold(), data, Mends(), draws()) == pytest.approx(5 / 7)


def test_validation_repeats_leaves_the_mode_and_names_its_attack():
    model, attack = Linear(), pgd(0.02, 3)
    model.train()
    one, two = (validate(model, Validation(noise(), attack, 12), 8, seed=1, epoch=2) for _ in range(2))
    assert one == two
    assert model.training
    assert one["validation"]["n"] == 30
    assert one["validation_attack"] == {"attack": attack.label, "threat": repr(attack.threat), "n": 12}
    head = noise().take(12)
    assert one["validation"]["robust"] <= accuracy(model, head)
    assert one["validation"]["robust"] * 12 == pytest.approx(round(one["validation"]["robust"] * 12))


def test_a_stochastic_model_is_validated_alike_after_any_other_draws():
    class Noisy(Threshold):
        def forward(self, x):
            return super().forward(x) + 0.2 * torch.randn(len(x), 2)

    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(validate(Noisy(), Validation(noise(60)), 8, seed=0, epoch=0)["validation"]["accuracy"])
    assert found[0] == found[1] < 1


def entries(*pairs):
    return [{"epoch": k + 1, "validation": {"accuracy": a, "robust": r}} for k, (a, r) in enumerate(pairs)]


def test_the_best_epoch():
    history = entries((0.8, 0.3), (0.9, 0.2), (0.7, 0.4), (0.75, 0.4), (0.9, 0.1), (0.75, 0.4))
    assert best_epoch(history, "last") == 6
    assert best_epoch(history, "validation") == 2
    assert best_epoch(history, "validation-robust") == 4


def fitted(objective, epochs=4, *, run=None, **judged):
    model = Linear()
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    options = {"batch_size": 10, "validation": Validation(noise(40, 1), **judged), "schedule": constant, "run": run}
    return model, fit(model, noise(), objective, optimiser, epochs=epochs, **options)


def test_selection_by_robust_accuracy_ends_with_the_weights_of_that_epoch(tmp_path):
    attack = pgd(0.05, 2, keep="last")
    options = {"attack": attack, "attacked": 20}
    weights = [fitted(Natural(), epochs, **options)[0].weight for epochs in range(1, 9)]
    model, history = fitted(Natural(), 8, select="validation-robust", run=tmp_path, **options)
    chosen = best_epoch(history, "validation-robust")
    assert torch.equal(model.weight, weights[chosen - 1])
    assert {e["validation"]["n"] for e in history} == {40}
    assert {e["validation_attack"]["n"] for e in history} == {20}
    again = RunFolder(tmp_path, resume=True)
    resumed, _ = fitted(Natural(), 8, select="validation-robust", run=again, **options)
    assert torch.equal(resumed.weight, model.weight)


def test_lambda_is_logged_as_it_was_used():
    used = []

    class Spy(SparsityRegularised):
        def __call__(self, *args, **options):
            used.append(self.lam)
            return super().__call__(*args, **options)

    _, history = fitted(Scheduled(Spy(0.4), Cosine("up")), 3)
    assert [e["lam"] for e in history] == pytest.approx([0.0, 0.2, 0.4])
    assert used == [e["lam"] for e in history for _ in range(3)]
    assert all("lam" not in e for e in fitted(Natural(), 1)[1])
    assert fitted(SparsityRegularised(0.3), 1)[1][0]["lam"] == 0.3


def test_by_validation_follows_its_rule_on_the_history_that_it_made():
    rule = ByValidation(rate=2.0)
    _, history = fitted(Scheduled(SparsityRegularised(0.01), rule), 5, attack=pgd(0.03, 2))
    for k, entry in enumerate(history):
        assert entry["lam"] == 0.01 * rule.factor(k, 5, history[:k])
    assert len({e["lam"] for e in history}) > 1


@pytest.mark.parametrize(
    ("objective", "options", "text"),
    [
        (Natural(), {"select": "validation-robust"}, "give validation_attack"),
        (Scheduled(SparsityRegularised(0.1), ByValidation()), {}, "ByValidation.*give validation_attack"),
        (Natural(), {"attack": 3}, "attack=3.*an Attacker"),
        (Natural(), {"attacked": 5}, "attacked=5"),
        (Natural(), {"attacked": 41, "attack": pgd(0.1, 1)}, "attacked=41.*1 to 40"),
        (Natural(), {"attacked": 0, "attack": pgd(0.1, 1)}, "attacked=0"),
    ],
)
def test_bad_arguments(objective, options, text):
    with pytest.raises(UserError, match=text):
        fitted(objective, **options)
