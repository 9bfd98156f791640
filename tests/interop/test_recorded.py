"""A recorded network is the network: its spikes, its own gradient, and under any rule that of its native twin."""

import copy
import weakref

import pytest
import torch
from foreign import IFNode, Leaky, images, made
from torch import nn

from robustsnn.attacks.graded import graded
from robustsnn.attacks.passes import judged
from robustsnn.attacks.presets import apgd
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.interop import wrap
from robustsnn.interop.steps import RecordedNeurons
from robustsnn.neurons import (
    ASSG,
    BPTR,
    HART,
    IF,
    PDSG,
    RGA,
    STBP,
    Arctan,
    Neurons,
    ResetFlow,
    Triangle,
    gradient_rule,
    neuron_layers,
    recording,
)

RULES = [STBP(Arctan(2.0)), STBP(Triangle()), RGA(), BPTR(), HART(), PDSG(), ASSG()]
RULES += [ResetFlow(STBP(Arctan(4.0)), "detached"), ResetFlow(ASSG(), "attached")]


class Native(nn.Module):
    """What `Loop` computes, with layers of ours."""

    def __init__(self, net, neuron) -> None:
        super().__init__()
        self.net = net
        self.first, self.second = Neurons(neuron, net.steps), Neurons(neuron, net.steps)

    def forward(self, x):
        net = self.net
        s = self.first(3 * net.conv(x)[None].expand(net.steps, -1, -1, -1, -1))
        return net.out(self.second(2 * net.fc(s.flatten(2)))).mean(0)


def gradient(model, x, rule=None, reset=lambda: None):
    """Input gradient of a random combination of the logits."""
    reset()
    with frozen(model), gradient_rule(model, rule):
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
        return torch.autograd.grad((logits * weights).sum(), leaf)[0]


def forget(net):
    for module in net.modules():
        if isinstance(module, IFNode):
            module.reset()
        elif isinstance(module, Leaky):
            module.mem = torch.zeros(0)


def close(a, b, relative=1e-6):
    return bool((a - b).abs().max() <= relative * b.abs().max()) and b.abs().max() > 0


