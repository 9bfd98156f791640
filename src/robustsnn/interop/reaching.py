"""From a network as it is to one whose neurons obey rules: replaced where that is proven, or recorded, or left."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from robustsnn.ground.seeds import seeded
from robustsnn.interop.frameworks import out_of_sight, spiking_modules
from robustsnn.interop.proof import CUT, READ, obstacles, put, recorder, sent, twin, unequal
from robustsnn.interop.steps import RecordedNeurons
from robustsnn.interop.tape import Tape
from robustsnn.interop.wrapping import Wrapped
from robustsnn.neurons import Neurons

_CLOSE = 1e-3
"""Between two gradients that should be one, relative: far above rounding, far below another surrogate. In precisions of
few bits it is 16 roundings: bfloat16 0.13, float16 0.016."""
Spikes = dict[str, list[Tensor]]
"""What layers sent out, by name and call by call."""


def reach(model: Wrapped, tolerance: float, x: Tensor) -> None:
    """Let rules reach as many layers as can be proven on images x; `how` and `left_alone` of the model tell of it."""
    modules = spiking_modules(model.net)
    model.left_alone |= out_of_sight(model.net)
    logits, spikes = _asked(model, modules, x)
    tape = _recordable(model, modules, x)
    if tape is not None:
        for steps in tape.order:
            steps.layer.steps = len(steps.spikes)
        _replace(model, tape, logits, spikes, tolerance, x)
        _record(model, logits, spikes, tolerance, x)
    model.how += [f"no gradient rule reaches {name}: {why}" for name, why in model.left_alone.items()]


def _asked(model: Wrapped, layers: Mapping[str, nn.Module], x: Tensor) -> tuple[Tensor, Spikes]:
    """Logits of a plain pass, and what these layers sent out in it; random numbers are the same in each."""
    with sent(layers) as spikes, seeded(0, "reach"):
        logits = model.wiring.read(model.ask(x))
    return logits, spikes


def _taped(model: Wrapped, x: Tensor) -> Tape:
    with seeded(0, "reach"):
        return model.tape(x)


def _recordable(model: Wrapped, modules: Mapping[str, nn.Module], x: Tensor) -> Tape | None:
    """A pass in which all layers are recorded that can be; None if there are none."""
    layers = {name: recorder(name, module) for name, module in modules.items()}
    while layers:
        model.recorded = nn.ModuleList(layers.values())
        try:
            tape = _taped(model, x)
        except Exception as error:  # whatever somebody's module does when it is looked into
            text = " ".join(str(error).split())[:120]
            model.left_alone |= dict.fromkeys(layers, f"a recorded pass failed ({text})")
            break
        found = obstacles(tape, tape.logits)
        if not found:
            return tape
        read = [name for name, why in found.items() if why == READ]
        if read:
            model.how.append(f"{_names(read)} read out by the membrane")
        idle = [name for name, why in found.items() if why == CUT and _idle(model, modules[name], x)]
        if idle:
            model.how.append(f"{_names(idle)} without part in the answer")
        model.left_alone |= {name: why for name, why in found.items() if why != READ and name not in idle}
        layers = {name: layer for name, layer in layers.items() if name not in found}
    model.recorded = nn.ModuleList()
    return None


def _idle(model: Wrapped, layer: nn.Module, x: Tensor) -> bool:
    """Whether the logits are the same when a layer sends out something else."""
    other = lambda value: 1 - value if isinstance(value, Tensor) else value  # noqa: E731
    before, _ = _asked(model, {}, x)
    hook = layer.register_forward_hook(lambda _, __, out: (*map(other, out),) if type(out) is tuple else other(out))
    try:
        return torch.equal(_asked(model, {}, x)[0], before)
    finally:
        hook.remove()


def _replace(model: Wrapped, tape: Tape, logits: Tensor, spikes: Spikes, tolerance: float, x: Tensor) -> None:
    """Put neurons of ours into a copy of the network; keep it if its logits and spikes are those of the original."""
    modules = dict(model.net.named_modules())
    ours: dict[str, Neurons] = {}
    for steps in tape.order:
        made = twin(modules[steps.layer.name], steps.layer.name, steps.layer.steps) if len(steps.inputs) == 1 else None
        if made is not None:
            ours[steps.layer.name] = made
    if not ours:
        return
    before = model.net, model.recorded
    try:
        model.net = copy.deepcopy(model.net)
    except Exception:  # what cannot be copied is recorded
        return
    for name, layer in ours.items():
        put(model.net, name, layer)
    model.recorded = nn.ModuleList(steps.layer for steps in tape.order if steps.layer.name not in ours)
    now, fired = _asked(model, ours, x)
    share = max(unequal(fired[name][0], spikes[name][0]) for name in ours)
    if _accepted(share, now, logits, tolerance):
        model.how.append(f"{_names(ours)} replaced by neurons of ours{_told(share)}")
    else:
        model.net, model.recorded = before
        model.how.append(f"not replaced by neurons of ours{_told(share)}")


def _record(model: Wrapped, logits: Tensor, spikes: Spikes, tolerance: float, x: Tensor) -> None:
    """Keep the recorded layers if the logits and spikes of a recorded pass are those of a plain one."""
    layers = [layer for layer in model.recorded if isinstance(layer, RecordedNeurons)]
    if not layers:
        return
    tape = _taped(model, x)
    passed = {steps.layer.name: steps.outputs for steps in tape.order}
    share = max(unequal(layer.whole(passed[layer.name]), layer.whole(spikes[layer.name])) for layer in layers)
    names = [layer.name for layer in layers]
    if not _accepted(share, tape.logits, logits, tolerance):
        why = f"a recorded pass differs{_told(share)}"
    elif (gap := _gap(model, x)) > max(_CLOSE, 16 * torch.finfo(model.precision or x.dtype).eps):
        why = f"the gradient of a recorded pass is not the network's own: they are {gap:.1g} of its norm apart"
    else:
        model.how.append(f"{_names(names)} recorded{_told(share)}")
        return
    model.recorded = nn.ModuleList()
    model.left_alone |= dict.fromkeys(names, why)


def _gap(model: Wrapped, x: Tensor) -> float:
    """How far the input gradient of a recorded pass is from that of a plain one, over the latter's norm."""

    def gradient(recorded: bool) -> Tensor | None:
        leaf = x.detach().clone().requires_grad_()
        with torch.enable_grad(), seeded(0, "reach"):
            logits = model.tape(leaf).replay(leaf) if recorded else model.wiring.read(model.ask(leaf))
            if not logits.requires_grad:
                return None
            weights = torch.linspace(-1, 1, logits.numel(), device=x.device).view_as(logits).cos()
            return torch.autograd.grad((logits * weights).sum(), leaf, allow_unused=True)[0]

    own, recorded = gradient(False), gradient(True)
    if own is None or recorded is None:  # a framework whose neurons have no gradient in eval mode
        return 0.0
    return float((recorded - own).norm() / own.norm().clamp_min(1e-30)) if bool(own.any()) else 0.0


def _accepted(share: float, now: Tensor, logits: Tensor, tolerance: float) -> bool:
    """Where no spike differs no logit may: then something else than spikes is another."""
    return share <= tolerance and (share > 0 or torch.equal(now, logits))


def _told(share: float) -> str:
    return f": {100 * share:.3g} % of the spikes of a layer are others" if share else ""


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return f"{', '.join(listed[:6])}{more}: {len(listed)} neuron layer{'s' if len(listed) > 1 else ''}"
