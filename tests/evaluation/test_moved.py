"""Moved statistics against the procedure written out, and what they leave behind."""

import copy

import pytest
import torch
from torch import nn

from helpers import images, spiking
from robustsnn.attacks import Linf, Square, Suite, fgsm, paper_trail, pgd
from robustsnn.evaluation import Effort, moved_statistics, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import statistics

EPS = 0.05
SUITE = Suite("s", (("FGSM", (fgsm(EPS),)), ("PGD", (pgd(EPS, 4, alpha=0.02, random_start=False),))))


def settled():
    """A network, labelled images that are darker than those its statistics have settled on, and all statistics."""
    model, x = spiking(), images(40, (1, 8, 8), low=0.1, high=0.5)
    return model, x, model(x).argmax(1), [buffer.clone() for buffer in statistics(model)]


def by_hand(model, x, y, batch_size):
    """Craft in train mode, judge in eval mode, batch by batch, with nothing of the library's attacks."""
    model = copy.deepcopy(model)
    stands = {"FGSM": [], "PGD": []}
    for start in range(0, len(x), batch_size):
        xb, yb = x[start : start + batch_size], y[start : start + batch_size]
        crafted = {}
        model.train()
        for name, steps, alpha in (("FGSM", 1, EPS), ("PGD", 4, 0.02)):
            z = xb.clone()
            for _ in range(steps):
                z.requires_grad_()
                (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), yb), z)
                z = (z.detach() + alpha * gradient.sign()).clamp(xb - EPS, xb + EPS).clamp(0, 1)
            crafted[name] = z
        model.eval()
        for name, z in crafted.items():
            stands[name] += (model(z).argmax(1) == yb).tolist()
    return stands


@pytest.mark.parametrize("batch_size", [40, 16])
def test_it_is_the_procedure_of_the_released_code(batch_size):
    model, x, y, _ = settled()
    found = moved_statistics(model, (x, y), SUITE, batch_size=batch_size)
    assert found == by_hand(model, x, y, batch_size)
    fixed = run_suite(model, (x, y), SUITE, Effort(batch_size=batch_size))
    assert found["PGD"] != (~fixed.broken[1]).tolist()
    assert 0 < sum(found["FGSM"]) < 40


def test_it_is_the_crafting_in_train_mode_judged_by_other_statistics():
    """Where statistics cannot move the judge is the network itself, and the figures are those of the usual suite."""
    model, x, y, _ = settled()
    suite = paper_trail(EPS, batch_statistics=True)
    usual = [(~row).tolist() for row in run_suite(model, (x, y), suite).broken]
    assert list(moved_statistics(model, (x, y), paper_trail(EPS)).values()) != usual
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    assert list(moved_statistics(model, (x, y), paper_trail(EPS)).values()) == usual


def test_statistics_move_inside_and_are_given_back_after_an_exception_too():
    model, x, y, before = settled()
    model.train()
    modes = [(m.training, getattr(m, "track_running_stats", None), len(m._forward_pre_hooks)) for m in model.modules()]
    for limit in (None, 3):
        seen: list[bool] = []

        def look(module, given, seen=seen, limit=limit):
            seen.append(all(torch.equal(a, b) for a, b in zip(statistics(model), before, strict=True)))
            if len(seen) == limit:
                raise ZeroDivisionError

        hook = model.register_forward_pre_hook(look)
        if limit is None:
            moved_statistics(model, (x, y), paper_trail(EPS).encoded(), batch_size=20)
        else:
            with pytest.raises(ZeroDivisionError):
                moved_statistics(model, (x, y), paper_trail(EPS), batch_size=20)
            assert seen == [True, False, False]
        hook.remove()
        assert all(torch.equal(a, b) for a, b in zip(statistics(model), before, strict=True))
        after = [
            (m.training, getattr(m, "track_running_stats", None), len(m._forward_pre_hooks)) for m in model.modules()
        ]
        assert after == modes


def test_attacks_without_a_gradient_are_refused():
    model, x, y, _ = settled()
    with pytest.raises(UserError, match="gradient attacks alone"):
        moved_statistics(model, (x, y), Suite("s", (("c", (Square(Linf(EPS), 5),)),)))
