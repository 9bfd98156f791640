"""CIFAR10-DVS in the forms in which it is passed on, written here to their exact format."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from robustsnn.data.batches import Splits
from robustsnn.data.cifar10_dvs import CLASSES, cifar10_dvs
from robustsnn.data.events import Events, counts
from robustsnn.ground.errors import UserError

HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
COUNT = 12  # recordings of each class, so that 2 < 10 tells numbers from text
FEW = {"frames": 3, "size": 16, "test": 4, "validation": 10}


def recording(label: int, number: int) -> tuple[np.ndarray, ...]:
    """t, x, y, p: row `label`, column 8 * `number`, on and off by turns, as many as tell which it is."""
    n = 20 + number + COUNT * label
    t = np.sort(np.random.default_rng([label, number]).integers(0, 10**6, n))
    return t, np.full(n, 8 * number), np.full(n, 8 * label), np.arange(n) % 2


def aedat(label: int, number: int) -> bytes:
    t, x, y, p = recording(label, number)
    return HEADER + np.column_stack([(127 - x) << 8 | (127 - y) << 1 | (1 - p), t]).astype(">u4").tobytes()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def events_npz(label: int, number: int) -> bytes:
    return npz(**dict(zip("txyp", recording(label, number), strict=True)))


def frames_npz(label: int, number: int, by: str = "count") -> bytes:
    t, x, y, p = recording(label, number)
    made = counts(Events(t, x, y, p, (128, 128)), 3, by)  # type: ignore[arg-type]
    return npz(frames=made.astype(np.float64 if number == 0 else np.uint8))  # float64 is usual, and large


def fill(folder: Path, suffix: str, content: Callable[[int, int], bytes]) -> Path:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(COUNT):
            (folder / name / f"cifar10_{name}_{number}{suffix}").write_bytes(content(label, number))
    return folder


def pack(folder: Path, name: str, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """One class as the official archive, in place of its folder."""
    with zipfile.ZipFile(folder / f"{name}.zip", "w", compression) as archive:
        archive.writestr(f"{name}/", b"")
        for path in sorted((folder / name).iterdir(), reverse=True):
            archive.write(path, f"{name}/{path.name}")
            archive.writestr(f"__MACOSX/{name}/._{path.name}", b"no recording")
    shutil.rmtree(folder / name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The official files, unpacked. Tests that change them copy them first."""
    return fill(tmp_path_factory.mktemp("whole"), ".aedat", aedat)


@pytest.fixture
def own(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "own"))


def load(root: Path, **change) -> Splits:
    return cifar10_dvs(root, **{**FEW, **change})


def prints(splits: Splits) -> list[str]:
    return [part.fingerprint() for part in (splits.train, splits.validation, splits.test)]


