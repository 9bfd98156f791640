"""Residual networks of spiking neurons written out from their formulas, step by step, with nothing of the library.

Rules, with u[t] the potential before the reset, s[t] the spike, theta = 1, and g the slope of the rule's surrogate:

    stbp    dL/du[t] = dL/ds[t] g(u[t] - 1) + tau dL/du[t+1] (1 - s[t] - u[t] g(u[t] - 1)),    dL/dI[t] = dL/du[t]
            (without the last product where the reset is detached)
    pdsg    the same with a Gaussian around sigma/2 of width sigma, the deviation of u[1..t] of a channel, at least 0.1
    hart    dL/dI[t] = (1/T) sum_j dL/ds[j] g(u[j] - 1)
    bptr    dL/dI[t] = dL/ds[t] if the neuron fired at all
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def triangle(v: Tensor, width: float = 1.0) -> Tensor:
    return (width - v.abs()).clamp_min(0) / width**2


def arctan(v: Tensor, sharpness: float = 2.0) -> Tensor:
    return sharpness / 2 / (1 + (math.pi / 2 * sharpness * v) ** 2)


def gaussians(u: list[Tensor]) -> list[Tensor]:
    """PDSG's slope at each step."""
    slopes = []
    for t, now in enumerate(u):
        seen = torch.stack(u[: t + 1])  # [t + 1, B, C, H, W]
        sigma = seen.std(dim=(0, 3, 4), correction=0).clamp_min(0.1)[:, :, None, None]
        slopes.append(torch.exp(-((now - 1 - sigma / 2) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma))
    return slopes


class Fire(torch.autograd.Function):
    """Spikes of currents [T, B, C, H, W]."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: float, detached: bool, rule: str) -> Tensor:
        voltage, potentials, spikes = torch.zeros_like(current[0]), [], []
        for now in current:
            u = tau * voltage + now
            s = (u >= 1).to(u.dtype)
            voltage = u * (1 - s)
            potentials.append(u)
            spikes.append(s)
        ctx.kept = potentials, spikes, tau, detached, rule
        return torch.stack(spikes)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> Any:
        (above,) = upstreams
        u, s, tau, detached, rule = ctx.kept
        if rule == "bptr":
            found = [now * (sum(s) > 0) for now in above]
        elif rule == "hart":
            found = [sum(now * triangle(p - 1) for now, p in zip(above, u, strict=True)) / len(u)] * len(u)
        else:
            slopes = gaussians(u) if rule == "pdsg" else [arctan(p - 1) for p in u]
            found, after = [], torch.zeros_like(u[0])
            for t in reversed(range(len(u))):
                kept = 1 - s[t] - (0 if detached else u[t] * slopes[t])
                after = above[t] * slopes[t] + tau * after * kept
                found.insert(0, after)
        return torch.stack(found), None, None, None


def phase(x: Tensor, steps: int, weighted: bool = True) -> Tensor:
    """Digit t mod 8 of floor(256 x), the highest first; weighted by 2^-(1 + t mod 8)."""
    level = (256 * x).floor().clamp(0, 255)
    digits = [(level / 2 ** (7 - t % 8)).floor() % 2 * (2.0 ** -(1 + t % 8) if weighted else 1) for t in range(steps)]
    return torch.stack(digits)


def average(x: Tensor) -> Tensor:
    """3x3 with stride 2 over the pixels that there are."""
    there = F.avg_pool2d(torch.ones_like(x), 3, 2, 1)
    return F.avg_pool2d(x, 3, 2, 1) / there


def maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, 1)


def resnet18(
    values: dict[str, Tensor],
    code: Tensor,
    kind: str,
    pool: Callable[[Tensor], Tensor],
    fire: Callable[[Tensor], Tensor],
) -> Tensor:
    """Logits of a SEW-ResNet-18 ("sew": spikes are added) or a Spiking-ResNet-18 ("spiking": currents are, then fired).

    `values` are the tensors of a state dict, in eval mode; the stem is a 3x3 convolution with stride 1.
    """

    def normed(x: Tensor, conv: str, norm: str, stride: int) -> Tensor:
        weight = values[f"{conv}.weight"]
        mean, var, gain, shift = (
            values[f"{norm}.{name}"].view(-1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
        )
        made = [F.conv2d(step, weight, stride=stride, padding=weight.shape[-1] // 2) for step in x]
        return torch.stack([(step - mean) / (var + 1e-5).sqrt() * gain + shift for step in made])

    x = (code - values["pixel_mean"]) / values["pixel_std"]
    x = fire(normed(x, "body.stem.0.0", "body.stem.0.1", 1))
    x = torch.stack([pool(step) for step in x])
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            at, stride = f"body.stage{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            branch = fire(normed(x, f"{at}.branch.0.0", f"{at}.branch.0.1", stride))
            branch = normed(branch, f"{at}.branch.2.0", f"{at}.branch.2.1", 1)
            if kind == "sew":
                x = fire(normed(x, f"{at}.shortcut.0.0", f"{at}.shortcut.0.1", 2)) if stride == 2 else x
                x = fire(branch) + x
            else:
                x = normed(x, f"{at}.shortcut.0", f"{at}.shortcut.1", 2) if stride == 2 else x
                x = fire(branch + x)
    means = [step.mean((2, 3)) @ values["body.head.2.weight"].T + values["body.head.2.bias"] for step in x]
    return sum(means) / len(means)  # type: ignore[return-value]


def pgd(logits: Callable[[Tensor], Tensor], code: Tensor, y: Tensor, eps: float, alpha: float, steps: int) -> Tensor:
    """Signs of the cross-entropy's gradient, each entry of the code within eps and [0, 1]."""
    z = code.clone()
    for _ in range(steps):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits(z), y, reduction="sum"), z)
        z = (z.detach() + alpha * gradient.sign()).clamp(code - eps, code + eps).clamp(0, 1)
    return z
