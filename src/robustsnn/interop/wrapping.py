"""`wrap`: a network of any framework as a model of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.interop.frameworks import reset, spiking_modules
from robustsnn.interop.proof import listening
from robustsnn.interop.steps import RecordedNeurons
from robustsnn.interop.tape import Tape
from robustsnn.interop.wiring import Wiring
from robustsnn.neurons.normed import watched


class Wrapped(nn.Module):
    """A foreign network as a map from pixels to logits; made by `wrap`.

    In eval mode its neuron layers obey gradient rules; in train mode it is the network as its framework has it. A
    network in another precision than its pixels is asked in its own, and its logits are given in theirs.

    Attributes:
        how: what was found out and done, in sentences.
        left_alone: neuron layers that no gradient rule reaches, with the reasons.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, net: nn.Module, settle: Callable[[Wrapped, Tensor], None], mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net = net
        self.settle: Callable[[Wrapped, Tensor], None] | None = settle
        self.wiring = Wiring()
        # Not `mean` and `std`: torchattacks takes the images of a model that has these for normalised ones.
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        self.recorded = nn.ModuleList()
        self.how: list[str] = []
        self.left_alone: dict[str, str] = {}

    @property
    def precision(self) -> torch.dtype | None:
        """Of the weights; None where they have none, or several."""
        kinds = {p.dtype for p in self.net.parameters() if p.is_floating_point()}
        return kinds.pop() if len(kinds) == 1 else None

    def ask(self, x: Tensor) -> Any:
        """What the network itself answers to pixels, from fresh state."""
        reset(self.net)
        of_net = self.precision or x.dtype
        x = x.to(torch.promote_types(x.dtype, of_net))  # normalised in the wider of both
        mean, std = self.pixel_mean.to(x), self.pixel_std.to(x)
        if x.ndim == 2:  # vectors
            mean, std = mean.flatten(), std.flatten()
        return self.wiring.ask(self.net, ((x - mean) / std).to(of_net))

    def meet(self, x: Tensor) -> None:
        """Find out how the network works, on the first images that it meets."""
        if self.settle is not None:
            settle, self.settle = self.settle, None
            try:
                settle(self, x)
            except BaseException:
                self.settle = settle
                raise
            self.train(self.training)  # what was put in has no mode yet

    def forward(self, x: Tensor) -> Tensor:
        self.meet(x)
        layers = () if self.training else tuple(self.recorded)
        if layers and (torch.is_grad_enabled() or any(watched(m) or "forward" in vars(m) for m in layers)):
            return self.tape(x).replay(x).to(x.dtype)
        try:
            return self.wiring.read(self.ask(x)).to(x.dtype)
        finally:
            reset(self.net)  # its state would hold on to the graph

    def tape(self, x: Tensor) -> Tape:
        """A pass that is recorded, with gradient."""
        modules = dict(self.net.named_modules())
        tape = Tape({modules[layer.name]: layer for layer in self.recorded if isinstance(layer, RecordedNeurons)})
        try:
            with torch.enable_grad(), tape.recording(listening):
                tape.leaf = x.detach().requires_grad_()
                tape.logits = self.wiring.read(self.ask(tape.leaf))
        finally:
            reset(self.net)
        return tape

    def extra_repr(self) -> str:
        return "; ".join(self.how)


def unreached(model: nn.Module) -> dict[str, str]:
    """Layers of neurons of other frameworks that no gradient rule reaches, each with the reason."""
    wrapped = [module for module in model.modules() if isinstance(module, Wrapped)]
    if wrapped:
        return {name: why for module in wrapped for name, why in module.left_alone.items()}
    return dict.fromkeys(spiking_modules(model), "the network was not handed to robustsnn.wrap")
