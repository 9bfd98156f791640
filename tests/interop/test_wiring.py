"""Ways in which a network is asked and answers: each is recognised, or refused in one line that says what to write."""

import warnings
from threading import Lock

import pytest
import torch
from foreign import IFNode, Leaky, images
from torch import nn

from robustsnn.ground.errors import Advice, UserError
from robustsnn.interop import wrap
from robustsnn.neurons import BPTR, Neurons, gradient_rule, neuron_layers


class Body(nn.Module):
    """Linear, neurons, linear on flattened images; `lead` says how many dimensions come before the image."""

    def __init__(self, kind, lead: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lead, self.fc, self.neurons, self.out = lead, nn.Linear(64, 20), kind(), nn.Linear(20, 5)

    def forward(self, x):
        s = self.neurons(3 * self.fc(x.flatten(self.lead)))
        return self.out(s[0] if isinstance(s, tuple) else s)


def steps_of(body, x, steps=4):
    """What a body with single steps answers, `[T, B, K]`, from fresh neurons."""
    body.neurons.reset() if isinstance(body.neurons, IFNode) else body.neurons.reset_mem()
    return torch.stack([body(x) for _ in range(steps)])


X = images()
SINGLE = Body(IFNode, 1).eval()
WANTED = steps_of(SINGLE, X).detach()


class Inside(nn.Module):
    """A loop inside, and an answer of some kind."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.body, self.answer = Body(IFNode, 1), answer

    def forward(self, x):
        return self.answer(steps_of(self.body, x))


def same(model, logits):
    with torch.no_grad():
        assert torch.equal(model(X), logits)
    leaf = X.clone().requires_grad_()
    assert torch.equal(model(leaf), logits)
    assert torch.autograd.grad(model(leaf).sum(), leaf)[0].abs().max() > 0


ANSWERS = {
    "[B, K]": (lambda z: z.mean(0), {}),
    "[T, B, K]": (lambda z: z, {"readout": "mean"}),
    "[B, T, K]": (lambda z: z.transpose(0, 1), {"readout": "mean"}),
    "a list over time": (lambda z: list(z), {"readout": "mean"}),
    "(logits, state)": (lambda z: (z.mean(0), {"v": z}), {"output": 0}),
    "(spikes, membranes)": (lambda z: (z * 0, z), {"output": 1, "readout": "mean"}),
    "{'logits': ...}": (lambda z: {"logits": z.mean(0), "rest": z}, {"output": "logits"}),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_answers_with_the_loop_inside(answer, said):
    same(wrap(Inside(answer).eval(), x=X, **said), WANTED.mean(0))


@pytest.mark.parametrize("readout", ["mean", "sum", "last", "max"])
def test_readouts(readout):
    wanted = {"mean": WANTED.mean(0), "sum": WANTED.sum(0), "last": WANTED[-1], "max": WANTED.amax(0)}
    same(wrap(Inside(lambda z: z).eval(), x=X, readout=readout), wanted[readout])


def test_as_many_steps_as_images_are_told_apart():
    same(wrap(Inside(lambda z: z).eval(), x=X[:4], readout="mean"), WANTED.mean(0))
    same(wrap(Inside(lambda z: z.transpose(0, 1)).eval(), x=X[:4], readout="mean"), WANTED.mean(0))


def test_a_single_step_network_gets_a_loop():
    same(wrap(SINGLE, x=X, steps=4, readout="mean"), WANTED.mean(0))


def test_a_multi_step_network_gets_sequences_and_neurons_of_ours():
    model = wrap(Body(lambda: IFNode("m"), 2).eval(), x=X, steps=4, readout="mean")
    assert type(model.net.neurons) is Neurons
    assert model.net.neurons.steps == 4
    assert not model.recorded
    same(model, WANTED.mean(0))


def test_a_network_that_wants_batches_first():
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Body(lambda: IFNode("m"), 2)

        def forward(self, x):
            return self.body(x.transpose(0, 1)).transpose(0, 1)

    same(wrap(First().eval(), x=X, steps=4, layout="BT", readout="mean"), WANTED.mean(0))


def test_frames_bring_their_own_steps():
    frames = torch.stack([X, X.flip(-1), 1 - X], 1)
    model = wrap(SINGLE, x=frames, layout="step", readout="sum")
    SINGLE.neurons.reset()
    with torch.no_grad():
        assert torch.equal(model(frames), torch.stack([SINGLE(frames[:, t]) for t in range(3)]).sum(0))


def test_pixels_are_normalised_by_us():
    model = wrap(SINGLE, x=X, steps=4, readout="mean", mean=[0.5], std=[0.25])
    assert torch.equal(model(X), steps_of(SINGLE, (X - 0.5) / 0.25).mean(0))
    assert not hasattr(model, "mean")


def test_double_and_channels_last():
    model = wrap(Inside(lambda z: z.mean(0)).double().eval(), x=X.double())
    assert model(X.double()).dtype == torch.float64
    assert len(neuron_layers(model)) == 1
    assert torch.equal(
        wrap(SINGLE, x=X, steps=4, readout="mean")(X.to(memory_format=torch.channels_last)), WANTED.mean(0)
    )


def test_vectors():
    torch.manual_seed(0)
    body = Body(IFNode, 1).eval()
    model = wrap(body, x=X.flatten(1), steps=4, readout="mean", mean=0.5)
    assert torch.equal(model(X.flatten(1)), steps_of(body, X.flatten(1) - 0.5).mean(0))


def test_what_is_guessed_is_told():
    with pytest.warns(Advice, match="its mean, say readout="):
        model = wrap(Inside(lambda z: z).eval(), x=X)
    assert any("guessed" in text for text in model.how)
    with pytest.warns(Advice, match="entry 0"):
        wrap(Inside(lambda z: (z.mean(0), z)).eval(), x=X)


def test_without_images_it_finds_out_at_the_first_call():
    model = wrap(Inside(lambda z: z.mean(0)).eval())
    assert neuron_layers(model) == []
    same(model, WANTED.mean(0))
    assert len(neuron_layers(model)) == 1


REFUSED = {
    "an output without a batch": (Inside(lambda z: z.mean()), {}, r"needed is \[B, K\]"),
    "a dict of two": (Inside(lambda z: {"a": z, "b": z}), {}, "say which entry is the answer, output="),
    "an entry that is not there": (
        Inside(lambda z: (z, z)),
        {"output": 2},
        r"output=2: the network's output has \[0, 1\]",
    ),
    "a layout without steps": (SINGLE, {"layout": "step"}, "needs steps"),
    "another layout": (SINGLE, {"layout": "BTC"}, "allowed are 'images', 'TB', 'BT', 'squeezed', 'step'"),
    "another readout": (SINGLE, {"readout": "rate"}, "allowed are 'mean'"),
}


@pytest.mark.parametrize(("net", "said", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_recognised_is_refused_in_one_line(net, said, message):
    with pytest.raises(UserError, match=message) as refused:
        wrap(net.eval(), x=X, **said)
    assert "\n" not in str(refused.value)


class Carrying(nn.Module):
    """Forgets nothing, and no framework knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.trace = Body(IFNode, 1), torch.zeros(())

    def forward(self, x):
        self.trace = 0.5 * self.trace + x.mean()
        return self.body(x) + self.trace


def test_state_that_no_framework_resets_is_named_and_refused():
    with pytest.raises(UserError, match=r"asked again under the same seed \(trace changed\)"):
        wrap(Carrying().eval(), x=X)


@pytest.mark.parametrize("kind", [IFNode, Leaky])
def test_a_forgotten_reset_is_made_up_for(kind):
    body = Body(kind, 1).eval()
    with pytest.warns(Advice, match="shown for one step, say steps="):
        model = wrap(body, x=X)
    with torch.no_grad():
        first = model(X)
        model(1 - X)
        assert torch.equal(model(X), first)
        assert torch.equal(steps_of(body, X, 1)[0], first)


class Drawn(nn.Module):
    """A loop over draws of spikes from the image, with a way for the gradient past the draw or without one."""

    def __init__(self, past: bool) -> None:
        super().__init__()
        self.body, self.past = Body(IFNode, 1), past

    def forward(self, x):
        codes = [(torch.rand_like(x) < x).float() for _ in range(4)]
        return torch.stack([self.body(code + 0 * x if self.past else code) for code in codes]).mean(0)


def test_numbers_drawn_inside_are_the_same_in_each_pass_that_is_compared():
    model = wrap(Drawn(past=True).eval(), x=X)
    assert len(neuron_layers(model)) == 1
    assert not torch.equal(model(X), model(X))


def test_a_network_that_is_cut_off_from_its_input_says_so():
    model = wrap(Inside(lambda z: z.mean(0).detach()).eval(), x=X)
    assert model.left_alone == {"body.neurons": "the logits are cut off from the input"}


def test_images_that_look_at_one_another_are_told():
    class Coupled(nn.Module):
        def forward(self, x):
            return (x - x.mean(0)).flatten(1)[:, :5]

    with pytest.warns(Advice, match="other images of its batch"):
        wrap(Coupled(), x=X)


def test_a_network_without_neurons_is_a_model_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = wrap(net, x=X)
    assert torch.equal(model(X), net(X))
    assert model.left_alone == {}


class Two(nn.Module):
    """Two layers of neurons in a loop; `between` and `behind` say what becomes of their spikes."""

    def __init__(self, kind=IFNode, between=lambda s: s, behind=lambda s: s) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.first, self.mid, self.second = nn.Linear(64, 20), kind(), nn.Linear(20, 20), kind()
        self.out, self.between, self.behind = nn.Linear(20, 5), between, behind

    def forward(self, x):
        out = []
        for _ in range(4):
            s = self.between(self.first(3 * self.fc(x.flatten(1))))
            out.append(self.out(self.behind(self.second(3 * self.mid(s)))))
        return torch.stack(out).mean(0)


def test_layers_that_are_cut_off_are_left_alone_and_named():
    model = wrap(Two(between=torch.Tensor.detach).eval(), x=X)
    assert set(model.left_alone) == {"first", "second"}
    assert "comes back" in model.left_alone["first"]
    assert "goes from it to the images" in model.left_alone["second"]
    model = wrap(Two(behind=torch.Tensor.detach).eval(), x=X)
    assert set(model.left_alone) == {"first", "second"}
    assert not model.recorded


def test_a_draw_without_a_gradient_cuts_the_images_off():
    model = wrap(Drawn(past=False).eval(), x=X)
    assert "to the images" in model.left_alone["body.neurons"]


def test_a_layer_that_the_answer_does_not_need_is_no_obstacle():
    model = wrap(Two(behind=lambda s: 0 * s.detach() + 1).eval(), x=X)
    assert model.left_alone.keys() <= {"first"}
    assert any("second: 1 neuron layer without part in the answer" in text for text in model.how)


def test_a_step_without_surrogate_is_reached_by_every_rule_but_its_own():
    """A Heaviside step has no gradient of its own: zeros, and no error."""

    class Bare(nn.Module):
        def forward(self, v):
            return (v >= 0).to(v.dtype)

    def kind():
        node = IFNode()
        node.surrogate_function = Bare()
        return node

    model = wrap(Two(kind).eval(), x=X)
    assert [layer.name for layer in model.recorded] == ["first", "second"]
    leaf = X.clone().requires_grad_()
    assert not torch.autograd.grad(model(leaf).sum(), leaf)[0].any()
    with gradient_rule(model, BPTR()):
        assert torch.autograd.grad(model(leaf).sum(), leaf)[0].any()


def test_a_current_that_is_given_by_name():
    class Named(Leaky):
        def forward(self, input_, mem=None):
            return super().forward(input_, mem)

    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Body(Named, 1)
            self.body.forward = self.named

        def named(self, x, mem):
            s, mem = self.body.neurons(input_=3 * self.body.fc(x.flatten(1)), mem=mem)
            return self.body.out(s), mem

        def forward(self, x):
            mem, out = self.body.neurons.reset_mem(), []
            for _ in range(4):
                z, mem = self.named(x, mem)
                out.append(z)
            return torch.stack(out).mean(0)

    model = wrap(ByName().eval(), x=X)
    assert model.left_alone == {}
    same(model, steps_of(Body(Leaky, 1).eval(), X).mean(0))


def test_what_is_wrapped_is_not_wrapped_again():
    model = wrap(SINGLE, x=X, steps=4, readout="mean")
    for net in (model, nn.Sequential(model)):
        with pytest.raises(UserError, match="wrapped already"):
            wrap(net)


def test_a_network_that_cannot_be_copied_is_used_itself_and_said_to_be():
    net = Inside(lambda z: z.mean(0)).eval()
    net.lock = Lock()
    model = wrap(net, x=X)
    assert model.net is net
    assert any("cannot be copied" in text for text in model.how)
    same(model, WANTED.mean(0))


def test_a_network_of_one_size_of_batch_is_refused_in_one_line():
    class Sixteen(nn.Module):
        def forward(self, x):
            return x.reshape(6, 64)[:, :5]

    with pytest.raises(UserError, match=r"takes 6 images and fails with 3 .*; it must take batches of any size"):
        wrap(Sixteen(), x=X)


def test_a_network_that_wants_batch_and_time_in_one():
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Body(lambda: IFNode("m"), 2)

        def forward(self, x):
            return self.body(x.unflatten(0, (-1, 4)).transpose(0, 1)).transpose(0, 1).flatten(0, 1)

    same(wrap(Squeezed().eval(), x=X, steps=4, layout="squeezed", readout="mean"), WANTED.mean(0))
    with pytest.raises(UserError, match=r"Squeezed fails when it is asked with images, logits \(.*; give layout="):
        wrap(Squeezed().eval(), x=X)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_a_network_in_another_precision_is_asked_in_its_own(kind):
    net = Inside(lambda z: z.mean(0)).to(kind).eval()
    model = wrap(net, x=X)
    assert len(model.recorded) == 1
    same(model, net(X.to(kind)).detach().float())


def test_a_forward_that_wants_its_state_handed_in_is_refused_in_one_line():
    class Cell(nn.Module):
        def forward(self, x, state):
            return x.flatten(1)[:, :5] + state

    with pytest.raises(UserError, match=r"missing 1 required positional argument.* module around it") as refused:
        wrap(Cell(), x=X)
    assert "\n" not in str(refused.value)


class Dropping(nn.Module):
    """Dropout between the layers, by a module or by a function that is always active."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.body, self.drop, self.always = Body(IFNode, 1), nn.Dropout(0.5), always

    def forward(self, x):
        x = nn.functional.dropout(x, 0.5) if self.always else self.drop(x)
        return steps_of(self.body, x).mean(0)


def test_a_network_in_train_mode_is_judged_in_eval_mode_and_stays_as_it_was():
    net = Dropping(always=False).train()
    same(wrap(net, x=X), WANTED.mean(0))
    assert net.training
    assert net.drop.training


def test_dropout_that_is_always_active_makes_a_random_model_that_is_recorded():
    model = wrap(Dropping(always=True).eval(), x=X)
    assert len(model.recorded) == 1
    assert not torch.equal(model(X), model(X))
    with torch.random.fork_rng():
        first, again = (torch.manual_seed(1) and model(X) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("read", ["sum", "last"])
def test_spike_counts_and_membranes(read):
    """What snnTorch's users return, (spk_rec, mem_rec): counts are the sum of the first, or the last of the second."""
    net = Inside(lambda z: ((z > 0).float(), z)).eval()
    net.body.neurons.surrogate_function.k = 1.0
    wanted = {"sum": (0, (WANTED > 0).float().sum(0)), "last": (1, WANTED[-1])}[read]
    model = wrap(net, x=X, output=wanted[0], readout=read)
    with torch.no_grad():
        assert torch.equal(model(X), wanted[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", [IFNode, Leaky])
def test_a_network_on_a_gpu_is_what_it_is_on_a_cpu(kind):
    def net():
        return Two(lambda: kind()).eval()

    model, wanted = wrap(net().cuda(), x=X.cuda()), wrap(net(), x=X)
    assert [layer.name for layer in model.recorded] == ["first", "second"]
    assert (model(X.cuda()).cpu() - wanted(X)).abs().max() < 1e-3
