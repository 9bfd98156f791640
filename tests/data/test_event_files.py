"""Loaders of recordings: N-MNIST, DVS128 Gesture and folders of npz and HDF5 files."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from written import aedat3_bytes, aedat3_packet, bin_bytes, counted, hdf5_bytes, npz_bytes, put, recording

from robustsnn.data.aedat3 import read_aedat3
from robustsnn.data.batches import Splits
from robustsnn.data.dvs_gesture import CLASSES
from robustsnn.ground.errors import UserError
from robustsnn.names.config import DataConfig, FramesConfig
from robustsnn.runs.build import build_data

STEPS, LEVELS, COUNTS = 3, 5, {"train": 8, "test": 3}


def columns(write: Callable[..., bytes]) -> Callable[..., bytes]:
    return lambda t, x, y, p: write(t=t, x=x.astype(np.int16), y=y.astype(np.int16), p=p.astype(np.int8))


@dataclass(frozen=True)
class Files:
    """Recordings in folders of three classes, each in a file."""

    name: str
    suffix: str
    write: Callable[..., bytes]
    side: int = 10
    upper: bool = False

    def put(self, root: Path) -> Path:
        """Write all; returns the first file of class 1."""
        for number in range(COUNTS["train"] + COUNTS["test"]):
            part = "train" if number < COUNTS["train"] else "test"
            for label in range(3):
                top = part.capitalize() if self.upper else part
                put(
                    root / top / str(label) / f"{number:05}{self.suffix}",
                    self.write(*recording(number, label, self.side)),
                )
        return root / ("Train" if self.upper else "train") / "1" / f"00000{self.suffix}"


FILES = [
    Files("n_mnist", ".bin", bin_bytes, 34, upper=True),
    Files("events", ".npz", columns(npz_bytes)),
    Files("events", ".h5", columns(hdf5_bytes)),
    Files("events", ".HDF5", columns(partial(hdf5_bytes, "events/"))),
]
EACH = pytest.mark.parametrize("files", FILES, ids=lambda files: files.suffix)


def load(name: str, root: Path, size: int | None = None, by: str = "count", **more) -> Splits:
    frames = FramesConfig(STEPS, by, size, LEVELS)  # type: ignore[arg-type]
    return build_data(DataConfig(name, str(root), frames=frames, **more))


def refused(name: str, root: Path, **more) -> str:
    with pytest.raises(UserError) as caught:
        load(name, root, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


@EACH
def test_frames_are_those_of_the_recordings(files: Files, tmp_path: Path) -> None:
    files.put(tmp_path)
    splits = load(files.name, tmp_path, validation=6)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 6, 9)
    assert splits.validation.labels.bincount().tolist() == [2, 2, 2]
    assert (splits.train.classes, splits.train.levels) == (("0", "1", "2"), LEVELS)
    expected = {
        (label, counted(recording(number, label, files.side), STEPS, files.side, LEVELS).tobytes())
        for label in range(3)
        for number in range(COUNTS["train"], sum(COUNTS.values()))
    }
    found = zip(splits.test.labels.tolist(), splits.test.images.numpy(), strict=True)
    assert {(label, image.tobytes()) for label, image in found} == expected


@EACH
def test_frames_by_time_and_in_bins(files: Files, tmp_path: Path) -> None:
    files.put(tmp_path)
    half = files.side // 2
    splits = load(files.name, tmp_path, size=half, by="time")
    assert splits.train.shape == (STEPS, 2, half, half)
    assert f"frames of 4x4 pixels from a sensor of {files.side}x{files.side}" in refused(files.name, tmp_path, size=4)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2 + 1],
    "text": lambda whole: b"<html>404</html>",
}


@EACH
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(files: Files, damage: str, tmp_path: Path) -> None:
    victim = files.put(tmp_path)
    victim.write_bytes(DAMAGES[damage](victim.read_bytes()))
    assert str(victim) in refused(files.name, tmp_path)


@EACH
def test_bytes_changed_at_random_are_read_or_refused(files: Files, tmp_path: Path) -> None:
    victim, draws, said = files.put(tmp_path), random.Random(1), []
    whole = victim.read_bytes()
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(draws.randint(1, 4)):
            content[draws.randrange(len(whole))] = draws.randrange(256)
        victim.write_bytes(content)
        try:
            load(files.name, tmp_path)
        except UserError as error:
            said.append(str(error))
    assert all("\n" not in message and str(tmp_path) in message for message in said), said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x": np.array([1.5, 2])}, "not integers of one shape"),
        ({"y": np.array([1])}, "not integers of one shape"),
        ({"p": np.array([0, 2])}, "p from 0 to 2 is outside 0..1"),
        ({"t": np.array([10**6, 0])}, "time runs backwards"),
        ({"x": np.array([1, -1])}, "x from -1 to 1 is outside"),
        ({"x": np.array([1, 10])}, "x from 1 to 10 is outside"),
        ({key: np.array([], int) for key in "txyp"}, "holds no events"),
        ({"t": np.array(["a", "b"])}, ""),
    ],
)
@pytest.mark.parametrize("files", FILES[1:3], ids=lambda files: files.suffix)
def test_events_that_do_not_fit(change, told: str, files: Files, tmp_path: Path) -> None:
    victim = files.put(tmp_path)
    good = {"t": np.array([0, 1]), "x": np.array([1, 2]), "y": np.array([3, 4]), "p": np.array([0, 1])}
    arrays = good | change
    if files.suffix == ".h5":
        arrays = {key: array.astype("S1") if array.dtype.kind == "U" else array for key, array in arrays.items()}
    victim.write_bytes((npz_bytes if files.suffix == ".npz" else hdf5_bytes)(**arrays))
    message = refused(files.name, tmp_path, options={"sensor": 10})
    assert str(victim) in message
    assert told in message


def test_polarity_may_be_signed_and_the_sensor_is_what_training_needs(tmp_path: Path) -> None:
    files = FILES[1]
    victim = files.put(tmp_path)
    t, x, y, p = recording(0, 1, files.side)
    before = load("events", tmp_path)
    victim.write_bytes(npz_bytes(t=t, x=x, y=y, p=2 * p - 1))
    assert load("events", tmp_path).train.fingerprint() == before.train.fingerprint()
    assert before.train.shape == (STEPS, 2, 10, 10)
    assert load("events", tmp_path, options={"sensor": 12}).train.shape == (STEPS, 2, 12, 12)
    other = tmp_path / "test" / "0" / "wide.npz"
    other.write_bytes(npz_bytes(t=t, x=x + 5, y=y, p=p))
    assert f"{other}: x from" in refused("events", tmp_path)
    victim.write_bytes(npz_bytes(t=t, x=x + 5000, y=y, p=p))
    assert f"{victim}: x up to 5009 and y up to 9 are beyond 4096 pixels" in refused("events", tmp_path)


def test_hdf5_that_says_more_than_it_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A data set of 2^31 numbers that was never written takes no space in the file."""
    h5py = pytest.importorskip("h5py")
    victim = FILES[2].put(tmp_path)
    with h5py.File(victim, "w") as file:
        for key in "txyp":
            file.create_dataset(key, (1 << 31,), "i8", chunks=(1024,), compression="gzip")
    assert victim.stat().st_size < 1 << 16
    assert f"{victim}: its arrays have more than" in refused("events", tmp_path)


