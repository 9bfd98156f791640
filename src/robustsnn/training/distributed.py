"""Data-parallel training: gradients of the whole batch, and batch norms that know the whole batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustsnn.ground.distributed import ALONE, BatchShare, Processes
from robustsnn.ground.seeds import Draws
from robustsnn.ground.widest import wide


def share_of(draws: torch.Generator, share: BatchShare) -> Draws:
    """A generator that stands where `draws` does, for an objective that sees a share of the batch."""
    own = Draws()
    own.set_state(draws.get_state())
    own.total, own.start, own.stop = share.total, share.rows.start, share.rows.stop
    return own


def go_on(draws: torch.Generator, own: torch.Generator, processes: Processes, device: torch.device) -> None:
    """`draws` goes on, in every process, from where the first one's `own` stands."""
    if processes.count > 1:
        state = own.get_state().to(device)
        processes.spread([state])
        draws.set_state(state.cpu())


def sum_gradients(model: nn.Module, processes: Processes) -> None:
    """Each parameter's gradient becomes the sum over all processes.

    With losses weighted by their `BatchShare` that is the gradient of the mean over the whole batch. All gradients of
    one type travel as one vector.
    """
    _sum_together([p.grad for p in model.parameters() if p.grad is not None], processes)


def average_statistics(model: nn.Module, processes: Processes, share: BatchShare) -> None:
    """Running statistics of batch norms become their means over all processes, weighted by the share.

    They have seen different images since they last were equal. The mean that comes out is the mean over the whole
    batch; the variance lacks how much the means of the processes differ. Those of a `GlobalBatchNorm` that
    saw its share are equal anyway.
    """
    running: list[Tensor] = []
    if processes.count == 1:
        return
    for norm in model.modules():
        equal = isinstance(norm, GlobalBatchNorm) and norm.together
        if isinstance(norm, _BatchNorm) and not equal and norm.running_mean is not None:
            assert norm.running_var is not None
            running += [norm.running_mean, norm.running_var]
    for tensor in running:
        tensor.mul_(share.weight)
    _sum_together(running, processes)


def _sum_together(tensors: list[Tensor], processes: Processes) -> None:
    if processes.count == 1:
        return
    for kind in sorted({tensor.dtype for tensor in tensors}, key=str):
        those = [tensor for tensor in tensors if tensor.dtype == kind]
        whole = processes.sum(torch.cat([tensor.detach().reshape(-1) for tensor in those]))
        for tensor, part in zip(those, whole.split([tensor.numel() for tensor in those]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))


def over_the_batch(
    loss: Tensor, terms: dict[str, Tensor], hits: Tensor, processes: Processes, share: BatchShare
) -> tuple[dict[str, float], int]:
    """({"loss", term: its mean}, correct images) of the whole batch, the same in each process.

    What is not finite in one process is finite in none, so all of them find the same fault. One transfer in all.
    """
    means = {"loss": loss, **{name: term.mean() for name, term in terms.items()}}
    rows = share.rows.stop - share.rows.start
    found = torch.stack([wide(value.detach()) for value in (*means.values(), hits * (share.total / rows))])
    *values, correct = processes.sum(found * share.weight).tolist()
    return dict(zip(means, values, strict=True)), round(correct) if math.isfinite(correct) else 0


class _Sum(torch.autograd.Function):
    """The sum over all processes. What depends on it does so in each of them, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.sum(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        return _Sum.apply(upstream[0], ctx.processes), None


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of the samples of all processes, on any device; differentiable any number of times.

        m = sum_r n_r m_r / n,    v = sum_r n_r (v_r + (m_r - m)^2) / n,    y = weight (x - m) / sqrt(v + eps) + bias

    with n_r values per channel in process r, of mean m_r and variance v_r (both merged without cancellation: Chan,
    Golub and LeVeque 1983). Every process must make the same calls in the same order, backwards too. In eval mode,
    while `batch_statistics` is on (`track_running_stats` is then off) and in a batch that every process sees
    whole, it is the usual batch norm. torch.nn.SyncBatchNorm knows no CPU and is differentiable once.
    """

    processes: Processes = ALONE
    together: bool = True
    """Whether the samples of the processes are different ones."""

    def forward(self, input: Tensor) -> Tensor:
        """x `[B, C, H, W]` -> the same shape and type."""
        if not (self.training and self.track_running_stats and self.together and self.processes.count > 1):
            return super().forward(input)
        dims = (0, 2, 3)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = x.new_full((1,), x.numel() / x.shape[1])
        var, mean = torch.var_mean(x, dims, correction=0)
        summed: Tensor = _Sum.apply(torch.cat([count * mean, count]), self.processes)  # type: ignore[assignment]
        total = summed[-1]
        middle = summed[:-1] / total
        spread = count * (var + (mean - middle).square())
        variance: Tensor = _Sum.apply(spread, self.processes) / total  # type: ignore[operator]
        self._remember(middle.detach(), variance.detach() * total / (total - 1))
        scale = (variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - middle * scale if self.affine else -middle * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        part = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), part)
        self.running_var.lerp_(variance.to(self.running_var), part)


def synchronise_norms(model: nn.Module, processes: Processes) -> None:
    """Replaces each nn.BatchNorm2d in the model by a `GlobalBatchNorm` with the very same parameters and buffers."""
    made: dict[nn.Module, GlobalBatchNorm] = {}
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if type(norm) is nn.BatchNorm2d:
                if norm not in made:
                    made[norm] = _global(norm, processes)
                setattr(parent, name, made[norm])


def _global(norm: nn.BatchNorm2d, processes: Processes) -> GlobalBatchNorm:
    own = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    own._parameters, own._buffers, own.training = norm._parameters, norm._buffers, norm.training
    own.processes = processes
    return own


def see(model: nn.Module, share: BatchShare) -> None:
    """Tells the model's `GlobalBatchNorm`s whether the next batch is shared or seen whole by every process."""
    for norm in model.modules():
        if isinstance(norm, GlobalBatchNorm):
            norm.together = share.rows.stop - share.rows.start < share.total
