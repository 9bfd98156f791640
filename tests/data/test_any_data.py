"""Loaders of images: what is written comes back, and whatever is damaged is refused in a line with the file's name."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat
from written import IMAGES, Format, drawn, idx_bytes, named, picture, put

from robustsnn.data.batches import Splits
from robustsnn.ground.errors import UserError
from robustsnn.names.config import DataConfig
from robustsnn.runs.build import build_data

FORMATS = pytest.mark.parametrize("format", IMAGES, ids=lambda format: format.id)


def load(form: Format, root: Path, **more) -> Splits:
    """As the command line does."""
    options = {**form.options, **more.pop("options", {})}
    return build_data(DataConfig(form.name, str(root), options=options, **more))


def refused(form: Format, root: Path, **more) -> str:
    with pytest.raises(UserError) as caught:
        load(form, root, **more)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def unpacked(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)


def sorted_rows(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    return rows[np.lexsort(rows.T)]


@pytest.fixture
def sets() -> Callable[[Format], tuple]:
    return lambda form: tuple(drawn(n, form.channels, form.side, seed) for n, seed in ((30, 1), (9, 2)))


@FORMATS
def test_what_is_written_comes_back(format: Format, sets, tmp_path: Path) -> None:
    train, test = sets(format)
    root, _ = format.write(tmp_path, train, test)
    if format.lossy:  # then what comes back is what Pillow makes of the very files
        train, test = ((np.stack([unpacked(picture(x, "JPEG")) for x in images]), y) for images, y in (train, test))
    before = sorted(tmp_path.rglob("*"))
    splits = load(format, root, validation=6, seed=3)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked to disk"
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (24, 6, 9)
    assert splits.train.shape == (format.channels, format.side, format.side)
    assert splits.train.classes[:3] == ("0", "1", "2")
    assert splits.validation.labels.bincount().tolist()[:3] == [2, 2, 2]
    both = (splits.train, splits.validation)
    found = [np.concatenate([getattr(part, key).numpy() for part in both]) for key in ("images", "labels")]
    order = np.lexsort(splits.test.images.flatten(1).numpy().T), np.lexsort(test[0].reshape(9, -1).T)
    assert np.array_equal(sorted_rows(*found), sorted_rows(*train))
    assert np.array_equal(splits.test.images.numpy()[order[0]], test[0][order[1]])
    assert np.array_equal(splits.test.labels.numpy()[order[0]], test[1][order[1]])


@FORMATS
def test_the_seed_draws_the_same_again_and_test_images_stay(format: Format, sets, tmp_path: Path) -> None:
    root, _ = format.write(tmp_path, *sets(format))
    first, again, other = (load(format, root, seed=seed) for seed in (1, 1, 2))
    assert len(first.validation) == 3, "a tenth"
    assert first.train.fingerprint() == again.train.fingerprint() != other.train.fingerprint()
    assert first.test.fingerprint() == other.test.fingerprint()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "a few bytes": lambda whole: whole[:10],
    "another file": lambda whole: b"\x7fELF" + bytes(range(256)) * 20,
    "text": lambda whole: b"<html>404</html>" * 10,
    "zeros": lambda whole: bytes(len(whole)),
}


@FORMATS
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(format: Format, damage: str, sets, tmp_path: Path) -> None:
    root, victim = format.write(tmp_path, *sets(format))
    victim.write_bytes(DAMAGES[damage](victim.read_bytes()))
    assert str(victim) in refused(format, root)


@FORMATS
def test_a_missing_file_and_an_empty_or_missing_folder_are_told(format: Format, sets, tmp_path: Path) -> None:
    root, victim = format.write(tmp_path, *sets(format))
    if format.name != "images":  # where any number of files is right
        victim.unlink()
        assert str(root) in refused(format, root)
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "none"):
        assert str(nothing) in refused(format, nothing)


@FORMATS
def test_one_class_alone_is_no_task(format: Format, sets, tmp_path: Path) -> None:
    (x, y), test = sets(format)
    kept = x, np.full_like(y, 1)
    root, _ = format.write(tmp_path, kept, (test[0], np.full_like(test[1], 1)))
    assert "one class" in refused(format, root)


@FORMATS
def test_bytes_changed_at_random_are_read_or_refused(format: Format, sets, tmp_path: Path) -> None:
    """Never another error."""
    root, victim = format.write(tmp_path, *sets(format))
    whole, draws = victim.read_bytes(), random.Random(0)
    head, said = min(len(whole), 400), []
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(draws.randint(1, 4)):
            content[draws.randrange(draws.choice((head, len(whole))))] = draws.choice(
                (0, 1, 127, 255, draws.randrange(256))
            )
        victim.write_bytes(content)
        try:
            load(format, root)
        except UserError as error:
            said.append(str(error))
    assert all("\n" not in message and str(tmp_path) in message for message in said), said


# Labels and classes


@pytest.mark.parametrize("id", ["idx", "npz", "npy"])
def test_the_labels_that_are_there_are_the_classes(id: str, sets, tmp_path: Path) -> None:
    """EMNIST's letters are labelled 1 to 26; gaps make no class either."""
    form = next(form for form in IMAGES if form.id == id)
    (x, y), (other, z) = sets(form)
    values = np.array([1, 5, 26])
    root, _ = form.write(tmp_path, (x, values[y]), (other, values[z]))
    splits = load(form, root)
    assert splits.train.classes == ("1", "5", "26")
    assert splits.test.labels.tolist() == z.tolist()
    form.write(tmp_path, (x, values[y]), (other, z + 5))
    assert "label 6 of image 1 is no class, these are 1 to 26" in refused(form, root)