def test_events_in_other_files_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    victim = FILES[2].put(tmp_path)
    secret = put(tmp_path / "secret", bytes(800))
    with h5py.File(victim, "w") as file:
        for key in "txyp":
            file.create_dataset(key, (100,), "i8", external=[(str(secret), 0, 800)])
    assert str(victim) in refused("events", tmp_path)


# N-MNIST


def test_five_bytes_written_out_by_hand(tmp_path: Path) -> None:
    """x, y, polarity and 23 bits of time; y = 240 puts what follows 2^13 us later, and is no event."""
    victim = FILES[0].put(tmp_path)
    content = bytes([3, 5, 0b1000_0000, 0, 9]) + bytes([0, 240, 0, 0, 0]) + bytes([33, 0, 0, 0, 10])
    for path in (tmp_path / "Test").rglob("*.bin"):
        path.write_bytes(content)
    assert victim.exists()
    splits = load("n_mnist", tmp_path, by="time")
    assert splits.test.images[0].nonzero().tolist() == [[0, 1, 5, 3], [2, 0, 0, 33]]


# DVS128 Gesture


@pytest.fixture
def gestures(tmp_path: Path) -> Path:
    """Four recordings with eleven gestures each, of 100 us, and some events between them."""
    for user in range(1, 5):
        t, x, y, p = recording(user, 5, 128, 2400)
        put(tmp_path / f"user{user:02}_led.aedat", aedat3_bytes(t, x, y, p))
        lines = [f"{k + 1},{400 * k + 100},{400 * k + 400}" for k in range(11)]
        put(
            tmp_path / f"user{user:02}_led_labels.csv",
            "\r\n".join(["class,startTime_usec,endTime_usec", *lines]).encode(),
        )
    put(tmp_path / "trials_to_train.txt", b"user01_led.aedat\nuser02_led.aedat\r\nuser03_led.aedat\n\n")
    put(tmp_path / "trials_to_test.txt", b"user04_led.aedat")
    return tmp_path


