"""Networks of other frameworks as models of ours, with every gradient rule.

No framework is imported here: what is asked of one is asked of the network's own objects.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from robustsnn.ground.door import check_among, check_images_of, check_kind, check_number, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.interop.frameworks import KNOWN as KNOWN
from robustsnn.interop.frameworks import reset
from robustsnn.interop.settling import Wishes, settle
from robustsnn.interop.wiring import LAYOUTS, READOUTS, Layout, Readout
from robustsnn.interop.wrapping import Wrapped as Wrapped
from robustsnn.interop.wrapping import unreached as unreached


def wrap(
    net: nn.Module,
    *,
    x: Tensor | None = None,
    steps: int | None = None,
    layout: Layout | None = None,
    readout: Readout | None = None,
    output: int | str | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    tolerance: float = 0.0,
) -> Wrapped:
    """A spiking network of SpikingJelly, snnTorch, Sinabs or Norse as a model that every attack and rule reaches.

    The model takes pixels `[B, C, H, W]` in [0, 1] (or frames `[B, T, C, H, W]`), resets the network, and returns
    logits `[B, K]`. What is not said is found out on the first images, and told in `model.how`.

    Args:
        net: the network; it is copied, unless it cannot be.
        x: images to find out with; None waits for the first call.
        steps: T, if the network is to be called with time. Without it, it is called with images, once.
        layout: "images", "TB", "BT", "squeezed" (`[B T, ...]`), or "step" (one image per step, a loop of ours); a guess
            is made from the neurons.
        readout: of time in the output: "mean", "sum", "last" or "max".
        output: which entry of a tuple or dict is the answer.
        mean, std: per channel, of pixels in [0, 1], for a network that does not normalise by itself.
        tolerance: the share of spikes of a layer that may be others in the neurons that rules reach; 0 asks for
            equality, bit by bit.
    """
    check_kind("net", net, nn.Module, "a torch.nn.Module")
    if any(isinstance(module, Wrapped) for module in net.modules()):
        raise UserError("net is wrapped already, or a part of it is: give the network as its framework has it")
    if steps is not None:
        check_whole("steps", steps)
    for name, value, allowed in (("layout", layout, LAYOUTS), ("readout", readout, READOUTS)):
        if value is not None:
            check_among(name, value, allowed)
    check_number("tolerance", tolerance, above=-1e-9, most=1)
    if x is not None:
        check_images_of(x)
    for name, value in (("mean", mean), ("std", std)):
        for one in value if isinstance(value, list | tuple) else [value]:
            check_number(name, one)
    reset(net)
    copied = False
    with suppress(Exception):  # what cannot be copied is used itself, and told; nothing in it changes but its state
        net, copied = copy.deepcopy(net), True
    there = next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))
    of_pixels = [torch.as_tensor(v, dtype=torch.float32, device=there).reshape(-1, 1, 1) for v in (mean, std)]
    if not bool((of_pixels[1] > 0).all()):
        raise UserError(f"std={std}: all must be positive")
    model = Wrapped(net, partial(settle, Wishes(steps, layout, readout, output, tolerance, copied)), *of_pixels)
    model.eval()
    if x is not None:
        model.meet(x)
    return model
