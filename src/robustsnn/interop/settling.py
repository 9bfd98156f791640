"""What `wrap` finds out on the first images: how the network is wired, whether it forgets, and what of it is ours."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import Advice, UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.seeds import seeded
from robustsnn.interop.frameworks import framework_of, reset, spiking_modules
from robustsnn.interop.proof import READ, obstacles, put, recorder, twin, unequal
from robustsnn.interop.tape import Recorded
from robustsnn.interop.wiring import Layout, Readout, Wiring, dimensions, entry_of
from robustsnn.interop.wrapping import Wrapped
from robustsnn.neurons import Neurons

PROBED = 16
"""How many images are looked at."""


@dataclass(frozen=True)
class Wishes:
    """What the user said of a network; None is for us to find out."""

    steps: int | None = None
    layout: Layout | None = None
    readout: Readout | None = None
    output: int | str | None = None
    tolerance: float = 0.0


def settle(wishes: Wishes, model: Wrapped, x: Tensor) -> None:
    """Set the wiring of a model, and replace or record its neurons, as far as it is proven on these images."""
    x = x.detach()[:PROBED]
    if len(x) < 3:  # two sizes of batches are needed
        x = torch.cat([x, x.flip(-1), 1 - x])
    model.how, model.left_alone, model.recorded = [], {}, nn.ModuleList()
    with torch.inference_mode(False), torch.no_grad(), evaluating(model), seeded(0, "wrap"):
        x = x.clone()
        _wire(model, wishes, x)
        _forgets(model, x)
        _reach(model, wishes.tolerance, x)
    for text in model.how:
        if text.startswith("guessed"):
            warnings.warn(text, Advice, stacklevel=4)


def _wire(model: Wrapped, wishes: Wishes, x: Tensor) -> None:
    wiring = Wiring(_layout(model.net, wishes), wishes.steps if x.ndim == 4 else None, wishes.output)
    model.wiring = wiring
    raw = model.ask(x)
    if wishes.output is None:
        first = raw[0] if wiring.layout == "step" else raw
        wiring = replace(wiring, output=entry_of(first))
        if wiring.output is not None:
            model.how.append(f"guessed that entry {wiring.output!r} of the output is the answer, say output= otherwise")
    model.wiring = wiring
    batch, time = dimensions(model.ask, wiring, x)
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
        return "BT"
    return "TB" if any(_whole(module) for module in modules) else "step"


def _whole(module: nn.Module) -> bool:
    framework = framework_of(module)
    return framework is not None and framework.sequence(module)[0](torch.zeros(1, 1)).ndim == 2


def _forgets(model: Wrapped, x: Tensor) -> None:
    """UserError if a pass depends on those before it."""

    def logits(images: Tensor) -> Tensor:
        with seeded(0, "wrap"):
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


def _reach(model: Wrapped, tolerance: float, x: Tensor) -> None:
    """Let rules reach as many layers as can be proven."""
    modules = spiking_modules(model.net)
    with _outputs(modules) as given:
        logits = model.wiring.read(model.ask(x))
    plain = {name: [call.clone() for call in calls] for name, calls in given.items()}
    layers = {name: recorder(name, module) for name, module in modules.items()}
    while layers:
        model.recorded = nn.ModuleList(layers.values()).eval()
        try:
            tape = model.tape(x)
        except Exception as error:  # whatever somebody's module does when it is looked into
            text = " ".join(str(error).split())[:120]
            model.left_alone |= dict.fromkeys(layers, f"a recorded pass failed ({text})")
            layers = {}
            break
        found = obstacles(tape, tape.logits)
        if not found:
            break
        model.left_alone |= {name: why for name, why in found.items() if why != READ}
        if any(why == READ for why in found.values()):
            read = [name for name, why in found.items() if why == READ]
            model.how.append(f"{_names(read)} read out by the membrane")
        layers = {name: layer for name, layer in layers.items() if name not in found}
    model.recorded = nn.ModuleList(layers.values()).eval()
    if layers:
        _keep(model, tolerance, x, logits, plain, {steps.layer.name: steps for steps in tape.order})
    for name, why in model.left_alone.items():
        model.how.append(f"no gradient rule reaches {name}: {why}")


def _keep(
    model: Wrapped, tolerance: float, x: Tensor, logits: Tensor, plain: dict[str, list[Tensor]], passed: dict[str, Any]
) -> None:
    """Replace what can be replaced, and keep the rest recorded, if spikes and logits are those of the plain pass."""
    ours: dict[str, Neurons] = {}
    modules = dict(model.net.named_modules())
    for name, steps in passed.items():
        steps.layer.steps = len(steps.spikes)
        made = twin(modules[name], name, steps.layer.steps) if len(steps.inputs) == 1 else None
        if made is not None:
            ours[name] = made
    recorded = list(model.recorded)
    if ours:
        try:
            net = copy.deepcopy(model.net)
        except Exception:  # whatever cannot be copied is recorded
            net, ours = model.net, {}
        original, model.net = model.net, net
        for name, layer in ours.items():
            put(net, name, layer)
        model.recorded = nn.ModuleList(m for m in recorded if isinstance(m, Recorded) and m.name not in ours)
        with _outputs(ours) as given:
            now = model.wiring.read(model.ask(x))
        share = max((unequal(calls[0], plain[name][0]) for name, calls in given.items()), default=0.0)
        if ours and _accept(share, torch.equal(now, logits), tolerance):
            told = "" if share == 0 else f", {100 * share:.3g} % of the spikes of a layer are others"
            model.how.append(f"{_names(ours)} replaced by neurons of ours{told}")
        else:
            model.net, model.recorded = original, nn.ModuleList(recorded)
            if ours:
                model.how.append(f"neurons of ours would fire {100 * share:.3g} % of the spikes of a layer otherwise")
    rest = [m for m in model.recorded if isinstance(m, Recorded)]
    if rest:
        tape = model.tape(x)
        layers = {steps.layer.name: steps for steps in tape.order}
        share = max(unequal(layer.whole(layers[layer.name].outputs), layer.whole(plain[layer.name])) for layer in rest)
        if _accept(share, torch.equal(tape.logits, logits), tolerance):
            told = "" if share == 0 else f", {100 * share:.3g} % of the spikes of a layer are others"
            model.how.append(f"{_names(layer.name for layer in rest)} recorded{told}")
        else:
            model.recorded = nn.ModuleList()
            why = f"recorded, {100 * share:.3g} % of the spikes of a layer are others"
            model.left_alone |= {layer.name: why for layer in rest}


def _accept(share: float, equal: bool, tolerance: float) -> bool:
    return share <= tolerance and (equal or share > 0)


def _names(names: Any) -> str:
    listed = list(names)
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return f"{', '.join(listed[:6])}{more}: {len(listed)} neuron layer{'s' if len(listed) > 1 else ''}"


@contextmanager
def _outputs(modules: dict[str, Any]) -> Iterator[dict[str, list[Tensor]]]:
    """What layers send out inside the block, call by call."""
    given: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str) -> Any:
        return lambda _, __, out: given[name].append((out[0] if isinstance(out, tuple) else out).detach())

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()
