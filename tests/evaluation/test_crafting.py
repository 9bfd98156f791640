"""Attacks may be crafted in bfloat16, verdicts are float32's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import robustsnn
from helpers import Linear, images, spiking
from robustsnn.attacks import Attack, Linf, Suite, pgd
from robustsnn.attacks.step import GradientStep
from robustsnn.cli import main
from robustsnn.evaluation import Effort, run_suite
from robustsnn.evaluation.crafting import RELIABLE, check_precision
from robustsnn.evaluation.fingerprint import exact, fingerprint, model_digest
from robustsnn.evaluation.judge import Judge
from robustsnn.ground.errors import UserError
from robustsnn.names.config import Config, ModelConfig, TrainConfig
from robustsnn.records.result import Precision, Result, Results
from robustsnn.reporting.wording import test_text as words_of_the_test
from robustsnn.runs.build import suite
from robustsnn.runs.folder import evaluate_run, summary, train_run

EPS = 0.03


class Watched(Linear):
    """Notes for each pass whether autocast was on; what it says under autocast is `twist` of the truth."""

    twist = staticmethod(lambda logits: logits)

    def forward(self, x: Tensor) -> Tensor:
        coarse = torch.is_autocast_enabled("cpu")
        seen.append((coarse, len(x)))
        with torch.autocast("cpu", enabled=False):
            logits = super().forward(x)
        return self.twist(logits) if coarse else logits


class Liar(Watched):
    """Under autocast all classes tie, which counts as misclassified."""

    twist = staticmethod(lambda logits: 0 * logits)


seen: list[tuple[bool, int]] = []


def data(model: torch.nn.Module, n: int = 24) -> tuple[Tensor, Tensor]:
    """Images that are all classified correctly."""
    x = images(n)
    seen.clear()
    with torch.no_grad():
        return x, model(x).argmax(1)


def attacks(eps: float = EPS) -> Suite:
    short, long = (Attack(Linf(eps), GradientStep(eps / 2), steps=steps) for steps in (1, 4))  # they begin at the image
    return Suite("two", (("worst case", (short, long)),), survivors_only=True)


def test_a_success_of_bfloat16_alone_is_attacked_again_in_float32():
    model = Liar()
    x, y = data(model)
    full, half = (run_suite(model, (x, y), attacks(), Effort(precision=p)) for p in ("float32", "bfloat16"))
    assert 0 < full.broken.any(0).sum() < len(x)
    for name in ("broken", "margin", "distance", "attacked"):
        assert np.array_equal(getattr(full, name), getattr(half, name)), name
    # bfloat16's own attack stopped at once (1 pass); then it was judged, looked at, and made anew.
    at = full.attacked
    assert np.array_equal(half.forwards[at], full.forwards[at] + 3)
    assert np.array_equal(half.backwards[at], full.backwards[at] + 1)


def test_without_the_second_look_the_liar_would_seem_robust(monkeypatch):
    from robustsnn.evaluation import running

    monkeypatch.setattr(running._AttackedBatch, "_again", lambda *_: None)
    model = Liar()
    assert run_suite(model, data(model), attacks(), Effort(precision="bfloat16")).standing().all()


def test_the_precision_of_each_pass():
    model = Watched()
    x, y = data(model)
    run_suite(model, (x, y), Suite("one", (("worst case", (pgd(EPS, 3, keep="last"),)),)), Effort(precision="bfloat16"))
    coarse = [now for now, _ in seen]
    # After what finds out about the model: a clean verdict, three gradients, a verdict, and a look at what stands.
    assert coarse[-6:] == [False, True, True, True, False, True]
    assert not any(coarse[:-6])
    seen.clear()
    run_suite(model, (x, y), attacks())
    assert not any(now for now, _ in seen)


def test_autocast_around_the_call_reaches_neither_verdicts_nor_crafting():
    model = Liar()
    x, y = data(model)
    expected = run_suite(model, (x, y), attacks(), judge=Judge())
    with torch.autocast("cpu", torch.bfloat16):
        found = run_suite(model, (x, y), attacks(), judge=Judge())
    assert found.equals(expected)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), eps=st.sampled_from([0.02, 0.1, 0.3]), steps=st.integers(1, 4))
def test_every_break_is_one_in_float32(seed, eps, steps):
    model = spiking(seed % 3, steps)
    x = images(16, (1, 8, 8), seed)
    with torch.no_grad():
        y = model(x).argmax(1)
    found = run_suite(model, (x, y), attacks(eps), Effort(precision="bfloat16", seed=seed), keep_images=True)
    assert found.images is not None
    margins, _ = Judge()(model, torch.from_numpy(found.images), y)
    assert np.array_equal(found.standing(), (margins < 0).numpy())
    assert np.array_equal(found.clean_margin, Judge()(model, x, y)[0].numpy())


def test_saved_outcomes_know_the_precision_and_older_ones_stay_valid(tmp_path):
    model = Linear()
    x, y = data(model)
    for effort in (Effort(out=tmp_path), Effort(precision="float32", out=tmp_path)):
        run_suite(model, (x, y), attacks(), effort)
    run_suite(model, (x, y), attacks(), Effort(precision="bfloat16", out=tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 2
    old = fingerprint(model_digest(model), [x, y], (exact(attacks()), exact(()), 128, 0, False, 1))
    assert any(name.endswith(old[:12]) for name in names)


@pytest.mark.parametrize("name", RELIABLE)
@pytest.mark.parametrize("change", [lambda s: s, Suite.merged, Suite.encoded, lambda s: s.encoded().merged()])
def test_suites_to_rely_on_are_refused_in_bfloat16(name, change):
    refused = change(suite(name)(0.1))
    with pytest.raises(UserError, match="crafts and judges in float32"):
        check_precision("bfloat16", refused)
    check_precision("float32", refused)
    check_precision("bfloat16", change(suite("quick")(0.1)))


@pytest.mark.parametrize("name", ["float16", "bf16", ""])
def test_other_precisions_are_refused(name):
    model = Linear()
    with pytest.raises(UserError, match="'float32', 'bfloat16'"):
        run_suite(model, data(model), attacks(), Effort(precision=name))


def test_the_command_line_refuses_before_anything_is_loaded(capsys, tmp_path):
    given = ["evaluate", str(tmp_path / "none"), "--suite", "reliable", "--eps", "8/255", "--precision", "bfloat16"]
    assert main(given) == 2
    assert "crafts and judges in float32" in capsys.readouterr().err


def test_results_say_what_was_crafted_in_which_precision(tmp_path):
    model = Linear()
    entry = robustsnn.evaluate(model, data(model), lambda eps: attacks(eps), EPS, precision="bfloat16").to_dict()
    assert entry["precision"] == {"crafting": "bfloat16", "judging": "float32"}
    assert "worst case of two crafted in bfloat16 at" in summary(entry)
    config = Config(model=ModelConfig(steps=1, options={"width": 0.2}), train=TrainConfig(epochs=1, batch_size=512))
    train_run(config, tmp_path)
    for precision in ("float32", "bfloat16"):
        evaluate_run(tmp_path, "paper-trail", "8/255", Effort(precision=precision), limit=4)
        (result,) = Results.load(tmp_path / "results.json").models.values()
        assert result.precision.crafting == precision
        assert ("crafted in bfloat16" in words_of_the_test(result)) == (precision == "bfloat16")
    told = [words_of_the_test(replace(result, precision=Precision(crafting))) for crafting in ("", "float32")]
    assert told[0] == told[1]
    assert Result().precision.crafting == ""
