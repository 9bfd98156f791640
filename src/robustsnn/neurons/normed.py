"""Batch norm and the neurons behind it in one: what the norm would write is never in memory.

A batch norm is an affine map of each channel, I = a x + b, once the statistics are known. The kernels of the
neurons compute it while they read x, in float32: no rounding of I to bfloat16, no tensor I, and in eval mode one
kernel per direction, which moves as much as the neurons alone would.

    a = gamma / sqrt(var + eps),   b = beta - mean a

In train mode mean and var are those of the batch, and with g = dL/dI, N numbers per channel, x' = (x - mean) / std:

    dL/dbeta = sum g,   dL/dgamma = sum g x',   dL/dx = a (g - mean(g) - x' mean(g x'))

Used where the kernels are compiled, for convolutions that wrote channels_last; elsewhere norm and neurons run one
after the other, which gives the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.widest import wide
from robustsnn.neurons.fused import compiles, run, surrogate_of
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.layer import Neurons
from robustsnn.neurons.rules import GradientRule

_kept_apart = False


def fusable(norm: nn.Module, neurons: Neurons, x: Tensor) -> bool:
    """Whether `fire_normed` takes these.

    It takes a plain batch norm and neurons, both watched by no hook, and a `[T or 1, B, C, H, W]` tensor, channels last
    in memory, of a size that is compiled. The rule of the neurons has no say, so that logits are the same under all.
    """
    if type(norm) is not nn.BatchNorm2d or not norm.affine or norm.running_mean is None or norm.momentum is None:
        return False
    if x.ndim != 5 or x.dtype == torch.float64 or not x.permute(0, 1, 3, 4, 2).is_contiguous():
        return False
    if _kept_apart or type(neurons) is not Neurons or type(neurons.neuron) is not LIF:
        return False
    if any("forward" in vars(m) or watched(m) for m in (norm, neurons)):
        return False
    return compiles(neurons.steps * x[0].numel(), x.device)


def watched(module: nn.Module) -> bool:
    """Whether a hook would miss something if the module were not called."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in hooks)


@contextmanager
def apart(wanted: bool = True) -> Iterator[None]:
    """Run norm and neurons one after the other inside the block, if `wanted`."""
    global _kept_apart
    before, _kept_apart = _kept_apart, _kept_apart or wanted
    try:
        yield
    finally:
        _kept_apart = before


def fire_normed(norm: nn.BatchNorm2d, neurons: Neurons, x: Tensor) -> Tensor:
    """Spikes `[T, B, C, H, W]` of neurons whose current is norm(x), for x `[T or 1, B, C, H, W]`; see `fusable`."""
    with torch.no_grad():
        if norm.training:
            mean, var, *affine = run(x.numel(), _of_the_batch, (norm.eps,), _images(x), norm.weight, norm.bias)
            if norm.track_running_stats:
                _track(norm, mean, var, x[:, :, 0].numel())
        else:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            # A copy: a later pass in train mode moves it in place, before this one is differentiated perhaps.
            mean = norm.running_mean.clone()
            affine = _affine(norm.eps, norm.weight, norm.bias, mean, norm.running_var)
    return _FireNormed.apply(x, norm.weight, norm.bias, mean, *affine, norm.eps, norm.training, neurons)  # type: ignore[no-any-return]


