"""Every network of the registry, with every encoder that fits it: one training step, an attack, an analysis.

A new line of models/names.yaml or encoders/names.yaml is tested here by itself; one that is too large for a test gets
its smaller options in `SMALL`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from robustsnn.attacks import pgd
from robustsnn.attacks.suites import Suite
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.ground.modes import frozen
from robustsnn.ground.seeds import seeded
from robustsnn.losses import cross_entropy
from robustsnn.models import Encoded
from robustsnn.names import registered
from robustsnn.names.config import EncoderConfig, ModelConfig, SurrogateConfig
from robustsnn.objectives import SparsityRegularised
from robustsnn.runs.build import build_model
from robustsnn.studies.trail.measure import trail

STEPS = 2
RESNET = {"stem": "cifar", "width": 0.125}
SMALL: dict[str, dict[str, Any]] = {
    **{name: RESNET for name in registered("model") if "_resnet" in name},
    "wide_resnet16": {"width": 1},
    "vgg11": {"width": 1 / 8},
}
RANDOM = {"poisson"}


@cache
def data(events: bool) -> Splits:
    """A few noise images, or binary event frames."""
    shape, levels = ((STEPS, 2, 8, 8), 1) if events else ((1, 8, 8), 255)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(levels + 1, (4, *shape), generator=draw, dtype=torch.uint8)
    part = ImageSet(images, torch.arange(4) % 3, ("a", "b", "c"), "noise", levels)
    return Splits(part, part, part, "noise")


@pytest.mark.parametrize("encoder", registered("encoder"))
@pytest.mark.parametrize("name", registered("model"))
def test_trains_is_attacked_and_analysed(name: str, encoder: str) -> None:
    splits = data(encoder == "frames")
    config = ModelConfig(name, STEPS, SMALL.get(name, {}), EncoderConfig(encoder), surrogate=SurrogateConfig("arctan"))
    model = build_model(config, splits, seed=0)
    x, y = splits.train.floats()

    model.train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    terms, logits = SparsityRegularised(lam=0.1)(model, x, y, generator=torch.Generator())
    assert logits.shape == (4, 3)
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    optimiser.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved[0], "the first convolution did not learn"
    assert sum(moved) > len(moved) / 2

    model.eval()
    attack = pgd(8 / 255, 2)
    found = attack.run(model, x, y, generator=torch.Generator().manual_seed(1))
    assert (found.images - x).abs().max() <= 8 / 255 + 1e-6
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert not found.nan_gradient.any()

    view = Encoded(model)
    with seeded(0):
        code = view.encode(x)
        expected = view(code)
    with seeded(0), torch.no_grad():
        assert torch.equal(model(x), expected)
    if code.min() >= 0 and code.max() <= 1:
        behind = Suite("one", (("one", (attack,)),)).encoded().columns[0][1][0].run(view, code, y)
        assert (behind.images - code).abs().max() <= 8 / 255 + 1e-6

    followed = trail(model, (x, y), batch_size=4, weights_of=1)
    assert {"convolution", "norm", "neurons", "linear"} <= {o.kind for o in followed.operations}
    if encoder in RANDOM:
        assert followed == trail(model, (x, y), batch_size=1, weights_of=1)
        return
    with frozen(model):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
    assert followed.input.zeros.total == (gradient == 0).sum()
