"""Neurons that look like those of other frameworks, without any: classes that say that they come from there."""

import torch
from torch import Tensor, nn


class FastSigmoid(torch.autograd.Function):
    """v > 0 (or >= 0), with the slope 1 / (1 + k |v|)^2."""

    @staticmethod
    def forward(ctx, v, k, strict):
        ctx.save_for_backward(v)
        ctx.k = k
        return (v > 0 if strict else v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx, upstream):
        (v,) = ctx.saved_tensors
        return upstream / (1 + ctx.k * v.abs()) ** 2, None, None


class Fires(nn.Module):
    def __init__(self, k: float = 5.0) -> None:
        super().__init__()
        self.k = k

    def forward(self, v: Tensor) -> Tensor:
        return FastSigmoid.apply(v, self.k, False)


class IFNode(nn.Module):
    """SpikingJelly's, as far as anybody asks: single steps, or whole sequences with `step_mode` "m"."""

    __module__ = "spikingjelly.activation_based.neuron"

    def __init__(self, mode="s", detach=False, soft=False, k=5.0) -> None:
        super().__init__()
        self.v_threshold, self.v_reset, self.detach_reset, self.step_mode = 1.0, None if soft else 0.0, detach, mode
        self.surrogate_function = Fires(k)
        self._memories = {"v": 0.0}

    def reset(self) -> None:
        self._memories["v"] = 0.0

    def step(self, x: Tensor) -> Tensor:
        u = self._memories["v"] + x
        s = self.surrogate_function(u - self.v_threshold)
        back = s.detach() if self.detach_reset else s
        self._memories["v"] = u - self.v_threshold * back if self.v_reset is None else (1 - back) * u
        return s

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.step(step) for step in x]) if self.step_mode == "m" else self.step(x)


class Leaky(nn.Module):
    """snnTorch's: its reset comes one step late, and who calls it keeps the membrane or not."""

    __module__ = "snntorch._neurons.leaky"

    def __init__(self, beta: float = 0.9, k: float = 5.0) -> None:
        super().__init__()
        self.spike_grad = lambda v: FastSigmoid.apply(v, k, True)
        self.reset_mechanism, self.reset_delay = "subtract", True
        self.register_buffer("beta", torch.tensor(beta))
        self.register_buffer("threshold", torch.tensor(1.0))
        self.register_buffer("mem", torch.zeros(0), persistent=False)

    def fire(self, mem: Tensor) -> Tensor:
        return self.spike_grad(mem - self.threshold)

    def mem_reset(self, mem: Tensor) -> Tensor:
        return self.spike_grad(mem - self.threshold).clone().detach()

    def reset_mem(self) -> Tensor:
        self.mem = torch.zeros_like(self.mem)
        return self.mem

    def forward(self, x: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.mem = self.mem if mem is None else mem
        if self.mem.shape != x.shape:
            self.mem = torch.zeros_like(x)
        reset = self.mem_reset(self.mem)
        self.mem = self.beta * self.mem + x - reset * self.threshold
        return self.fire(self.mem), self.mem


class Loop(nn.Module):
    """Two layers of neurons and a read-out, with the loop over time inside."""

    def __init__(self, kind, steps=4, answer=lambda out, mem: torch.stack(out).mean(0)) -> None:
        super().__init__()
        self.conv, self.first, self.fc, self.second = nn.Conv2d(1, 4, 3), kind(), nn.Linear(144, 12), kind()
        self.out = nn.Linear(12, 5)
        self.steps, self.answer = steps, answer

    def forward(self, x: Tensor):
        out, mem = [], []
        for _ in range(self.steps):
            s, *_state = spikes(self.first(3 * self.conv(x)))
            s, *state = spikes(self.second(2 * self.fc(s.flatten(1))))
            out.append(self.out(s))
            mem += state
        return self.answer(out, mem)


def spikes(out):
    return out if isinstance(out, tuple) else (out,)


def made(kind=IFNode, seed=0, **options) -> Loop:
    torch.manual_seed(seed)
    return Loop(kind, **options).eval()


def images(n=6, seed=0) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
