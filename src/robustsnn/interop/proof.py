"""What is tried on a few images before a network is believed: which layers can be recorded, and which are ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from robustsnn.interop.frameworks import framework_of
from robustsnn.interop.own import OwnSlope, rule_of
from robustsnn.interop.steps import OwnSteps, RecordedNeurons, Steps
from robustsnn.interop.tape import Tape
from robustsnn.neurons import Neurons


def listening(module: nn.Module, steps: Steps) -> AbstractContextManager[None]:
    """Let a layer fire by `steps`."""
    framework = framework_of(module)
    assert framework is not None  # only layers of a framework are recorded
    return framework.listen(module, steps)


def recorder(name: str, module: nn.Module) -> RecordedNeurons:
    """The layer of ours that stands for a foreign one while it is recorded."""
    framework = framework_of(module)
    assert framework is not None
    rule = OwnSteps(OwnSlope(framework.own(module), f"{type(module).__name__} {name}"))
    return RecordedNeurons(name, framework.nominal(module), rule, framework.sequence, module)


def twin(module: nn.Module, name: str, steps: int) -> Neurons | None:
    """The layer of ours that can take the place of a foreign one, if there is one."""
    framework = framework_of(module)
    assert framework is not None
    neuron = framework.twin(module)
    if neuron is None:
        return None
    sharpness = getattr(getattr(module, "surrogate_function", None), "alpha", None)
    said = f"{type(module).__name__} {name}"
    return Neurons(neuron, steps, rule_of(framework.own(module), said, sharpness)).train(module.training)


def put(net: nn.Module, name: str, module: nn.Module) -> None:
    """Set a module of a network, by name, in every place that it has in the network."""
    before = net.get_submodule(name)
    for parent in list(net.modules()):
        for last, child in list(parent.named_children()):
            if child is before:
                setattr(parent, last, module)


@contextmanager
def sent(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """What layers send out inside the block, by name and call by call."""
    given: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, __, out: given[name].append((out[0] if isinstance(out, tuple) else out).detach().clone())

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def unequal(a: Tensor, b: Tensor) -> float:
    """The share of unequal spikes; 1 where they do not even have the same shape."""
    return float((a != b).float().mean()) if a.shape == b.shape else 1.0


def _leaves(outputs: Iterable[Tensor], known: dict[int, int]) -> set[int]:
    """The numbers of the leaves that some tensors are made of; `known`: number by identity."""
    found, seen = set(), set()
    waiting = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    found |= {known[id(tensor)] for tensor in outputs if id(tensor) in known}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in known:
            found.add(known[id(variable)])
        waiting += [after for after, _ in node.next_functions if after is not None]
    return found


def obstacles(tape: Tape, logits: Tensor) -> dict[str, str]:
    """Why a layer cannot be recorded as it was in this pass, by name; none if the pass can be put together again."""
    if not logits.requires_grad:
        return {steps.layer.name: "the logits are cut off from the input" for steps in tape.steps.values()}
    found = {steps.layer.name: "it is not called" for steps in tape.steps.values() if steps not in tape.order}
    for steps in tape.order:
        layer = steps.layer
        if not steps.spikes:
            found[layer.name] = "it fires in eval mode by something else than its surrogate"
        elif sum(len(layer.unfold(call)) for call in steps.inputs) != len(steps.spikes):
            found[layer.name] = "it does not fire once per step"
        elif not torch.equal(layer.whole([spikes.detach() for spikes in steps.inner]), torch.stack(steps.spikes)):
            found[layer.name] = "it sends out something else than its spikes"
    if found:
        return found
    known = {id(leaf): n for n, steps in enumerate(tape.order) for leaf in (*steps.outputs, *steps.currents)}
    before = [_leaves(steps.inputs, known) for steps in tape.order]
    for n, sources in enumerate(before):
        for source in sources:
            if source >= n:
                for which in (n, source):
                    found[tape.order[which].layer.name] = "spikes come back to it, or to a layer before it"
    for steps in tape.order:
        outside = {id(leaf): 0 for leaf in steps.outputs}
        if _leaves(steps.distances, outside):
            found[steps.layer.name] = "spikes come back to it, or to a layer before it"
    spikes = {id(leaf): n for n, steps in enumerate(tape.order) for leaf in steps.outputs}
    fired = _leaves([logits, *(call for steps in tape.order for call in steps.inputs)], spikes)
    membranes = {id(leaf): n for n, steps in enumerate(tape.order) for leaf in steps.currents}
    read = _leaves([logits, *(call for steps in tape.order for call in steps.inputs)], membranes)
    for n, steps in enumerate(tape.order):
        if n not in fired:
            found[steps.layer.name] = READ if n in read else CUT
    reaching: set[int] = set()  # layers from which a gradient goes on to the images
    for n, steps in enumerate(tape.order):
        if before[n] & reaching or _leaves(steps.inputs, {id(tape.leaf): 0}):
            reaching.add(n)
        else:
            found.setdefault(steps.layer.name, "no gradient goes from it to the images (detach, no_grad)")
    return found


READ = "it is read out by its membrane"
"""No obstacle to attacks: such a layer is a part of the read-out, and differentiated as its framework does."""
CUT = "no gradient comes back to it (detach, no_grad)"
"""From the logits; unless it has no part in them."""
