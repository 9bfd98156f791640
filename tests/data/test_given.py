"""What people have as labelled images, at one door."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import robustsnn
from helpers import images, spiking
from robustsnn.attacks import Suite, pgd
from robustsnn.data.batches import ImageSet
from robustsnn.data.given import image_set, labelled
from robustsnn.ground.errors import UserError
from robustsnn.objectives import Natural

GREY = (255 * images(10, (1, 8, 8))).round().to(torch.uint8)
Y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
SET = ImageSet(GREY, Y, ("a", "b", "c", "d"), "set")
X, _ = SET.floats()


class Listed(Dataset):
    """Pairs of an image and a plain number, as vision data sets give them."""

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return X[i], int(Y[i])


GIVEN = {
    "set": SET,
    "tensors": (X, Y),
    "list": [X, Y],
    "numpy": (X.numpy(), Y.numpy()),
    "numpy int32": (X.numpy(), Y.numpy().astype(np.int32)),
    "numpy reversed twice": (X.numpy()[::-1].copy()[::-1], Y.numpy()),
    "tensor and array": (X, Y.numpy()),
    "TensorDataset": TensorDataset(X, Y),
    "Dataset": Listed(),
    "DataLoader": DataLoader(TensorDataset(X, Y), 3),
    "DataLoader of numbers": DataLoader(Listed(), 4),
    "requires grad": (X.clone().requires_grad_(), Y),
}


@pytest.mark.parametrize("name", GIVEN)
def test_all_are_the_same_images(name):
    x, y = labelled(GIVEN[name])
    assert torch.equal(x, X)
    assert torch.equal(y, Y)
    assert not x.requires_grad
    assert torch.equal(image_set(GIVEN[name]).floats()[0], X)


@pytest.mark.parametrize("name", GIVEN)
def test_fit_evaluate_and_analyze_take_them_alike(name):
    def all_of(data):
        model = spiking()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        history = robustsnn.fit(model, data, Natural(), optimiser, epochs=1, batch_size=4, validation=data)
        suite = lambda eps: Suite("s", (("a", (pgd(eps, 2),)),))  # noqa: E731
        found = robustsnn.evaluation.run_suite(model, data, suite(0.1))
        energy = robustsnn.analyze(model, data, parts=["energy"])["energy"]
        return [entry["train"] | entry["validation"] for entry in history], found.margin.tolist(), energy

    assert all_of(GIVEN[name]) == all_of((X, Y))


def test_a_loader_that_shuffles_gives_one_order_and_leaves_the_callers_numbers():
    loader = DataLoader(TensorDataset(X, Y), 3, shuffle=True)
    state = torch.get_rng_state()
    (x, y), (again, _) = labelled(loader), labelled(loader)
    assert torch.equal(x, again)
    assert not torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), state)
    order = [int((image == X).flatten(1).all(1).nonzero()[0]) for image in x]
    assert sorted(order) == list(range(10))
    assert torch.equal(y, Y[order])


def test_a_set_of_floats_keeps_them_to_the_last_bit():
    x = images(4, (1, 8, 8)) * 0.99
    made = image_set((x, Y[:4]))
    assert torch.equal(made.floats()[0], x)
    assert made.classes == ("0", "1", "2", "3")
    assert made.fingerprint() != image_set((x + 1e-7, Y[:4])).fingerprint()
    assert torch.equal(made.take([2, 0]).floats()[0], x[[2, 0]])


REFUSED = {
    "a pair": X,
    "give an ImageSet, a pair": {"x": X, "y": Y},
    "a pair of list and Tensor": (X.tolist(), Y),
    "a pair of Tensor and list": (X, Y.tolist()),
    r"uint8 images: x / 255": (GREY, Y),
    r"give labels\.argmax\(1\)": (X, torch.eye(4)[Y].long()),
    r"give labels\.long\(\)": (X, Y.float()),
    r"give labels\.flatten\(\)\.long\(\)": (X, Y[:, None]),
    r"time.*x\.transpose\(0, 1\)": (X[None].repeat(4, 1, 1, 1, 1), Y),
    "several shapes": DataLoader([(torch.rand(1, 8, 8), 0), (torch.rand(1, 4, 4), 1)], 1),
    "the loader is empty": DataLoader(TensorDataset(X[:0], Y[:0]), 3),
    "there are no images": (X[:0], Y[:0]),
    "a batch of data of type dict": DataLoader([{"image": X[0], "label": 0}], 1),
}


@pytest.mark.parametrize("said", REFUSED)
def test_anything_else_is_refused_in_a_line_that_says_what_to_give(said):
    with pytest.raises(UserError, match=said):
        labelled(REFUSED[said])


@pytest.mark.parametrize("x", [2 * X, X - 1, X * torch.nan, X.double(), X.flatten(1)])
def test_a_set_of_floats_is_checked(x):
    with pytest.raises(UserError):
        image_set((x, Y))