def _affine(eps: float, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> list[Tensor]:
    """1 / std, and a and b of I = a x + b, `[C]` each."""
    inverse = (var + eps).rsqrt()
    scale = weight * inverse
    return [inverse, scale, bias - mean * scale]


def _of_the_batch(eps: float, images: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """Mean and (biased) variance of each channel, and what `_affine` makes of them.

    Differences from one row, which is no further from the mean than a few deviations, are summed over an image in
    float32 and over images in float64, where the device has it. Summed in float32 alone, as torch's channels-last batch
    norm does, variances of large batches are off by 1e-5, which is 100 times a rounding and flips as many more spikes.
    """
    row, n = images[0, 0].float(), images.shape[0] * images.shape[1]
    difference = images.float() - row
    first = wide(difference.sum(1)).sum(0) / n
    second = wide(difference.square().sum(1)).sum(0) / n
    mean, var = (row + first).float(), (second - first.square()).clamp_min(0).float()
    return [mean, var, *_affine(eps, weight, bias, mean, var)]


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, n: int) -> None:
    """Move the running statistics, as torch's batch norm does: the variance unbiased."""
    assert norm.momentum is not None  # see `fusable`
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.mul_(1 - norm.momentum).add_(mean, alpha=norm.momentum)
    norm.running_var.mul_(1 - norm.momentum).add_(var, alpha=norm.momentum * n / max(n - 1, 1))


@dataclass(frozen=True, eq=False)
class _Normed(LIF):
    """A neuron of which the input is x, and the current I = scale x + shift."""

    scale: Tensor = field(kw_only=True)
    shift: Tensor = field(kw_only=True)
    through: bool = field(kw_only=True)

    def charge(self, current: Tensor) -> Tensor:
        return super().charge(_current(current, self.scale, self.shift))

    def discharge(self, gradient: Tensor) -> Tensor:
        """dL/dI, or with `through` dL/dx for a scale that is a constant."""
        gradient = super().discharge(gradient)
        return gradient * self.scale if self.through else gradient


def _current(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """I, for x with the channels last."""
    return x.to(scale.dtype) * scale + shift


def _per_channel(values: Tensor) -> Tensor:
    """`[C]` to multiply `[T, B, C, H, W]`."""
    return values.view(-1, 1, 1)


_DYNAMICS = tuple(f.name for f in fields(LIF))  # here, since a compiled kernel cannot ask


def _normed(neuron: LIF, scale: Tensor, shift: Tensor, through: bool = False) -> _Normed:
    dynamics = [getattr(neuron, name) for name in _DYNAMICS]
    return _Normed(*dynamics, scale=scale, shift=shift, through=through)


def _spikes(neuron: LIF, steps: int, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _normed(neuron, scale, shift).spikes(x, steps)


def _through_neurons(
    rule: GradientRule,
    neuron: LIF,
    steps: int,
    through: bool,
    upstream: Tensor,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """See `_Normed.discharge`, and `fused` for `steps`."""
    return rule.input_gradient(upstream, x, _normed(neuron, scale, shift, through))


def _sums(gradient: Tensor, images: Tensor, mean: Tensor, inverse: Tensor, scale: Tensor) -> list[Tensor]:
    """dL/dbeta, dL/dgamma, and the factors of 1 and of (x - mean) that dL/dx has through the statistics, `[C]` each."""
    g, n = gradient.float(), images.shape[0] * images.shape[1]
    of_bias = g.sum(1).sum(0)
    of_weight = (g * (images.float() - mean)).sum(1).sum(0) * inverse
    return [of_bias, of_weight, scale * of_bias / n, scale * inverse * of_weight / n]


def _through_statistics(
    gradient: Tensor, x: Tensor, scale: Tensor, mean: Tensor, of_shift: Tensor, of_scale: Tensor
) -> Tensor:
    """a g - of_shift - of_scale (x - mean)."""
    return (gradient.float() * scale - of_shift - (x.float() - mean) * of_scale).to(x.dtype)


def _rows(x: Tensor) -> Tensor:
    """`[T, B, C, H, W]`, channels last in memory -> `[T, B H W, C]`, a view."""
    return x.permute(0, 1, 3, 4, 2).reshape(x.shape[0], -1, x.shape[2])


def _images(x: Tensor) -> Tensor:
    """`[T, B, C, H, W]`, channels last in memory -> `[T B, H W, C]`, a view."""
    return x.permute(0, 1, 3, 4, 2).reshape(-1, x.shape[3] * x.shape[4], x.shape[2])


def _restored(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_rows`, with the steps of `rows`."""
    _, batch, channels, height, width = like.shape
    return rows.view(rows.shape[0], batch, height, width, channels).permute(0, 1, 4, 2, 3)


class _FireNormed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        inverse: Tensor,
        scale: Tensor,
        shift: Tensor,
        eps: float,
        training: bool,
        neurons: Neurons,
    ) -> Tensor:
        size = neurons.steps * x[0].numel()
        spikes = run(size, _spikes, (neurons.neuron, neurons.steps), _rows(x), scale, shift)
        ctx.save_for_backward(x, weight, bias, mean, inverse, scale, shift)
        ctx.eps, ctx.training, ctx.neuron, ctx.rule = eps, training, neurons.neuron, neurons.rule
        return _restored(spikes, x)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias, mean, inverse, scale, shift = ctx.saved_tensors
        (upstream,) = upstreams
        none = (None,) * 7
        if torch.is_grad_enabled():  # under create_graph=True alone
            return *_second(ctx, upstream, x, weight, bias, mean, inverse), *none
        neuron, rule, size, rows = ctx.neuron, ctx.rule, upstream.numel(), _rows(x)
        # Without statistics to go through and parameters to find one kernel is enough.
        alone = not ctx.training and not any(ctx.needs_input_grad[1:3])
        if rule.elementwise:
            kind = rule, neuron, len(upstream), alone
            gradient = run(size, _through_neurons, kind, _rows(upstream), rows, scale, shift)
        else:  # a rule that looks at whole samples gets them as they are
            whole = rule.input_gradient(upstream, _restored(_current(rows, scale, shift), x), neuron)
            gradient = _rows(whole * _per_channel(scale) if alone else whole).to(x.dtype)
        if alone:
            return _restored(gradient, x), None, None, *none
        images = _images(x)
        of_bias, of_weight, of_shift, of_scale = run(
            size, _sums, (), gradient.view(images.shape), images, mean, inverse, scale
        )
        if not ctx.training:
            of_shift = of_scale = torch.zeros_like(mean)
        onward = run(size, _through_statistics, (), gradient, rows, scale, mean, of_shift, of_scale)
        return _restored(onward, x), of_weight, of_bias, *none


def _second(
    ctx: Any, upstream: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient as a function that can be differentiated again: norm and neurons one after the other."""
    if ctx.training:
        current = nn.functional.batch_norm(
            x.flatten(0, 1).float(), None, None, weight, bias, training=True, momentum=0.0, eps=ctx.eps
        ).unflatten(0, x.shape[:2])
    else:
        current = (x.float() - _per_channel(mean)) * _per_channel(inverse * weight) + _per_channel(bias)
    smooth = ctx.neuron.differentiable(surrogate_of(ctx.rule))
    gradient = ctx.rule.input_gradient(upstream, current, smooth)
    wanted = [tensor for tensor, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(current, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[:3])
