"""Whatever context a caller is in, the result is bit for bit that without it, or one clear refusal."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

import robustsnn
from helpers import images, spiking
from robustsnn.attacks import L2, CornerSearch, Linf, MinimumNorm, RandomSearch, RayS, Square, Suite, apgd, pgd
from robustsnn.evaluation import run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import precision
from robustsnn.neurons import RGA
from robustsnn.objectives import Adversarial, Natural

X = images(6, (1, 8, 8))
Y = spiking()(X).argmax(1)


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def coarse_products():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


CONTEXTS = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "anomaly": torch.autograd.detect_anomaly,
    "float64": default_dtype,
    "meta device": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "coarse products": coarse_products,
    "saved on cpu": torch.autograd.graph.save_on_cpu,
    "random numbers": lambda: torch.random.fork_rng(devices=[]),
}
EPS = 0.1
ATTACKS = {
    "pgd": pgd(EPS, 3),
    "apgd-l2": apgd(1.0, 3, norm="L2", rule=RGA()),
    "square": Square(Linf(EPS), queries=10),
    "corners": CornerSearch(Linf(EPS), queries=10),
    "fmn": MinimumNorm(L2(1.0), steps=3),
    "rays": RayS(Linf(EPS), queries=10),
    "noise": RandomSearch(Linf(EPS), queries=3),
}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fitted(model):
    robustsnn.fit(
        model,
        (X, Y),
        Adversarial(pgd(EPS, 2, keep="last")),
        torch.optim.SGD(model.parameters(), lr=0.1),
        epochs=1,
        batch_size=4,
        validation=(X, Y),
    )
    return weights(model)


def margins(model):
    suite = Suite("s", (("a", (pgd(EPS, 3), Square(Linf(EPS), queries=5))),))
    return torch.from_numpy(run_suite(model, (X, Y), suite).margin)


WORK = {name: (lambda model, a=attack: a(model, X, Y)) for name, attack in ATTACKS.items()} | {
    "towards": lambda model: pgd(EPS, 3)(model, X, Y, target=Y.flip(0)),
    "run_suite": margins,
    "fit": fitted,
    "analyze": lambda model: robustsnn.analyze(model, (X, Y), parts=["energy", "gradients"]),
}


@pytest.fixture(scope="module")
def plain():
    model = spiking()
    return model, {name: work(copy.deepcopy(model)) for name, work in WORK.items()}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", WORK)
def test_no_context_of_the_caller_changes_a_result(plain, name, context):
    model, expected = copy.deepcopy(plain[0]), plain[1]  # `fit` trains it
    with CONTEXTS[context]():
        found = WORK[name](model)
    if isinstance(found, dict):
        assert found == expected[name]
        return
    assert found.dtype == expected[name].dtype
    assert torch.equal(found, expected[name])


def test_contexts_are_as_before_afterwards(plain):
    model, _ = plain
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), default_dtype(), coarse_products():
        pgd(EPS, 1)(model, X, Y)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("name", ATTACKS)
def test_images_of_inference_mode_are_attacked_too(plain, name):
    model, expected = plain
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
    assert torch.equal(ATTACKS[name](model, x, y), expected[name])


def test_the_precision_that_is_asked_for_is_the_one_that_holds(plain):
    """`precision` is this library's own autocast, which an attack inside it follows."""
    model, expected = plain
    seen = []
    handle = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda module, given, out: seen.append(out.dtype)
    )
    try:
        with precision("bfloat16"):
            ATTACKS["pgd"](model, X, Y)
        assert set(seen) == {torch.bfloat16}
        with torch.autocast("cpu", torch.bfloat16), precision("float32"):
            assert torch.equal(ATTACKS["pgd"](model, X, Y), expected["pgd"])
    finally:
        handle.remove()


@pytest.mark.parametrize("transform", [lambda f: torch.func.vmap(f)(X[:, None]), lambda f: torch.func.grad(f)(X)])
def test_inside_a_transform_of_functions_an_attack_is_refused(plain, transform):
    model, _ = plain
    with pytest.raises(UserError, match=r"torch\.func"):
        transform(lambda x: pgd(EPS, 1)(model, x, Y[: len(x)]).sum())


def test_a_model_of_inference_mode_is_refused():
    with torch.inference_mode():
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(UserError, match="made in inference mode"):
        pgd(EPS, 1)(model, X, Y)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it looks into a function of autograd
@pytest.mark.slow
def test_a_compiled_model_is_attacked_as_it_is(plain):
    """Under the backend that changes no number; gradient rules are swapped inside."""
    _, expected = plain
    torch._dynamo.reset()
    compiled = torch.compile(spiking(), backend="eager")
    for name in ("pgd", "apgd-l2", "square"):
        assert torch.equal(ATTACKS[name](compiled, X, Y), expected[name])


def test_float64_images_say_what_to_write(plain):
    model, _ = plain
    for call in (
        lambda: ATTACKS["pgd"](model, X.double(), Y),
        lambda: robustsnn.evaluate(model, (X.double(), Y), eps=EPS),
    ):
        with pytest.raises(UserError, match=r"float64.*give those that it is made for, x\.float\(\)"):
            call()


def test_nan_images_are_counted():
    x = X.clone()
    x[1, 0, 0, 0] = torch.nan
    for call in (lambda: pgd(EPS, 1)(spiking(), x, Y), lambda: robustsnn.evaluate(spiking(), (x, Y), eps=EPS)):
        with pytest.raises(UserError, match="1 of 6 images hold NaN"):
            call()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: (z, z), r"returned a tuple.*model\(x\)\[0\]"),
        (lambda z: {"logits": z}, r"returned a dict.*model\(x\)\['logits'\]"),
        (lambda z: torch.stack([z, z]), r"shape \(2, 6, 4\).*model\(x\)\.mean\(0\)"),
        (lambda z: torch.stack([z, z], 1), r"shape \(6, 2, 4\).*model\(x\)\.mean\(1\)"),
    ],
)
@pytest.mark.parametrize("way", [*ATTACKS, "evaluate"])
def test_outputs_of_other_kinds_say_what_to_return(change, said, way):
    inner = spiking()

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return change(self.inner(x))

    ways = {**ATTACKS, "evaluate": lambda model, x, y: robustsnn.evaluate(model, (x, y), eps=EPS)}
    with pytest.raises(UserError, match=said):
        ways[way](Named(), X, Y)


def test_training_on_a_pair_is_training_on_its_set():
    from robustsnn.data.batches import ImageSet

    grey = (X * 255).round().to(torch.uint8)
    made = []
    for data in (
        ImageSet(grey, Y, ("a", "b", "c", "d"), "set"),
        ImageSet(grey, Y, ("a", "b", "c", "d"), "set").floats(),
    ):
        model = spiking()
        robustsnn.fit(model, data, Natural(), torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, batch_size=4)
        made.append(weights(model))
    assert torch.equal(*made)