def identified(splits: Splits) -> list[list[tuple[int, int]]]:
    """(label, number) of every image of each part, read off the images alone."""
    parts = []
    for part in (splits.train, splits.validation, splits.test):
        place = part.images.sum((1, 2)).flatten(1).argmax(1)
        parts.append([(int(i) // 16, int(i) % 16) for i in place])
        assert part.labels.tolist() == [label for label, _ in parts[-1]]
    return parts


def test_parts(whole: Path) -> None:
    splits = load(whole)
    train, validation, test = identified(splits)
    everyone = [(label, number) for label in range(10) for number in range(COUNT)]
    assert test == [(label, number) for label, number in everyone if number >= COUNT - 4]
    assert sorted(train + validation + test) == everyone
    assert sorted(label for label, _ in validation) == list(range(10))
    assert (splits.train.classes, splits.train.levels, splits.train.shape) == (CLASSES, 8, (3, 2, 16, 16))
    for stated in ("last 4", "10 for validation", "drawn by seed 0", "70 for training", "clipped at 8"):
        assert stated in splits.note
    other = load(whole, seed=1)
    assert prints(other)[2] == prints(splits)[2]
    assert prints(other)[:2] != prints(splits)[:2]


def test_frames_are_the_counts_of_the_events(whole: Path) -> None:
    test = load(whole, levels=255, size=64, by="time").test
    for i in (0, 7, 39):
        label, number = i // 4, COUNT - 4 + i % 4
        t, _, _, p = recording(label, number)
        frame = np.minimum((t - t[0]) // ((t[-1] - t[0]) // 3), 2)
        expected = np.zeros((3, 2, 64, 64), int)
        np.add.at(expected, (frame, p, 4 * label, 4 * number), 1)
        assert np.array_equal(test.images[i].numpy(), expected)
    assert torch.equal(load(whole, levels=2, size=64, by="time").test.images, test.images.clamp(max=2))


@pytest.mark.parametrize("by", ["count", "time"])
def test_all_forms_give_the_same_frames(whole: Path, own: Path, tmp_path: Path, by: str) -> None:
    expected = prints(load(whole, by=by))
    pack(own, "bird")
    pack(own, "truck", zipfile.ZIP_STORED)
    assert prints(load(own, by=by)) == expected
    shutil.copytree(own, tmp_path / "within" / "extract")
    assert prints(load(tmp_path / "within", by=by)) == expected
    fill(tmp_path / "npz" / "events_np", ".npz", events_npz)
    assert prints(load(tmp_path / "npz", by=by)) == expected
    made = tmp_path / "made" / f"frames_number_3_split_by_{'number' if by == 'count' else 'time'}"
    fill(made, ".npz", lambda label, number: frames_npz(label, number, by))
    assert prints(load(tmp_path / "made", by=by)) == expected


def test_made_frames_go_first_if_they_are_those_asked_for(own: Path) -> None:
    expected = prints(load(own, frames=2))
    fill(
        own / "frames_number_3_split_by_number",
        ".npz",
        lambda label, number: npz(frames=np.ones((3, 2, 128, 128), bool)),
    )
    assert load(own).train.images.min() == 8  # 64 events in each bin, clipped
    assert prints(load(own, frames=2)) == expected


def test_progress_is_told_about_every_file(whole: Path) -> None:
    told: list[tuple[int, int, str]] = []
    load(whole, progress=lambda *now: told.append(now))
    assert [now[:2] for now in told] == [(i + 1, 120) for i in range(120)]
    assert [now[2] for now in told[:12]] == [f"cifar10_airplane_{number}.aedat" for number in range(COUNT)]


def spoiled(own: Path, spoil: Callable[[Path], object], told: str, **change) -> None:
    spoil(own)
    with pytest.raises(UserError, match=told) as caught:
        load(own, **change)
    assert "\n" not in str(caught.value)


def removed(*names: str) -> Callable[[Path], None]:
    return lambda root: [shutil.rmtree(root / name) for name in names] and None


def written(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (removed(*CLASSES), "no CIFAR10-DVS in"),
        (removed("cat", "ship"), r"no \.aedat files of cat, ship"),
        (lambda root: [path.unlink() for path in (root / "dog").iterdir()], r"no \.aedat files of dog"),
        (lambda root: [(root / "dog" / f"cifar10_dog_{i}.aedat").unlink() for i in range(8)], "4 recordings of the cl"),
        (lambda root: [path.rename(path.with_suffix(".aedat4")) for path in root.glob("*/*")], "not .aedat4"),
        (lambda root: (root / "events_np" / "cat").mkdir(parents=True), None),
        (lambda root: fill(root / "events_np", ".npz", events_npz).joinpath("cat").rename(root / "x"), "files of cat"),
        (written("cat/cifar10_cat_3.aedat", aedat(3, 3)[:-3]), r"cifar10_cat_3\.aedat ends within an event"),
        (written("cat/cifar10_cat_3.aedat", aedat(3, 3)[:12]), r"cifar10_cat_3\.aedat ends within its header"),
        (written("cat/cifar10_cat_3.aedat", aedat(3, 3)[:20]), r"cifar10_cat_3\.aedat ends within its header"),
        (written("cat/cifar10_cat_3.aedat", HEADER), r"cifar10_cat_3\.aedat holds no events"),
        (written("cat/cifar10_cat_3.aedat", b""), r"cifar10_cat_3\.aedat does not begin with"),
        (lambda root: (removed("cat")(root), written("cat.zip", b"no archive")(root)), "cat.*not a zip file"),
        (lambda root: (pack(root, "cat"), (root / "cat.zip").write_bytes(b"PK\5\6" + bytes(18))), r"files of cat"),
    ],
)
def test_a_folder_that_does_not_do_is_refused(own: Path, spoil, told: str | None) -> None:
    if told is None:  # an empty folder beside the data is no data
        expected = prints(load(own))
        spoil(own)
        assert prints(load(own)) == expected
    else:
        spoiled(own, spoil, told)


def test_a_damaged_archive_is_refused_with_the_files_name(own: Path) -> None:
    pack(own, "cat", zipfile.ZIP_STORED)
    content = bytearray((own / "cat.zip").read_bytes())
    content[content.index(aedat(3, 5)) + len(HEADER)] ^= 1
    spoiled(own, written("cat.zip", bytes(content)), r"cannot read .*cat\.zip/cat/cifar10_cat_5\.aedat: Bad CRC")


def test_a_giant_file_is_refused(own: Path, monkeypatch) -> None:
    monkeypatch.setattr("robustsnn.data.cifar10_dvs._MOST_BYTES", 5000)
    spoiled(own, written("cat/cifar10_cat_3.aedat", bytes(5001)), r"cifar10_cat_3\.aedat has more than 5000 bytes")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (np.zeros((3, 2, 64, 64)), "frames of shape"),
        (np.zeros((2, 2, 128, 128)), "frames of shape"),
        (np.full((3, 2, 128, 128), 0.25), "no counts"),
        (np.zeros((3, 2, 128, 128)), r"cifar10_airplane_0\.npz holds no events"),
    ],
)
def test_frames_of_another_kind_are_refused(own: Path, made: np.ndarray, told: str) -> None:
    folder = "frames_number_3_split_by_number"
    spoiled(own, lambda root: fill(root / folder, ".npz", lambda label, number: npz(frames=made)), told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frames": 0}, "0 frames"),
        ({"by": "number"}, "'number'"),
        ({"size": 48}, "48x48"),
        ({"levels": 0}, "levels=0"),
        ({"test": 0}, "0 test recordings"),
        ({"test": 12}, "12 recordings of the class airplane"),
        ({"validation": 80}, r"1\.\.79"),
        ({"validation": 0}, "validation 0"),
    ],
)
def test_options_that_do_not_do_are_refused(whole: Path, change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load(whole, **change)
