"""Outcomes on disk: what was saved is read back, and nothing else is."""

import random

import numpy as np
import pytest

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_arrays
from robustsnn.records.outcome import Outcomes

ATTACKS, N = 3, 10


def outcomes(keep_images=True):
    draws = np.random.default_rng(0)
    made = Outcomes.empty(ATTACKS, N, (1, 2, 2) if keep_images else None)
    for name, array in vars(made).items():
        if array is not None:
            setattr(made, name, (draws.normal(size=array.shape) * 3).astype(array.dtype))
    made.clean_margin[0] = np.nan
    return made


@pytest.mark.parametrize("keep_images", [True, False])
def test_what_was_saved_is_read_back(keep_images, tmp_path):
    path, made = tmp_path / "batch.npz", outcomes(keep_images)
    for done in (0, ATTACKS):
        made.save(path, done)
        for sizes in ({}, {"attacks": ATTACKS}, {"n": N}, {"attacks": ATTACKS, "n": N}):
            found, complete = Outcomes.load(path, **sizes)
            assert found.equals(made)
            assert complete == done


@pytest.mark.parametrize("sizes", [{"n": N - 1}, {"n": 0}, {"attacks": ATTACKS + 1}, {"attacks": 0, "n": N}])
def test_another_number_of_attacks_or_samples_is_refused(sizes, tmp_path):
    path = tmp_path / "batch.npz"
    outcomes().save(path, ATTACKS)
    with pytest.raises(UserError, match=r"batch.npz is damaged \(it holds \d+ (attacks|samples) where \d+"):
        Outcomes.load(path, **sizes)


def changed(**changes):
    arrays = {**vars(outcomes()), "done": ATTACKS, **changes}
    return {name: array for name, array in arrays.items() if array is not None}


WRONG = {
    "done-many": changed(done=ATTACKS + 1),
    "done-negative": changed(done=-1),
    "done-real": changed(done=1.0),
    "done-array": changed(done=[1]),
    "done-missing": changed(done=None),
    "images-missing": changed(images=None),
    "label-missing": changed(label=None),
    "attacked-missing": changed(attacked=None),
    "stranger": changed(imagez=np.zeros(N)),
    "pickled": changed(label=np.array([{}] * N)),
    "attacked-flat": changed(attacked=np.zeros(N, bool)),
}
WRONG |= {f"{name}-dtype": changed(**{name: array.astype("f2")}) for name, array in vars(outcomes()).items()}
WRONG |= {
    f"{name}-swapped": changed(**{name: array[::-1].T}) for name, array in vars(outcomes()).items() if array.ndim > 1
}
WRONG |= {f"{name}-cut": changed(**{name: array[:1]}) for name, array in vars(outcomes()).items()}
WRONG |= {
    f"{name}-short": changed(**{name: array[..., :1]})
    for name, array in vars(outcomes(False)).items()
    if name != "images"
}


@pytest.mark.parametrize("what", WRONG)
def test_arrays_that_do_not_fit_are_refused_in_one_line(what, tmp_path):
    path = tmp_path / "batch.npz"
    write_arrays(path, **WRONG[what])
    refused(path)


def refused(path):
    with pytest.raises(UserError, match=r"batch.npz is damaged \(.+\); delete it") as caught:
        Outcomes.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_a_missing_file_a_folder_and_other_files_are_refused(tmp_path):
    path = tmp_path / "batch.npz"
    refused(path)
    path.mkdir()
    refused(path)
    path.rmdir()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for content in (b"", b"hello", (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        refused(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_refused_or_change_nothing(seed, tmp_path):
    """The archive's checksums cover the arrays, so what can still be read is what was saved."""
    path, made, draws = tmp_path / "batch.npz", outcomes(), random.Random(seed)
    made.save(path, 2)
    whole = path.read_bytes()
    refusals = 0
    for trial in range(150):
        harmed = bytearray(whole)
        if trial % 5 == 0:
            del harmed[draws.randrange(len(whole)) :]
        for _ in range(draws.choice((1, 1, 4)) if trial % 5 else 0):
            harmed[draws.randrange(len(harmed))] ^= draws.choice((1 << draws.randrange(8), 0xFF))
        path.write_bytes(harmed)
        try:
            found, done = Outcomes.load(path)
        except UserError as error:
            refusals += 1
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert found.equals(made)
            assert done == 2
    assert 30 < refusals < 150
