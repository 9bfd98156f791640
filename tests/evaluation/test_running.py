"""Running a suite: what counts as broken, who is attacked, and what is left of a folder."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Attempt, Linf, RandomSearch, Source, Suite, Transfer, fgsm, pgd
from robustsnn.attacks.threat import Threat
from robustsnn.evaluation import Effort, Shard, evaluate, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.units import show_fraction

EPS = 0.08


@dataclass(frozen=True)
class Move:
    """Adds the same number to every pixel; costs nothing and asks nothing."""

    by: float
    threat: Threat = field(default_factory=lambda: Linf(EPS))
    label: str = "move"
    black_box: bool = False
    passes: int = 0

    def run(self, model, x, y, *, generator=None):
        attempt = Attempt.none(x)
        attempt.images = x + self.by
        return attempt


def suite(*attacks, **options):
    return Suite("test", (("all", attacks),), **options)


class Known(nn.Module):
    """Perfect on the images it knows, and NaN on everything else, as a network with a trap for attacks is."""

    def __init__(self, x, y, labels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("x", x)
        self.register_buffer("y", y)
        self.labels = labels

    def forward(self, x):
        known = (x[:, None] == self.x).flatten(2).all(2)
        logits = nn.functional.one_hot(self.y[known.float().argmax(1)], self.labels).to(x)
        return torch.where(known.any(1)[:, None], logits, torch.nan) * self.scale + 0 * x.flatten(1).sum(1)[:, None]


@pytest.mark.parametrize(
    "attacks",
    [(Move(0.01),), (fgsm(EPS),), (pgd(EPS, 2),), (RandomSearch(Linf(EPS), "uniform", 3),), (Move(0.0), Move(0.02))],
    ids=repr,
)
def test_a_network_that_answers_nan_on_changed_images_has_no_robust_accuracy(attacks):
    x, y = images(12), torch.arange(12) % 3
    found = run_suite(Known(x, y, 3), (x, y), suite(*attacks), Effort(batch_size=5), keep_images=True)
    assert found.correct.all()
    assert not found.standing().any()
    assert found.broken[-1].all()
    assert np.isnan(found.margin[-1]).all()
    assert not np.isclose(found.images, x.numpy()).all((1, 2, 3)).any()  # the broken image is kept, not the clean one
    if len(attacks) == 2:
        assert not found.broken[0].any()


def test_a_tie_is_broken_and_the_smallest_lead_is_not():
    class Even(nn.Module):
        """Class 0 leads by the distance of the first pixel from 1/2."""

        def forward(self, x):
            return torch.stack([0.5 - x[:, 0, 0, 0], torch.zeros(len(x))], 1)

    x, y = torch.full((2, 1, 1, 1), 0.4375), torch.zeros(2, dtype=torch.int64)
    found = run_suite(Even(), (x, y), suite(Move(0.0625 - 2**-20), Move(0.0625)))
    assert found.broken.tolist() == [[False] * 2, [True] * 2]
    assert (found.margin < 0).tolist() == [[True] * 2, [False] * 2]


def test_candidates_alone_are_attacked_whatever_the_batches():
    model, x = Linear(3), images(11)
    y = model(x).argmax(1)
    y[4] = (y[4] + 1) % 3  # wrong already
    wanted = np.arange(11) % 3 != 0
    whole = run_suite(model, (x, y), suite(fgsm(EPS)), Effort(batch_size=11))
    for batch_size in (1, 2, 4, 11):
        found = run_suite(model, (x, y), suite(fgsm(EPS)), Effort(batch_size=batch_size), candidates=wanted)
        assert np.array_equal(found.attacked[0], wanted & found.correct)
        assert np.array_equal(found.broken[0], whole.broken[0] & wanted)
    shard = Shard(2, 3)
    takes = np.array([shard.takes(i // 2) for i in range(11)])
    found = run_suite(model, (x, y), suite(fgsm(EPS)), Effort(batch_size=2), candidates=wanted[takes], shard=shard)
    assert np.array_equal(found.attacked[0], (wanted & whole.correct)[takes])


def test_columns_start_anew_unless_survivors_alone_go_on():
    model, x = Linear(3), images(20)
    y = model(x).argmax(1)
    columns = (("first", (fgsm(EPS / 4),)), ("second", (pgd(EPS / 4, 2), pgd(EPS / 4, 3))))
    anew, on = (run_suite(model, (x, y), Suite("test", columns, survivors_only=only)) for only in (False, True))
    assert 2 < anew.broken[0].sum() < 20
    assert anew.attacked[1].all()
    assert np.array_equal(on.attacked[1], ~on.broken[0])
    for found in (anew, on):
        assert not (found.attacked[2] & found.broken[1]).any()
    assert np.array_equal(anew.standing(), on.standing())


def test_batches_hold_one_image_or_more():
    model, x = Linear(3), images(2)
    y = model(x).argmax(1)
    assert len(run_suite(model, (x, y), suite(fgsm(EPS)), Effort(batch_size=1)).label) == 2
    with pytest.raises(UserError, match="batch_size=0"):
        run_suite(model, (x, y), suite(fgsm(EPS)), Effort(batch_size=0))


def test_pixels_have_their_own_range_where_an_encoded_space_has_another():
    model, x = spiking(), images(3, (1, 8, 8))
    y = model(x).argmax(1)
    wide = suite(Move(0.0, Linf(EPS, low=-1.0, high=2.0, space="encoded")))
    run_suite(model, (x, y), wide)
    x[1, 0, 0, 0] = 1.5
    with pytest.raises(UserError, match=r"1\.5"):
        run_suite(model, (x, y), wide)


def test_a_network_is_no_black_box_to_itself():
    model, x = Linear(3), images(3)
    y = model(x).argmax(1)
    with pytest.raises(UserError, match="the source me is the attacked model itself"):
        run_suite(model, (x, y), suite(Transfer(Source("me", Linear(3)), pgd(EPS, 1))))
    run_suite(model, (x, y), suite(Transfer(Source("other", Linear(3, seed=1)), pgd(EPS, 1))))


def test_progress_counts_batches_and_attacks_and_ends():
    model, x = Linear(3), images(5)
    y, told = model(x).argmax(1), []
    run_suite(
        model, (x, y), suite(fgsm(EPS), pgd(EPS, 1)), Effort(batch_size=2), progress=lambda *said: told.append(said)
    )
    assert [(done, total) for done, total, _ in told] == [(i + 1, 6) for i in range(6)]
    assert ["1/2, batch 1/3" in told[0][2], "2/2, batch 3/3" in told[-1][2]] == [True, True]


def test_starting_anew_deletes_the_batches_of_the_shard_alone(tmp_path):
    model, x = Linear(3), images(6)
    y = model(x).argmax(1)

    def run(resume=True, **options):
        return run_suite(model, (x, y), suite(fgsm(EPS)), Effort(1, out=tmp_path, resume=resume), **options)

    run()
    (folder,) = tmp_path.iterdir()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("batch-*.npz")}
    run(shard=Shard(1, 2), resume=False)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("batch-*.npz")}
    changed = [int(name[6:11]) for name in before if before[name] != after[name]]
    assert after.keys() == before.keys()
    assert sorted(changed) == [number for number in range(6) if Shard(1, 2).takes(number)]


def test_starting_anew_needs_no_folder_from_before(tmp_path):
    model, x = Linear(3), images(3)
    y = model(x).argmax(1)
    found = run_suite(model, (x, y), suite(fgsm(EPS)), Effort(out=tmp_path / "new", resume=False))
    again = run_suite(model, (x, y), suite(fgsm(EPS)), Effort(out=tmp_path / "new"))
    assert again.equals(found)


def test_images_that_nothing_worsens_are_kept_clean():
    model, x = Linear(3), images(12)
    y = model(x).argmax(1)
    y[:4] = (y[:4] + 1) % 3  # wrong already, so not attacked
    found = run_suite(model, (x, y), suite(Move(0.0), fgsm(EPS)), keep_images=True)
    assert np.array_equal(found.images[:4], x[:4].numpy())
    assert (found.images[4:] != x[4:].numpy()).any((1, 2, 3)).all()
    still = run_suite(model, (x, y), suite(Move(0.0)), keep_images=True)
    assert np.array_equal(still.images, x.numpy())


@dataclass(frozen=True)
class Onward(Move):
    """Moves on from the worst points, where it is given any."""

    given: list = field(default_factory=list, repr=False, compare=False)
    goes_on: bool = True

    def run(self, model, x, y, *, generator=None, worst=None):
        self.given.append(worst)
        return super().run(model, x if worst is None else worst, y)


@pytest.mark.parametrize("survivors", [True, False])
def test_who_goes_on_is_given_the_worst_points_of_those_it_attacks_where_survivors_alone_are_left(survivors):
    model, x = Linear(3), images(9)
    y = model(x).argmax(1)
    onward = Onward(0.0, Linf(EPS / 8))
    columns = (("first", (pgd(EPS / 8, 2),)), ("second", (onward,)))
    found = run_suite(model, (x, y), Suite("test", columns, survivors_only=survivors), keep_images=True)
    first = run_suite(model, (x, y), suite(pgd(EPS / 8, 2)), keep_images=True)
    left = ~first.broken[0] if survivors else np.ones(9, dtype=bool)
    assert np.array_equal(found.attacked[1], left)
    assert 0 < left.sum() <= 9
    if survivors:
        assert np.array_equal(onward.given[0].numpy(), first.images[left])
    else:
        assert onward.given == [None]


def test_outcomes_are_used_again_unless_they_are_to_be_made_anew(tmp_path, monkeypatch):
    model, x = Linear(3), images(4)
    y, asked = model(x).argmax(1), []
    run_it = Move.run
    monkeypatch.setattr(Move, "run", lambda *given, **options: asked.append(None) or run_it(*given, **options))

    def attacked(**effort):
        asked.clear()
        run_suite(model, (x, y), suite(Move(0.0)), Effort(2, out=tmp_path, **effort))
        return len(asked)

    assert attacked() == 2
    assert attacked() == attacked(seed=0) == 0
    assert attacked(resume=False) == 2
    assert attacked(seed=1) == 2


def test_an_evaluation_tells_of_its_checks_and_ends_when_they_are_done():
    """They take as long as a short attack, and nobody should think that it hangs."""
    model, x = Linear(3), images(5)
    y, told = model(x).argmax(1), []

    def tell(*said):
        told.append(said)

    evaluate(model, (x, y), lambda eps: suite(fgsm(eps)), 0.1, curve=(0.05, 0.2), progress=tell)
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert [text for *_, text in told].index("attacked and checked") == len(told) - 1
    assert [share == 1 for share in shares] == [False] * (len(told) - 1) + [True]
    (checks,) = (at for at, (*_, text) in enumerate(told) if "the checks" in text)
    before, after = told[checks - 1][2], told[checks + 1][2]
    assert before.startswith(f"eps {show_fraction(0.1)} ")
    assert after.startswith(f"eps {show_fraction(0.2)} ")
