"""A convolutional network of IF neurons, trained here in a minute, and the same as users of other frameworks write it.

    SpikingJelly, single-step   nodes in a loop; logits are the mean over time
    SpikingJelly, multi-step    nodes that take sequences; [T, B, K], to be read out by the mean
    snnTorch                    membranes handed on in a loop; (spk_rec, mem_rec), the last membrane of a layer without
                                reset is the answer
    Norse                       `SequentialState` in a loop; [T, B, K], to be read out by the mean
    Sinabs                      squeezed layers [B T, ...], to be read out by the sum

All have the native network's modules, and its weights in them; so the logits are its logits, or T times these. Images
are normalised outside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import robustsnn
from robustsnn.attacks import pgd
from robustsnn.data.digits import digits
from robustsnn.interop import Wrapped
from robustsnn.interop.own import Own
from robustsnn.interop.steps import RecordedNeurons
from robustsnn.models import Classifier, Plan, vgg
from robustsnn.neurons import IF, Neurons, neuron_layers
from robustsnn.objectives import Adversarial
from robustsnn.training.fit import cosine

STEPS = 4


def untrained() -> Classifier:
    """conv 8 - IF - pool - conv 16 - IF - linear 32 - IF - linear, for 8x8 digits."""
    torch.manual_seed(0)
    return vgg(Plan(((8,), (16,)), (32,)), image=(1, 8, 8), classes=10, neuron=IF(), steps=STEPS)


def trained() -> Classifier:
    """The same, adversarially at 16/255; less than a minute."""
    model = untrained()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    attack = Adversarial(pgd("16/255", 5, alpha="8/255", keep="last"))
    robustsnn.fit(model, digits().train, attack, optimiser, epochs=30, batch_size=64, schedule=cosine)
    return model.eval()


def layers_of(model: Classifier, neurons: Callable[[float], nn.Module]) -> list[nn.Module]:
    """The native body without time: convolutions, norms, pools, linear layers, and other neurons of the same theta."""
    found: list[nn.Module] = []
    for module in model.body.modules():
        if isinstance(module, Neurons):
            found.append(neurons(module.neuron.theta))
        elif not list(module.children()):
            found.append(nn.Flatten() if isinstance(module, nn.Flatten) else module)
    return found


def steps_of(model: Classifier) -> int:
    """T."""
    return next(module.steps for module in model.modules() if isinstance(module, Neurons))


class SingleStep(nn.Module):
    """SpikingJelly: single-step nodes in a loop."""

    def __init__(self, model: Classifier, surrogate: nn.Module) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.steps = steps_of(model)
        node = lambda theta: neuron.IFNode(v_threshold=theta, surrogate_function=surrogate)  # noqa: E731
        self.layers = nn.Sequential(*layers_of(model, node))

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return torch.stack([self.layers(x) for _ in range(self.steps)]).mean(0)


class MultiStep(SingleStep):
    """SpikingJelly: multi-step nodes, sequences from layer to layer."""

    def __init__(self, model: Classifier, surrogate: nn.Module) -> None:
        super().__init__(model, surrogate)
        from spikingjelly.activation_based import base, functional, layer

        functional.set_step_mode(self, "m")
        for at, module in enumerate(self.layers):
            if not isinstance(module, base.MemoryModule):
                self.layers[at] = layer.SeqToANNContainer(module)

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return self.layers(x)


class SnnTorch(nn.Module):
    """Leaky neurons in a loop, membranes handed on; beta 1 and a reset to zero make IF neurons of them."""

    def __init__(self, model: Classifier, surrogate: Any) -> None:
        super().__init__()
        import snntorch

        self.steps = steps_of(model)
        leaky = lambda theta: snntorch.Leaky(  # noqa: E731
            beta=1.0, threshold=theta, spike_grad=surrogate, reset_mechanism="zero"
        )
        readout = snntorch.Leaky(beta=1.0, spike_grad=surrogate, reset_mechanism="none")
        self.layers = nn.ModuleList([*layers_of(model, leaky), readout])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        import snntorch

        membranes = {layer: layer.reset_mem() for layer in self.layers if isinstance(layer, snntorch.Leaky)}
        spk_rec, mem_rec = [], []
        for _ in range(self.steps):
            h = x
            for layer in self.layers:
                if layer in membranes:
                    h, membranes[layer] = layer(h, membranes[layer])
                else:
                    h = layer(h)
            spk_rec.append(h)
            mem_rec.append(membranes[self.layers[-1]])
        return torch.stack(spk_rec), torch.stack(mem_rec)


class Norse(nn.Module):
    """IAF cells in a `SequentialState`, whose state is handed on."""

    def __init__(self, model: Classifier, alpha: float) -> None:
        super().__init__()
        import norse.torch as norse

        self.steps = steps_of(model)
        cell = lambda theta: norse.IAFCell(  # noqa: E731
            norse.IAFParameters(v_th=torch.tensor(theta), alpha=torch.tensor(alpha))
        )
        self.layers = norse.SequentialState(*layers_of(model, cell))

    def forward(self, x: Tensor) -> Tensor:
        state, out = None, []
        for _ in range(self.steps):
            logits, state = self.layers(x, state)
            out.append(logits)
        return torch.stack(out)


class Sinabs(nn.Module):
    """Squeezed IAF layers, `[B T, ...]`, of one spike in a step and a reset to zero."""

    def __init__(self, model: Classifier, width: float) -> None:
        super().__init__()
        import sinabs.activation as act
        import sinabs.layers

        self.steps = steps_of(model)
        layer = lambda theta: sinabs.layers.IAFSqueeze(  # noqa: E731
            num_timesteps=self.steps,
            spike_threshold=torch.tensor(theta),
            spike_fn=act.SingleSpike,
            reset_fn=act.MembraneReset(),
            surrogate_grad_fn=act.SingleExponential(width),
        )
        self.layers = nn.Sequential(*layers_of(model, layer))

    def forward(self, x: Tensor) -> Tensor:
        import sinabs

        sinabs.reset_states(self)
        return self.layers(x)


@dataclass(frozen=True)
class Twin:
    """How to build one, how it is told to `robustsnn.wrap`, and how many times the native logits its logits are."""

    build: Callable[[], nn.Module]
    said: dict[str, Any] = field(default_factory=dict)
    times: int = 1


def twins(model: Classifier, slopes: tuple[float, ...] = (25.0, 200.0)) -> dict[str, Twin]:
    """Each by its name; the number is the slope of the surrogate, or what comes nearest to one."""
    steps = steps_of(model)

    def snntorch(slope: float) -> SnnTorch:
        from snntorch import surrogate

        return SnnTorch(model, surrogate.fast_sigmoid(slope))

    def spikingjelly(kind: type[SingleStep], name: str, alpha: float) -> SingleStep:
        from spikingjelly.activation_based import surrogate

        return kind(model, getattr(surrogate, name)(alpha))

    whole = {"steps": steps, "readout": "mean"}
    made: dict[str, Twin] = {}
    for slope in slopes:
        made[f"snnTorch, fast sigmoid {slope:g}"] = Twin(
            lambda k=slope: snntorch(k), {"output": 1, "readout": "last"}, steps
        )
        made[f"Norse, superspike {slope:g}"] = Twin(lambda k=slope: Norse(model, k), {"readout": "mean"})
        made[f"Sinabs, exponential of width 1/{slope:g}"] = Twin(
            lambda k=slope: Sinabs(model, 1 / k), {"steps": steps, "readout": "sum"}, steps
        )
        made[f"SpikingJelly single-step, sigmoid {slope:g}"] = Twin(
            lambda k=slope: spikingjelly(SingleStep, "Sigmoid", k)
        )
        made[f"SpikingJelly multi-step, sigmoid {slope:g}"] = Twin(
            lambda k=slope: spikingjelly(MultiStep, "Sigmoid", k), whole
        )
    made["SpikingJelly multi-step, arctan 2"] = Twin(lambda: spikingjelly(MultiStep, "ATan", 2.0), whole)
    return made


class Native(nn.Module):
    """The network of ours that a wrapped one is to be measured by: same logits, same gradient under every rule.

    Its own rule is STBP with the framework's surrogate, and its neurons detach the reset where the framework's do: else
    an attack by "the own rule" would be another attack here than there.
    """

    def __init__(self, model: Classifier, wrapped: Wrapped, times: int = 1) -> None:
        super().__init__()
        self.model, self.times = copy.deepcopy(model), times
        for ours, theirs in zip(neuron_layers(self.model), neuron_layers(wrapped), strict=True):
            ours.neuron = replace(ours.neuron, detach_reset=theirs.neuron.detach_reset)
            # A recorded layer's own rule looks at the steps that were recorded; the slope is the same.
            ours.rule = Own(theirs.rule.surrogate) if isinstance(theirs, RecordedNeurons) else theirs.rule
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return (self.times * self.model(x.to(self.model.pixel_mean.dtype))).to(x.dtype)


class InDouble:
    """In place of a step that fires in float32 whatever is asked (snnTorch, Sinabs): a `spike_grad` or `spike_fn`."""

    required_states = ("v_mem",)

    def __init__(self, step: Any) -> None:
        self.step, self.apply = step, self

    def __call__(self, potential: Tensor, *more: Any) -> Tensor:
        return getattr(self.step, "apply", self.step)(potential, *more).to(potential)  # type: ignore[no-any-return]


def in_double(net: nn.Module) -> nn.Module:
    """A network of any framework in float64."""
    for module in net.modules():
        for name in {"spike_grad", "spike_fn"} & vars(module).keys():
            setattr(module, name, InDouble(getattr(module, name)))
    return net.double()