def test_names_of_classes_in_a_file(sets, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "npz")
    arrays = named(*sets(form))
    names = np.array(["cat", "dog", "eel", "fox"])
    np.savez(tmp_path / "a.npz", classes=names, **arrays)
    assert load(form, tmp_path).train.classes == ("cat", "dog", "eel", "fox")
    for wrong, told in ((names[:2], "label 2 of image 2 is no class, these are 0 to 1"), (np.arange(3), "texts")):
        np.savez(tmp_path / "a.npz", classes=wrong, **arrays)
        assert told in refused(form, tmp_path)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "needed are train_images and train_labels"),
        ({"a": np.zeros(3)}, "holds ['a']"),
        ({"x_train": np.zeros((4, 5, 5), np.uint8)}, "x_train have no labels; add y_train"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": np.arange(3)}, "4 images and 3 labels"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": np.eye(4)}, "labels are float64 of shape [4, 4]"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": np.array(["a"] * 4)}, "labels are <U1"),
        ({"images": np.zeros((0, 5, 5), np.uint8), "labels": np.arange(0)}, "images of shape [0, 5, 5]"),
        ({"images": np.zeros((4, 5), np.uint8), "labels": np.arange(4)}, "images of shape [4, 5]"),
        ({"images": np.full((4, 5, 5), 2.5), "labels": np.arange(4)}, "values from 2.5 to 2.5 are no grey levels"),
        ({"images": np.full((4, 5, 5), -1), "labels": np.arange(4)}, "are no grey levels"),
        ({"images": np.full((4, 5, 5), np.nan), "labels": np.arange(4)}, "are no grey levels"),
        ({"images": np.zeros((4, 5, 5), complex), "labels": np.arange(4)}, "images of complex128"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": np.arange(4)}, "validation 0"),
    ],
)
def test_arrays_that_do_not_fit(arrays, told: str, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "npz")
    np.savez(tmp_path / "a.npz", **arrays)
    if told == "validation 0":
        assert "validation 4 is not allowed; give 1..2" in refused(form, tmp_path, validation=4)
    else:
        message = refused(form, tmp_path)
        assert str(tmp_path / "a.npz") in message
        assert told in message


@pytest.mark.parametrize("names", ["no JSON", '"abc"', '{"a": 1}', "[" * 10**5])
def test_names_of_classes_that_are_no_list(names: str, sets, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "tensors")
    held = {name: torch.from_numpy(array.copy()) for name, array in named(*sets(form)).items()}
    save_file(held, tmp_path / "a.safetensors", {"classes": names})
    assert "allowed is a JSON list of names" in refused(form, tmp_path)


