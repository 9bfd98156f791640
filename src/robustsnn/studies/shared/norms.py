"""Norms and measures of sparsity of gradients, row by row: `[n, entries]` -> `[n]`, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from robustsnn.ground.widest import wide, widest


def l0(rows: Tensor) -> Tensor:
    """The number of entries that are not exactly zero."""
    return wide((rows != 0).sum(1))


def l1(rows: Tensor) -> Tensor:
    """The sum of magnitudes."""
    return wide(rows).abs().sum(1)


def l2(rows: Tensor) -> Tensor:
    """The root of the sum of squares."""
    peak = wide(rows).abs().amax(1)
    return peak * scaled(rows).square().sum(1).sqrt()


def scaled(rows: Tensor) -> Tensor:
    """g / max|g|, so that squares of tiny entries do not underflow; a row of zeros stays one."""
    values = wide(rows)
    peak = values.abs().amax(1, keepdim=True)
    return values / torch.where(peak > 0, peak, 1.0)


def near_zero(rows: Tensor, share: float) -> Tensor:
    """The share of entries with |g| <= share max|g|; 1 for a row of zeros."""
    return wide(scaled(rows).abs() <= share).mean(1)


def gini(rows: Tensor) -> Tensor:
    """Gini index of the magnitudes: 0 if all are equal, 1 - 1/N if one of N is not zero; NaN for a row of zeros.

        G = 1 - 2 sum_k (c_k / ||c||_1) (N - k + 1/2) / N,    c_1 <= ... <= c_N the magnitudes in order

    Source: Hurley and Rickard, IEEE Trans. Information Theory 2009.
    """
    ordered = scaled(rows).abs().sort(1).values
    n = rows.shape[1]
    weights = torch.arange(n, 0, -1, dtype=widest(rows.device), device=rows.device) - 0.5
    return 1 - 2 * (ordered * weights).sum(1) / (n * ordered.sum(1))


def hoyer(rows: Tensor) -> Tensor:
    """Hoyer's sparsity (sqrt(N) - ||g||_1 / ||g||_2) / (sqrt(N) - 1): 0 if all magnitudes are equal, 1 if one of N
    is not zero; NaN for a row of zeros, and for N = 1. Source: Hoyer, JMLR 2004.
    """
    values = scaled(rows)
    root = rows.shape[1] ** 0.5
    found = (root - values.abs().sum(1) / values.square().sum(1).sqrt()) / (root - 1 if root > 1 else float("nan"))
    return found.clamp(0, 1)  # rounding may pass the ends by 1e-16