@pytest.mark.parametrize("kind", [IFNode, Leaky, lambda: IFNode(detach=True), lambda: IFNode(soft=True)])
@pytest.mark.parametrize(("steps", "n", "seed"), [(1, 3, 0), (3, 5, 1), (7, 4, 2)])
@pytest.mark.filterwarnings("ignore:guessed that an image is shown for one step")  # T = 1 is what is meant here
def test_the_gradient_by_the_framework_s_own_surrogate_is_its_own_autograd(kind, steps, n, seed):
    net, x = made(kind, seed, steps=steps), images(n, seed)
    model = wrap(net, x=x)
    assert [layer.name for layer in model.recorded] == ["first", "second"]
    forget(net)
    with torch.no_grad():
        assert torch.equal(model(x), net(x))
    assert close(gradient(model, x), gradient(net, x, reset=lambda: forget(net)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
@pytest.mark.parametrize(("soft", "detach"), [(False, False), (True, True)])
def test_under_every_rule_the_gradient_is_that_of_the_native_twin(rule, soft, detach):
    net, x = made(lambda: IFNode(soft=soft, detach=detach)), images()
    native = Native(net, IF(reset="soft" if soft else "hard", detach_reset=detach)).eval()
    model = wrap(net, x=x)
    assert torch.equal(model(x), native(x))
    assert close(gradient(model, x, rule), gradient(native, x, rule), 1e-5)


@pytest.mark.parametrize("flow", ["detached", "attached"])
def test_a_late_reset_carries_beta_and_where_attached_minus_theta_g(flow):
    # u2 = beta u1 + I2 - theta H(u1 - theta): du2/du1 = beta, or beta - theta g(u1 - theta).
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaky = Leaky(beta=0.75)

        def forward(self, x):
            return torch.cat([self.leaky(x[:, t])[0] for t in range(2)], 1)

    x = torch.tensor([[[1.25], [0.5]], [[0.5], [0.25]], [[0.75], [0.75]]])
    model, g = wrap(One(), x=x), Arctan(2.0).slope
    u1 = x[:, 0] - 1
    u2 = 0.75 * x[:, 0] + x[:, 1] - (x[:, 0] > 1).float() - 1
    with gradient_rule(model, ResetFlow(STBP(Arctan(2.0)), flow)):
        leaf = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    kept = 0.75 - (g(u1) if flow == "attached" else 0)
    assert torch.allclose(found, torch.stack([g(u2) * kept, g(u2)], 1))


def test_a_membrane_that_is_read_out_belongs_to_the_read_out():
    net, x = made(Leaky, answer=lambda out, mem: torch.stack(mem).mean(0)), images()
    model = wrap(net, x=x)
    assert [layer.name for layer in model.recorded] == ["first"]
    assert model.left_alone == {}
    assert any("read out by the membrane" in text for text in model.how)
    assert close(gradient(model, x), gradient(net, x, reset=lambda: forget(net)))


def test_a_layer_whose_membrane_and_spikes_are_used_has_both_in_its_gradient():
    net, x = (
        made(Leaky, answer=lambda out, mem: torch.stack(out).mean(0) + torch.stack(mem).sum((0, 2))[:, None]),
        images(),
    )
    model = wrap(net, x=x)
    assert len(model.recorded) == 2
    assert close(gradient(model, x), gradient(net, x, reset=lambda: forget(net)))


def test_spikes_that_come_back_are_told_and_left_alone():
    class Back(type(made())):
        def forward(self, x):
            back, out = 0, []
            for _ in range(self.steps):
                s = self.first(3 * self.conv(x) + back)
                back = s.roll(1, -1)
                out.append(self.out(self.second(2 * self.fc(s.flatten(1)))))
            return torch.stack(out).mean(0)

    torch.manual_seed(0)
    net, x = Back(IFNode).eval(), images()
    model = wrap(net, x=x)
    assert list(model.left_alone) == ["first"]
    assert [layer.name for layer in model.recorded] == ["second"]
    assert close(gradient(model, x), gradient(net, x, reset=lambda: forget(net)))


def test_a_graded_search_sees_the_potentials_of_the_pass():
    net, x = made(), images()
    model, native, y = wrap(net, x=x), Native(net, IF()).eval(), torch.arange(6) % 5
    told = []
    for one in (model, native):
        with graded(one, 0.25, x) as query:
            assert query is not judged
            told.append(query(one, x, y, 1).loss)
    assert torch.allclose(*told, atol=1e-5)
    with torch.no_grad():
        plain = judged(model, x, y, 1).loss
    assert not torch.allclose(told[0], plain)


def test_potentials_can_be_looked_at_during_a_pass_and_not_made_up_after_it():
    net, x = made(), images()
    model, native = wrap(net, x=x), Native(net, IF()).eval()
    with torch.no_grad(), recording(model) as ours, recording(native) as theirs:
        model(x), native(x)
    for a, b in zip(ours, theirs, strict=True):
        for (u, s), (v, r) in zip(a.trace(), b.trace(), strict=True):
            assert torch.allclose(u, v, atol=1e-5)
            assert torch.equal(s, r)
    layer = neuron_layers(model)[0]
    with pytest.raises(UserError, match="during a pass only"):
        next(layer.neuron.run(torch.zeros(1, 1), 1))
    with pytest.raises(UserError, match="not on their own"):
        layer(torch.zeros(1, 1))


def test_an_attack_ends_where_it_ends_on_the_native_twin():
    net, x = made(), images(12)
    model, native = wrap(net, x=x), Native(net, IF()).eval()
    y = native(x).argmax(1).detach()
    for rule in (ASSG(), STBP(Arctan(2.0))):
        broken = [native(apgd(eps=0.2, steps=5, rule=rule)(one, x, y)).argmax(1) != y for one in (model, native)]
        assert torch.equal(*broken)
        assert broken[0].any()


def test_a_copy_has_layers_of_its_own():
    net, x = made(), images()
    model = wrap(net, x=x)
    twin = copy.deepcopy(model)
    own = gradient(twin, x)
    with gradient_rule(model, RGA()):
        assert torch.equal(gradient(twin, x), own)
    assert all(isinstance(layer, RecordedNeurons) for layer in twin.recorded)
    assert torch.equal(model(x), twin(x))


def test_training_is_the_framework_s_own_and_second_derivatives_are_refused():
    net, x = made(), images()
    model = wrap(net, x=x)
    model.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.net.parameters())
    leaf = x.clone().requires_grad_()
    with pytest.raises(UserError, match="second derivatives"):
        torch.autograd.grad(model.eval()(leaf).sum(), leaf, create_graph=True)


@pytest.mark.parametrize("kind", [IFNode, Leaky])
def test_nothing_is_kept_of_a_pass(kind):
    # A circle through autograd's nodes is never collected: the memory of an evaluation would grow by each pass.
    x = images()
    model = wrap(made(kind), x=x)
    alive = []
    replay = RecordedNeurons.replay

    def seen(layer, current, steps):
        alive.append(weakref.ref(steps))
        return replay(layer, current, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedNeurons, "replay", seen)
        for rule in (None, ASSG(), RGA()):
            gradient(model, x, rule)
        model(x.clone().requires_grad_())
        graded_model(model, x)
    assert alive
    assert not [ref for ref in alive if ref() is not None]


def graded_model(model, x):
    with graded(model, 0.25, x) as query:
        query(model, x, torch.zeros(len(x), dtype=torch.long), 1)


def test_the_network_of_the_user_is_as_it_was():
    net, x = made(), images()
    before = {name: type(module) for name, module in net.named_modules()}
    hooks = [len(module._forward_hooks) for module in net.modules()]
    wrap(net, x=x)(x.requires_grad_())
    assert {name: type(module) for name, module in net.named_modules()} == before
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