def test_floats_that_are_bytes_are_taken_as_such(sets, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "npz")
    (x, y), test = sets(form)
    np.savez(tmp_path / "a.npz", **named((x, y), test))
    expected = load(form, tmp_path).train.fingerprint()
    for kind in (np.float16, np.float32, np.float64):
        np.savez(tmp_path / "a.npz", **named(((x / 255).astype(kind), y), ((test[0] / 255).astype(kind), test[1])))
        assert load(form, tmp_path).train.fingerprint() == expected


def test_parts_that_are_missing_are_drawn_and_those_that_are_there_are_not(tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "npz")
    x, y = drawn(50, 1, 6, 0)
    np.savez(tmp_path / "a.npz", images=x, labels=y)
    splits = load(form, tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (35, 5, 10)
    rows = np.concatenate([part.images.numpy() for part in (splits.train, splits.validation, splits.test)])
    assert np.array_equal(np.sort(rows.reshape(50, -1), 0), np.sort(x.reshape(50, -1), 0))
    assert len(load(form, tmp_path, options={"test": 20}).test) == 20
    np.savez(tmp_path / "a.npz", **named((x, y), (x, y)), val_images=x[:7], val_labels=y[:7])
    splits = load(form, tmp_path)
    assert torch.equal(splits.validation.images, torch.from_numpy(x[:7]))
    assert torch.equal(splits.train.images, torch.from_numpy(x))
    assert "validation 5 has no effect" in refused(form, tmp_path, validation=5)


def test_objects_in_an_npy_file_are_not_unpickled(sets, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "npy")
    root, victim = form.write(tmp_path, *sets(form))
    np.save(victim, np.array([{}, []], dtype=object), allow_pickle=True)
    assert f"{victim} is no readable npy file" in refused(form, root)


# Sets larger than memory


@pytest.mark.parametrize("id", ["npy", "tensors"])
def test_images_with_all_parts_stay_on_disk(id: str, tmp_path: Path) -> None:
    """A file of holes, larger than the machine's memory: loading it touches its labels alone."""
    count, side = 1 << 14, 2048
    size = count * side**2
    few = {part: np.zeros((3, 1, side, side), np.uint8) for part in ("validation", "test")}
    arrays = {f"{part}_images": array for part, array in few.items()}
    arrays |= {f"{part}_labels": np.arange(3) for part in few} | {"train_labels": np.arange(count) % 3}
    if id == "npy":
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        path = tmp_path / "train_images.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, 1, side, side))
        start = path.stat().st_size - size
    else:
        path = tmp_path / "a.safetensors"
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
        whole = path.read_bytes()
        length = int.from_bytes(whole[:8], "little")
        at = len(whole) - 8 - length
        header = json.loads(whole[8 : 8 + length])
        header["train_images"] = {"dtype": "U8", "shape": [count, 1, side, side], "data_offsets": [at, at + size]}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
        start = path.stat().st_size
        os.truncate(path, start + size)
    with open(path, "r+b") as stream:
        stream.seek(start + 7 * side**2 + 5 * side + 6)
        stream.write(b"\x09")
    form = next(form for form in IMAGES if form.id == id)
    splits = load(form, tmp_path)
    assert splits.train.images.shape == (count, 1, side, side)
    assert splits.train.take([7]).images.nonzero().tolist() == [[0, 0, 5, 6]]


# Folders of images


PNG = next(form for form in IMAGES if form.id == "png")


@pytest.fixture
def folder(sets, tmp_path: Path) -> Path:
    return PNG.write(tmp_path, *sets(PNG))[0]


def test_classes_without_train_and_test_folders_are_split_by_seed(folder: Path) -> None:
    splits = load(PNG, folder / "train")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (21, 3, 6)
    assert splits.test.labels.bincount().tolist() == [2, 2, 2]


def test_val_is_validation_beside_test_and_test_without(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    splits = load(PNG, folder)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (27, 3, 9)
    for path in sorted((folder / "val").rglob("*.PNG")):
        put(folder / "Test" / path.parent.name / path.name, path.read_bytes())
    splits = load(PNG, folder)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 9, 9)


def test_images_of_several_sizes_are_refused_and_scaled_on_request(folder: Path) -> None:
    larger = drawn(1, 3, 20, 5)[0][0]
    path = put(folder / "train" / "1" / "zz.png", picture(larger[:, :, :16], "PNG"))
    message = refused(PNG, folder)
    for told in (f"{path} has 16x20 pixels", "12x12", "data.options.resize=12"):
        assert told in message
    assert load(PNG, folder, options={"resize": 12}).train.shape == (3, 12, 12)
    constant = np.full((3, 30, 40), 77, np.uint8)
    put(path, picture(constant, "PNG"))
    splits = load(PNG, folder, options={"resize": 12}, validation=3)
    images = torch.cat([splits.train.images, splits.validation.images])
    assert (images == 77).flatten(1).all(1).sum() == 1


def test_grey_among_colour_becomes_colour_and_colour_among_grey_is_refused(folder: Path, sets, tmp_path: Path) -> None:
    grey = drawn(1, 1, 12, 7)[0][0]
    put(folder / "test" / "0" / "000.PNG", picture(grey, "PNG"))
    assert torch.equal(load(PNG, folder).test.images[0], torch.from_numpy(grey.repeat(3, 0)))
    form = replace(PNG, write=next(form for form in IMAGES if form.id == "png grey").write, channels=1)
    (tmp_path / "grey").mkdir()
    root, _ = form.write(tmp_path / "grey", *sets(form))
    path = put(root / "test" / "0" / "000.png", picture(drawn(1, 3, 12, 7)[0][0], "PNG"))
    assert f"{path} is in colour" in refused(form, root)


def test_palettes_and_transparency(folder: Path) -> None:
    for mode in ("P", "RGBA"):
        first = folder / "test" / "0" / "000.PNG"
        image = Image.open(first).convert("RGB")
        image.convert(mode).save(first)
        again = np.asarray(Image.open(first).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(load(PNG, folder).test.images[0].numpy(), again)


def loose(root: Path) -> str:
    return str(put(root / "train" / "loose.png", b""))


def sixteen_bits(root: Path) -> str:
    path = root / "train" / "0" / "deep.png"
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(path)
    return str(path)


def bomb(root: Path) -> str:
    """A small file of 2^28 pixels."""
    path = root / "train" / "0" / "bomb.png"
    Image.new("1", (1 << 14, 1 << 14)).save(path)
    assert path.stat().st_size < 1 << 18
    return str(path)


def other_kind(root: Path) -> str:
    path = root / "train" / "0" / "x.png"
    Image.new("RGB", (12, 12)).save(path, "TIFF")
    return str(path)


def empty_class(root: Path) -> str:
    (root / "train" / "9").mkdir()
    return str(root / "train" / "9")


def new_class(root: Path) -> str:
    return str(put(root / "test" / "new" / "1.png", b"").parent)


def unprintable(root: Path) -> str:
    put(root / "train" / "a\nb" / "1.png", b"")
    return "'a\\nb'"


@pytest.mark.parametrize("spoil", [loose, sixteen_bits, bomb, other_kind, empty_class, new_class, unprintable])
def test_what_is_in_a_folder_and_should_not(spoil: Callable[[Path], str], folder: Path) -> None:
    told = spoil(folder)
    assert told in refused(PNG, folder)


def test_hidden_files_and_files_of_other_kinds_are_passed_over(folder: Path) -> None:
    expected = load(PNG, folder).train.fingerprint()
    for name in (".DS_Store", "._000.png", "README.txt"):
        put(folder / "train" / "0" / name, b"x")
    put(folder / "train" / ".cache" / "1.png", b"x")
    put(folder / "train" / "labels.csv", b"x")
    assert load(PNG, folder).train.fingerprint() == expected


# IDX


IDX = IMAGES[0]


def test_the_header_of_idx_written_out_by_hand(sets, tmp_path: Path) -> None:
    root, _ = IDX.write(tmp_path, *sets(IDX))
    test = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 12]) + bytes(range(144)) + bytes(144)
    put(root / "t10k-images-idx3-ubyte", test)
    put(root / "t10k-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 2, 2, 0]))
    splits = load(IDX, root)
    assert splits.test.images[0, 0, 3].tolist() == list(range(36, 48))
    assert splits.test.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (idx_bytes(np.zeros((29, 12, 12))), "has 29 images"),
        (idx_bytes(np.zeros((30, 12, 12))) + b"x", "holds more"),
        (idx_bytes(np.zeros((30, 12, 12)))[:-1], "holds 4319"),
        (idx_bytes(np.zeros((0, 12, 12))), "which is nothing"),
        (idx_bytes(np.zeros(30)), "does not begin as an IDX file of images"),
        (bytes([0, 0, 13, 3]) + bytes(12), "does not begin as"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "more than fits in memory"),
    ],
)
def test_another_idx_file_is_refused(content: bytes, told: str, sets, tmp_path: Path) -> None:
    root, victim = IDX.write(tmp_path, *sets(IDX))
    victim.write_bytes(content)
    message = refused(IDX, root)
    assert str(victim) in message
    assert told in message


