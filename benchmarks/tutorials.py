"""A convolutional network of IF neurons, trained here in a minute, and the same as users of other frameworks write it.

Single-step nodes in a loop, multi-step nodes (SpikingJelly), neurons that hand on their membranes (snnTorch),
`SequentialState` (Norse), squeezed layers (Sinabs). All have the native network's modules, and its weights in them; the
logits are the mean over time of the last layer's output. Images are normalised outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import robustsnn
from robustsnn.attacks import pgd
from robustsnn.data.digits import digits
from robustsnn.models import Classifier, Plan, vgg
from robustsnn.neurons import IF, Neurons
from robustsnn.objectives import Adversarial
from robustsnn.training.fit import cosine

STEPS = 4


def trained() -> Classifier:
    """conv 16 - IF - linear on 8x8 digits, adversarially at 16/255; less than a minute."""
    torch.manual_seed(0)
    model = vgg(Plan(((16,),), ()), image=(1, 8, 8), classes=10, neuron=IF(), steps=STEPS)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    attack = Adversarial(pgd("16/255", 5, alpha="8/255", keep="last"))
    robustsnn.fit(model, digits().train, attack, optimiser, epochs=8, batch_size=64, schedule=cosine)
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
        return self.layers(x.expand(self.steps, *x.shape)).mean(0)


class SnnTorch(nn.Module):
    """Leaky neurons in a loop, membranes handed on; beta 1 and a reset to zero make IF neurons of them."""

    def __init__(self, model: Classifier, surrogate: Any) -> None:
        super().__init__()
        import snntorch

        self.steps = steps_of(model)
        leaky = lambda theta: snntorch.Leaky(  # noqa: E731
            beta=1.0, threshold=theta, spike_grad=surrogate, reset_mechanism="zero"
        )
        self.layers = nn.ModuleList(layers_of(model, leaky))

    def forward(self, x: Tensor) -> Tensor:
        import snntorch

        membranes = {layer: layer.reset_mem() for layer in self.layers if isinstance(layer, snntorch.Leaky)}
        out = []
        for _ in range(self.steps):
            h = x
            for layer in self.layers:
                if layer in membranes:
                    h, membranes[layer] = layer(h, membranes[layer])
                else:
                    h = layer(h)
            out.append(h)
        return torch.stack(out).mean(0)


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
        return torch.stack(out).mean(0)


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
        return self.layers(x.repeat_interleave(self.steps, 0)).unflatten(0, (-1, self.steps)).mean(1)


def twins(model: Classifier) -> dict[str, Callable[[], nn.Module]]:
    """How to build each, by name; the number is the slope of the surrogate, or what comes nearest to one."""

    def snntorch(slope: float) -> SnnTorch:
        from snntorch import surrogate

        return SnnTorch(model, surrogate.fast_sigmoid(slope))

    def spikingjelly(kind: type[SingleStep], name: str, alpha: float) -> SingleStep:
        from spikingjelly.activation_based import surrogate

        return kind(model, getattr(surrogate, name)(alpha))

    made: dict[str, Callable[[], nn.Module]] = {}
    for slope in (25.0, 200.0):
        made[f"snnTorch, fast sigmoid {slope:g}"] = lambda k=slope: snntorch(k)
        made[f"Norse, superspike {slope:g}"] = lambda k=slope: Norse(model, k)
        made[f"Sinabs, exponential of width 1/{slope:g}"] = lambda k=slope: Sinabs(model, 1 / k)
        made[f"SpikingJelly single-step, sigmoid {slope:g}"] = lambda k=slope: spikingjelly(SingleStep, "Sigmoid", k)
        made[f"SpikingJelly multi-step, sigmoid {slope:g}"] = lambda k=slope: spikingjelly(MultiStep, "Sigmoid", k)
    made["SpikingJelly multi-step, arctan 2"] = lambda: spikingjelly(MultiStep, "ATan", 2.0)
    return made
