"""What `wrap` finds out on the first images: how the network is wired, whether it forgets, and what of it is ours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import Advice, UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.seeds import seeded
from robustsnn.interop.frameworks import framework_of, reset, spiking_modules
from robustsnn.interop.reaching import reach
from robustsnn.interop.wiring import LAYOUTS, Layout, Readout, Wiring, dimensions, entry_of
from robustsnn.interop.wrapping import Wrapped
from robustsnn.neurons import neuron_layers

PROBED = 16
"""How many images are looked at."""


@dataclass(frozen=True)
class Wishes:
    """What the user said of a network; None is for us to find out. Not `copied`: what is asked is the user's own."""

    steps: int | None = None
    layout: Layout | None = None
    readout: Readout | None = None
    output: int | str | None = None
    tolerance: float = 0.0
    copied: bool = True


def settle(wishes: Wishes, model: Wrapped, x: Tensor) -> None:
    """Set the wiring of a model, and replace or record its neurons, as far as it is proven on these images."""
    x = x.detach()[:PROBED]
    if len(x) < 3:  # two sizes of batches are needed
        x = torch.cat([x, x.flip(-1), 1 - x])
    model.how = [] if wishes.copied else ["the network cannot be copied, it is used itself"]
    model.left_alone, model.recorded = {}, nn.ModuleList()
    with torch.inference_mode(False), torch.no_grad(), evaluating(model), seeded(0, "wrap"):
        x = x.clone()  # a tensor of inference mode has no gradient
        _wire(model, wishes, x)
        _forgets(model, x)
        reach(model, wishes.tolerance, x)
    layers = neuron_layers(model)
    if wishes.steps is None and x.ndim < 5 and layers and all(layer.steps == 1 for layer in layers):
        model.how.append("guessed that an image is shown for one step, say steps= if it is shown for more")
    for text in model.how:
        if text.startswith("guessed"):
            warnings.warn(text, Advice, stacklevel=4)


def _wire(model: Wrapped, wishes: Wishes, x: Tensor) -> None:
    layout, frames = _layout(model.net, wishes), x.ndim == 5  # frames have steps of their own
    if layout != "images" and wishes.steps is None and not frames:
        raise UserError(f"layout={layout!r} needs steps, the number of time steps that an image is shown")
    wiring = Wiring(layout, None if frames else wishes.steps, wishes.output)
    model.wiring = wiring
    try:
        raw = model.ask(x)
    except UserError:
        raise
    except Exception as error:  # whatever a network raises that is asked otherwise than it wants
        raise UserError(
            f"{type(model.net).__name__} fails when it is {wiring} ({' '.join(str(error).split())[:160]}); give "
            f"layout= ({', '.join(LAYOUTS)}) and steps= as it wants its input; a forward that takes a state too needs "
            f"a module around it that hands it on"
        ) from error
    if wishes.output is None:
        first = raw[0] if wiring.layout == "step" else raw
        wiring = replace(wiring, output=entry_of(first))
        if wiring.output is not None:
            model.how.append(f"guessed that entry {wiring.output!r} of the output is the answer, say output= otherwise")
    model.wiring = wiring
    try:
        batch, time = dimensions(model.ask, wiring, x)
    except RuntimeError as error:
        raise UserError(
            f"{type(model.net).__name__} takes {len(x)} images and fails with 3 ({' '.join(str(error).split())[:99]}); "
            f"it must take batches of any size (Sinabs: num_timesteps= instead of batch_size=)"
        ) from None
    model.wiring = replace(wiring, batch=batch, time=time, readout=wishes.readout or "mean")
    if time is not None and wishes.readout is None:
        model.how.append("guessed that time is read out by its mean, say readout= ('sum', 'last', 'max') otherwise")
    model.how.append(str(model.wiring))


def _layout(net: nn.Module, wishes: Wishes) -> Layout:
    """As the user says; else images where T is not given, and what the neurons take where it is."""
    if wishes.layout is not None or wishes.steps is None:
        return wishes.layout or "images"
    modules = spiking_modules(net).values()
    if any(type(module).__module__.startswith("sinabs") for module in modules):
        return "squeezed" if any(hasattr(module, "num_timesteps") for module in modules) else "BT"
    return "TB" if any(_whole(module) for module in modules) else "step"


def _whole(module: nn.Module) -> bool:
    framework = framework_of(module)
    return framework is not None and framework.sequence(module)[0](torch.zeros(1, 1)).ndim == 2


def _forgets(model: Wrapped, x: Tensor) -> None:
    """UserError if a pass depends on those before it."""

    def logits(images: Tensor, seed: int = 0) -> Tensor:
        with seeded(seed, "wrap"):
            return model.wiring.read(model.ask(images)).clone()

    before = _state(model.net)
    first = logits(x)
    reset(model.net)
    kept = [name for name, value in _state(model.net).items() if name not in before or not _same(before[name], value)]
    if not torch.equal(first.nan_to_num(), logits(x).nan_to_num()):
        what = f"{', '.join(kept[:4])} changed" if kept else "nothing in it that holds a tensor changed"
        raise UserError(
            f"{type(model.net).__name__} answers the same images otherwise when it is asked again under the same seed "
            f"({what}): reset its state at the start of its forward"
        )
    if not torch.equal(first, logits(x, 1)):
        return  # other sizes of a batch draw other numbers
    alone = logits(x[:1])
    if (alone - first[:1]).abs().max() > 1e-3 * (1 + first[:1].abs().max()):
        text = "the logits of an image change with the other images of its batch: look for statistics of the batch"
        warnings.warn(text, Advice, stacklevel=5)
        model.how.append(text)


def _state(net: nn.Module) -> dict[str, Tensor]:
    """All tensors that modules hold beside their parameters, by name."""
    found = {name: value.clone() for name, value in net.named_buffers()}
    for name, module in net.named_modules():
        found |= {f"{name}.{key}".strip("."): v.clone() for key, v in vars(module).items() if isinstance(v, Tensor)}
    return found


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
