"""Searching a ball around each image for the points where a network's answer is lowest and highest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustsnn.analysis.response import Response
from robustsnn.attacks.threat import per_sample
from robustsnn.ground.types import Images, Labels
from robustsnn.neurons import GradientRule, gradient_rule


class Extremes:
    """The lowest and highest f `[B]` of all points offered so far, and where it was found `[B, ...]`.

    It begins with the images themselves. Points found in a ball are in all larger balls too, so one search may go on
    from radius to radius, upwards.
    """

    def __init__(self, x: Images, f: Tensor) -> None:
        self.low, self.high = f, f
        self.low_at, self.high_at = x, x

    def offer(self, z: Images, f: Tensor) -> None:
        """Take the points z, with their f, for each sample that they are further out for."""
        lower, higher = f < self.low, f > self.high
        self.low, self.high = torch.where(lower, f, self.low), torch.where(higher, f, self.high)
        self.low_at = torch.where(per_sample(lower, z), z, self.low_at)
        self.high_at = torch.where(per_sample(higher, z), z, self.high_at)

    def gap(self, f: Tensor) -> Tensor:
        """The largest (f(z) - f)^2 of all offered points."""
        return torch.maximum(self.high - f, f - self.low).square()


def search(
    found: Extremes,
    response: Response,
    x: Images,
    y: Labels,
    at: int,
    gradient: Tensor,
    eps: float,
    rules: Sequence[GradientRule | None],
    steps: int,
) -> None:
    """Offer x +- eps sign(gradient), and every point of a projected ascent and descent of f under each rule.

    They start at the best points found so far and make `steps` sign steps of 2.5 eps / steps inside |z - x| <= eps,
    not cut to the range of pixels. 2 + 2 R (steps + 1) forward passes for R rules, and 2 R steps backward.
    """
    for sign in (1, -1):
        z = x + sign * eps * gradient.sign()
        found.offer(z, response(z, y, at)[0])
    for rule in rules if steps else ():
        for sign in (1, -1):
            z = found.high_at if sign == 1 else found.low_at
            with gradient_rule(response.model, rule):
                for _ in range(steps):
                    f, slope = response.gradient(z, y, at)
                    found.offer(z, f)
                    z = z + (sign * 2.5 * eps / steps) * slope.sign()
                    z = torch.minimum(torch.maximum(z, x - eps), x + eps)
            found.offer(z, response(z, y, at)[0])
