"""Pictures of what an attack did, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import verify
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation.fitting import encode, fit_to, judge_of
from robustsnn.evaluation.judge import Judge
from robustsnn.evaluation.spike_maps import observe, spike_maps
from robustsnn.ground.door import check_images_of, check_kind, check_labels, check_model, check_whole
from robustsnn.ground.modes import evaluating, frozen
from robustsnn.ground.seeds import derived, seeded
from robustsnn.ground.types import Images, Labels
from robustsnn.losses import true_probability
from robustsnn.models import Encoded


def input_gradient(model: nn.Module, x: Images, y: Labels) -> Tensor:
    """grad_x of the softmax probability of the true class, per sample, in eval mode; shape of x."""
    check_model(model)
    check_images_of(x)
    check_labels(y, len(x))
    with frozen(model), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        probability = true_probability(model(leaf), y)
        if not probability.requires_grad:
            return torch.zeros_like(leaf)
        return torch.autograd.grad(probability.sum(), leaf)[0]


def pictures(model: nn.Module, data: ImageSet, suite: Suite, count: int = 6, seed: int = 0) -> dict[str, Any]:
    """Arrays for the report's pictures: the first `count` images, attacked, their input gradients, what fires.

    They are attacked anew for the picture: the adversarial image is that of the first attack of the suite's
    last column that breaks the sample, or else the last one tried. Other columns may break more. Where the
    code of an image was attacked, its mean change over time is shown, added to the image.

    Predictions, probabilities (the softmax of the logits) and spikes are those of one pass each on the clean and on
    the attacked input, with equal random numbers where the model draws some.
    """
    check_model(model)
    check_kind("suite", suite, Suite, "robustsnn.attacks.quick(8/255)")
    check_kind("data", data, ImageSet, "robustsnn.data.digits().test")
    check_whole("count", count)
    x, y = data.take(min(count, len(data))).floats(next(model.parameters()).device)
    suite = fit_to(model, suite, x, judge_of(model, x, suite))
    column, attacks = suite.columns[-1]
    judge = Judge()
    view, shown = model, x
    if suite.threat.space == "encoded":
        view = Encoded(model)
        shown = encode(view, x, 0, seed)
    adversarial = shown.clone()
    with seeded(seed, "pictures"):
        stands = judge(view, shown, y)[0] < 0
        for attack in attacks:
            at = stands.nonzero()[:, 0]
            if len(at):
                streams = Streams([derived(seed, "pictures", repr(attack), i) for i in at.tolist()], x.device)
                found = attack.run(view, shown[at], y[at], generator=streams).images
                verify(attack.threat, found, shown[at], attack)
                adversarial[at] = found
                stands[at] = judge(view, adversarial[at], y[at])[0] < 0
        gradient = input_gradient(model, x, y)
    with evaluating(model):
        with seeded(seed, "pictures", "pass"):
            logits, fired = observe(model, view, shown)
        with seeded(seed, "pictures", "pass"):
            logits_adversarial, fired_adversarial = observe(model, view, adversarial)
    if adversarial.ndim > x.ndim:
        adversarial = x + (adversarial - shown).mean(1)
    return {
        "image": x.cpu().numpy(),
        "adversarial": adversarial.cpu().numpy(),
        "gradient": gradient.cpu().numpy(),
        "label": y.cpu().numpy(),
        "predicted": logits.argmax(1).cpu().numpy(),
        "predicted_adversarial": logits_adversarial.argmax(1).cpu().numpy(),
        "probability": logits.float().softmax(1).cpu().numpy(),
        "probability_adversarial": logits_adversarial.float().softmax(1).cpu().numpy(),
        "classes": np.array(data.classes),
        "index": np.arange(len(x)),
        "attack": np.array(f"{column} of {suite.name}"),
        "eps": np.array(suite.threat.eps),
        "space": np.array(suite.threat.space),
        **spike_maps(fired, fired_adversarial),
    }