def test_one_folder_with_several_data_sets(sets, tmp_path: Path) -> None:
    form = next(form for form in IMAGES if form.id == "emnist")
    root, _ = form.write(tmp_path, *sets(form))
    IDX.write(tmp_path, *sets(IDX))
    assert "give data.options.part, one of emnist-letters, none" in refused(form, root)
    assert load(form, root, options={"part": "emnist-letters"}).train.name == "idx"
    assert "emnist-digits-train-images-idx3-ubyte" in refused(form, root, options={"part": "emnist-digits"})


def test_fashion_mnist_is_found_by_itself(sets, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("robustsnn.data.idx.DEBIAN", tmp_path)
    x, y = drawn(40, 1, 28, 1, classes=10)
    IDX.write(tmp_path, (x, y), (x, y))
    splits = build_data(DataConfig("fashion_mnist"))
    assert (splits.train.shape, splits.train.classes[9]) == ((1, 28, 28), "ankle boot")
    monkeypatch.setattr("robustsnn.data.idx.DEBIAN", tmp_path / "none")
    with pytest.raises(UserError, match=r"apt-get install dataset-fashion-mnist, or give data\.root"):
        build_data(DataConfig("fashion_mnist"))


# SVHN

SVHN = IMAGES[-1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"X": np.zeros((8, 8, 3, 30), np.int16)}, "holds X int16 [8, 8, 3, 30]"),
        ({"X": np.zeros((8, 8, 30), np.uint8)}, "holds X uint8 [8, 8, 30]"),
        ({"X": np.array([{}] * 30, dtype=object)}, "holds X cell"),
        ({"y": np.ones((29, 1), np.uint8)}, "[29, 1]; needed: X uint8 [H, W, 3, N] and y [N, 1]"),
        ({"y": np.arange(30, dtype=np.uint8)[:, None]}, "labels from 0 to 29 are not 1 to 10"),
        ({"y": np.full((30, 1), 1.5)}, "labels are float64"),
        ({"y": None}, "needed: X uint8"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_matlab_files_that_hold_something_else(change, told: str, packed: bool, sets, tmp_path: Path) -> None:
    root, victim = SVHN.write(tmp_path, *sets(SVHN))
    held = {"X": np.zeros((32, 32, 3, 30), np.uint8), "y": np.ones((30, 1), np.uint8)} | change
    savemat(victim, {key: value for key, value in held.items() if value is not None}, do_compression=packed)
    message = refused(SVHN, root)
    assert str(victim) in message
    assert told in message


def test_a_variable_that_unpacks_to_too_much_is_refused_before_it_does(sets, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("robustsnn.data.svhn.MOST_BYTES", 1 << 20)
    root, victim = SVHN.write(tmp_path, *sets(SVHN))
    savemat(victim, {"X": np.zeros((32, 32, 3, 1000), np.uint8)}, do_compression=True)
    assert victim.stat().st_size < 1 << 14
    assert f"{victim} is truncated, or unpacks to more than 1048576 bytes" in refused(SVHN, root)