def test_gestures_are_cut_out_of_recordings(gestures: Path) -> None:
    splits = load("dvs_gesture", gestures, size=128, validation=11)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (22, 11, 11)
    assert splits.train.classes == CLASSES
    t, *rest = recording(4, 5, 128, 2400)
    for label in (0, 10):
        which = (t >= 400 * label + 100) & (t < 400 * label + 400)
        events = (t[which], *(column[which] for column in rest))
        assert np.array_equal(splits.test.images[label].numpy(), counted(events, STEPS, 128, LEVELS))
        assert splits.test.labels[label] == label


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_recording_is_named(damage: str, gestures: Path) -> None:
    victim = gestures / "user02_led.aedat"
    victim.write_bytes(DAMAGES[damage](victim.read_bytes()))
    assert str(victim) in refused("dvs_gesture", gestures)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("trials_to_test.txt", None, "cannot read"),
        ("user01_led.aedat", None, "cannot read"),
        ("user01_led_labels.csv", None, "cannot read"),
        ("trials_to_test.txt", b"", "names no recording"),
        ("trials_to_test.txt", b"../secret.aedat", "is not the name of an .aedat file beside it"),
        ("user01_led_labels.csv", b"class,start,end\n", "has no gesture behind its first line"),
        ("user01_led_labels.csv", b"class,start,end\n1,2", "is not a class, a start and an end"),
        ("user01_led_labels.csv", b"class,start,end\n12,1,200", "has a class outside 1..11"),
        ("user01_led_labels.csv", b"class,start,end\n1,200,100", "ends at its start"),
        ("user01_led_labels.csv", b"class,start,end\n1,8000,9000", "no events from 8000 to 9000"),
    ],
)
def test_what_is_around_the_recordings(name: str, content: bytes | None, told: str, gestures: Path) -> None:
    path = gestures / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    message = refused("dvs_gesture", gestures)
    assert told in message
    assert (name.removesuffix("_labels.csv") if "no events" in told else str(path)) in message


def test_aedat3_round_trip_over_the_end_of_the_clock() -> None:
    t, x, y, p = recording(0, 5, 128, 300)
    t = t * 10**6 + 5  # beyond 2^31
    read = read_aedat3(aedat3_bytes(t, x, y, p), "file")
    for ours, theirs in ((read.t, t), (read.x, x), (read.y, y), (read.p, p)):
        assert np.array_equal(ours, theirs)


HEADER = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"


def test_bits_of_an_event_written_out_by_hand() -> None:
    """Bit 0 valid, 1 polarity, 2-16 row, 17-31 column, little-endian; an invalid one is passed over."""
    valid = bytes([0b0001_0111, 0, 0b0000_0110, 0]) + bytes([2, 1, 0, 0])
    invalid = bytes([0b0001_0110, 0, 0b0000_0110, 0]) + bytes([3, 1, 0, 0])
    events = read_aedat3(HEADER + aedat3_packet(1, invalid + valid, 8, 1), "file")
    assert (len(events), events.t[0], events.x[0], events.y[0], events.p[0]) == (1, 2**31 + 258, 3, 5, 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"#!AER-DAT2.0\r\n", "does not begin with"),
        (b"#!AER-DAT3.1\r\n#x", "within its header"),
        (HEADER + bytes(20), "within the header of a packet"),
        (HEADER + aedat3_packet(1, bytes(16), 8)[:-1], "within a packet"),
        (HEADER + aedat3_packet(1, bytes(32), 16), "within a packet"),
        (HEADER + aedat3_packet(1, (128 << 17 | 1).to_bytes(4, "little") + bytes(4), 8), "x from 128 to 128"),
    ],
)
def test_another_aedat3_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=rf"a\.aedat.*{told}"):
        read_aedat3(content, "a.aedat")
