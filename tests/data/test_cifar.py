from __future__ import annotations

import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from robustsnn.data import cifar
from robustsnn.data.batches import Splits
from robustsnn.ground.errors import UserError


@dataclass(frozen=True)
class Tiny:
    """A small data set of CIFAR's form, and its files in both layouts by name."""

    load: Callable[..., Splits]
    classes: int
    images: list[np.ndarray]  # of each training file and, last, of the test file
    labels: list[list[int]]
    python: dict[str, bytes]
    binary: dict[str, bytes]

    @property
    def stem(self) -> str:
        return f"cifar-{self.classes}"

    @property
    def folders(self) -> dict[str, str]:
        if self.classes == 10:
            return {"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin"}
        return {"python": "cifar-100-python", "binary": "cifar-100-binary"}

    def extract(self, folder: Path, layout: str) -> Path:
        folder.mkdir(parents=True)
        for name, content in getattr(self, layout).items():
            (folder / name).write_bytes(content)
        return folder

    def archive(self, layout: str) -> tuple[str, bytes]:
        """Its official name and content, with the folder's own entry first as in the official ones."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            folder = tarfile.TarInfo(self.folders[layout])
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name, content in {"readme.html": b"hello", **getattr(self, layout)}.items():
                member = tarfile.TarInfo(f"{self.folders[layout]}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return f"{self.stem}-{layout}.tar.gz", stream.getvalue()


def make(classes: int, python2_pickle) -> Tiny:
    rng = np.random.default_rng(classes)
    sizes = [12, 13, 14, 15, 16, 11] if classes == 10 else [70, 11]
    images = [rng.integers(0, 256, (size, 3072), dtype=np.uint8) for size in sizes]
    labels = [rng.integers(0, classes, size).tolist() for size in sizes]
    names = [f"class_{number}".encode() for number in range(classes)]
    python, binary = {}, {}
    if classes == 10:
        files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        python["batches.meta"] = {b"num_cases_per_batch": 10000, b"label_names": names, b"num_vis": 3072}
        binary["batches.meta.txt"] = b"\n".join(names) + b"\n\n"
    else:
        files = ["train", "test"]
        python["meta"] = {b"fine_label_names": names, b"coarse_label_names": [b"x"] * 20}
        binary["fine_label_names.txt"] = b"\n".join(names) + b"\n"
        binary["coarse_label_names.txt"] = b"x\n" * 20
    for file, data, label in zip(files, images, labels, strict=True):
        columns = [np.array(label, dtype=np.uint8)[:, None], data]
        python[file] = {b"batch_label": b"batch", b"data": data, b"filenames": [b"%d.png" % n for n in label]}
        if classes == 10:
            python[file][b"labels"] = label
        else:
            python[file] |= {b"fine_labels": label, b"coarse_labels": [n // 5 for n in label]}
            columns.insert(0, columns[0] // 5)
        binary[f"{file}.bin"] = np.concatenate(columns, axis=1).tobytes()
    python = {name: python2_pickle(value) for name, value in python.items()}
    return Tiny(cifar.cifar10 if classes == 10 else cifar.cifar100, classes, images, labels, python, binary)


@pytest.fixture(scope="session", params=[10, 100])
def tiny(request, python2_pickle) -> Tiny:
    return make(request.param, python2_pickle)


@pytest.fixture
def put_archive(monkeypatch, tmp_path: Path):
    """Place an archive in tmp_path under its official name, with its checksum as the expected one."""

    def put(tiny: Tiny, layout: str, content: bytes | None = None) -> Path:
        name, own = tiny.archive(layout)
        content = own if content is None else content
        monkeypatch.setitem(cifar.CHECKSUMS, name, hashlib.md5(content).hexdigest())
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


def refused(load: Callable[..., Splits], *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is read


@pytest.mark.parametrize("layout", ["python", "binary"])
@pytest.mark.parametrize("form", ["in root", "root itself", "archive"])
def test_every_layout_gives_the_same_images(tiny: Tiny, layout: str, form: str, tmp_path: Path, put_archive) -> None:
    root = tmp_path
    if form == "in root":
        tiny.extract(root / tiny.folders[layout], layout)
    elif form == "root itself":
        root = tiny.extract(tmp_path / "anything", layout)
    else:
        put_archive(tiny, layout)
    before = sorted(tmp_path.rglob("*"))
    splits = tiny.load(root, validation=20, seed=3)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is extracted to disk"

    test = splits.test
    assert torch.equal(test.images, torch.from_numpy(tiny.images[-1]).reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == tiny.labels[-1]
    assert test.classes == tuple(f"class_{number}" for number in range(tiny.classes))
    assert (len(splits.train), len(splits.validation)) == (50, 20)
    rows = [np.column_stack([part.labels, part.images.flatten(1)]) for part in (splits.train, splits.validation)]
    ours = np.concatenate(rows)
    theirs = np.column_stack([np.concatenate(tiny.labels[:-1]), np.concatenate(tiny.images[:-1])])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    reference = tiny.load(tiny.extract(tmp_path / "reference", "binary"), validation=20, seed=3)
    assert splits.train.fingerprint() == reference.train.fingerprint()
    assert splits.validation.fingerprint() == reference.validation.fingerprint()


def test_colour_planes_and_rows(tiny: Tiny, tmp_path: Path) -> None:
    """The format's page: 1024 red bytes, 1024 green, 1024 blue, each row by row."""
    image = tiny.load(tiny.extract(tmp_path / "x", "binary"), validation=1).test.images[2]
    for plane, row, column in ((0, 0, 1), (1, 5, 7), (2, 31, 30)):
        assert image[plane, row, column] == tiny.images[-1][2][1024 * plane + 32 * row + column]


def test_pickles_rewritten_by_python3_read_the_same(tiny: Tiny, tmp_path: Path) -> None:
    root = tiny.extract(tmp_path / "x", "python")
    splits = tiny.load(root, validation=5)
    key = b"labels" if tiny.classes == 10 else b"fine_labels"
    for file, data, label in zip(("test_batch", "test"), tiny.images[-1:] * 2, tiny.labels[-1:] * 2, strict=True):
        for protocol in (2, 4):
            (root / file).write_bytes(pickle.dumps({b"data": data, key: label}, protocol))
            assert tiny.load(root, validation=5).test.fingerprint() == splits.test.fingerprint()


def test_extracted_goes_before_archive_and_python_before_binary(tiny: Tiny, tmp_path: Path, put_archive) -> None:
    def test_images() -> int:
        return len(tiny.load(tmp_path, validation=1).test)

    put_archive(tiny, "binary")
    assert test_images() == 11
    (tmp_path / f"{tiny.stem}-python.tar.gz").write_bytes(b"damaged")
    assert "MD5" in refused(tiny.load, tmp_path)
    folder = tiny.extract(tmp_path / tiny.folders["binary"], "binary")
    test = next(file for file in folder.iterdir() if file.name.startswith("test"))
    test.write_bytes(test.read_bytes()[: 5 * (3072 + tiny.classes // 100 + 1)])
    assert test_images() == 5
    tiny.extract(tmp_path / tiny.folders["python"], "python")
    assert test_images() == 11


def test_validation_is_drawn_by_seed_and_stated(tiny: Tiny, tmp_path: Path) -> None:
    root = tiny.extract(tmp_path / "x", "binary")
    first, again, other = (tiny.load(root, validation=30, seed=seed) for seed in (1, 1, 2))
    assert first.validation.fingerprint() == again.validation.fingerprint()
    assert first.validation.fingerprint() != other.validation.fingerprint()
    assert first.test.fingerprint() == other.test.fingerprint()
    for stated in ("seed 1", "40 for training", "30 for validation", "11 test images", "subset", "50000"):
        assert stated in first.note


def test_official_counts_are_not_called_a_subset(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cifar, "OFFICIAL_COUNTS", (70, 11))
    assert "subset" not in tiny.load(tiny.extract(tmp_path / "x", "binary"), validation=5).note


@pytest.mark.parametrize("validation", [0, -1, 70, 5000])
def test_validation_out_of_range(tiny: Tiny, tmp_path: Path, validation: int) -> None:
    root = tiny.extract(tmp_path / "x", "binary")
    assert f"validation {validation} is not allowed; give 1..69" in refused(tiny.load, root, validation=validation)


# What is missing


@pytest.mark.parametrize("form", ["empty", "absent", "a file", "empty folder inside", "unrelated files"])
def test_nothing_there(tiny: Tiny, tmp_path: Path, form: str) -> None:
    root = tmp_path / "root"
    if form == "a file":
        root.write_text("x")
    elif form != "absent":
        root.mkdir()
    if form == "empty folder inside":
        (root / tiny.folders["python"]).mkdir()
    if form == "unrelated files":
        for name in ("test", "meta", "cat.png"):
            (root / name).write_text("x")
    message = refused(tiny.load, root)
    for told in (
        str(root),
        f"{tiny.stem}-python.tar.gz",
        f"{tiny.stem}-binary.tar.gz",
        *tiny.folders.values(),
        "--data.download true",
    ):
        assert told in message


@pytest.mark.parametrize("layout", ["python", "binary"])
def test_incomplete_folder(tiny: Tiny, tmp_path: Path, layout: str) -> None:
    folder = tiny.extract(tmp_path / tiny.folders[layout], layout)
    for name in [name for name in getattr(tiny, layout) if not name.startswith("coarse")]:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        message = refused(tiny.load, tmp_path)
        assert f"{folder} lacks {name}; extract {tiny.stem}-{layout}.tar.gz again" in message
        (folder / name).write_bytes(content)


def test_incomplete_archive(tiny: Tiny, put_archive) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz"):
        pass
    path = put_archive(tiny, "binary", stream.getvalue())
    assert f"{path} lacks " in refused(tiny.load, path.parent)


# What is damaged or hostile


@pytest.mark.parametrize("layout", ["python", "binary"])
@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole[:-1] + b"x", lambda whole: b""])
def test_archive_with_a_wrong_checksum(tiny: Tiny, tmp_path: Path, layout: str, damage, put_archive) -> None:
    path = put_archive(tiny, layout)
    path.write_bytes(damage(path.read_bytes()))
    message = refused(tiny.load, tmp_path)
    for told in (
        str(path),
        hashlib.md5(path.read_bytes()).hexdigest(),
        cifar.CHECKSUMS[path.name],
        "delete it",
    ):
        assert told in message


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"no gzip", lambda whole: b""]
)
def test_archive_that_cannot_be_unpacked(tiny: Tiny, damage, put_archive) -> None:
    path = put_archive(tiny, "binary", damage(tiny.archive("binary")[1]))
    assert str(path.parent) in refused(tiny.load, path.parent)


def test_archive_members_elsewhere_and_links_are_not_read(tiny: Tiny, tmp_path: Path, put_archive) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in tiny.binary.items():
            member = tarfile.TarInfo(f"../{tiny.folders['binary']}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo(f"{tiny.folders['binary']}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(outside)
            tar.addfile(link)
    path = put_archive(tiny, "binary", stream.getvalue())
    assert "lacks" in refused(tiny.load, path.parent)


@pytest.mark.parametrize("size", [0, 1, -1])
def test_binary_file_that_is_not_whole_records(tiny: Tiny, tmp_path: Path, size: int) -> None:
    folder = tiny.extract(tmp_path / "x", "binary")
    file = next(file for file in folder.iterdir() if file.name.startswith("test"))
    file.write_bytes({0: b"", 1: file.read_bytes() + b"x", -1: file.read_bytes()[:-1]}[size])
    message = refused(tiny.load, folder)
    assert str(file) in message
    assert f"{file.stat().st_size} bytes" in message


def test_binary_label_out_of_range(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny.extract(tmp_path / "x", "binary")
    file = next(file for file in folder.iterdir() if file.name.startswith("test"))
    content, record = bytearray(file.read_bytes()), 3073 + tiny.classes // 100
    content[4 * record + record - 3073] = tiny.classes
    file.write_bytes(content)
    message = refused(tiny.load, folder)
    assert f"{file}: label {tiny.classes} of image 4 is not one of 0..{tiny.classes - 1}" in message


def pixels(n: int = 4, *shape: int) -> np.ndarray:
    return np.zeros((n, *(shape or (3072,))), dtype=np.uint8)


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ({b"labels": [0] * 4}, "data"),
        ({b"labels": [0] * 4, b"data": [0] * 3072}, "data"),
        ({b"labels": [0] * 4, b"data": pixels().astype(np.int64)}, "data"),
        ({b"labels": [0] * 4, b"data": pixels(4, 3071)}, "data"),
        ({b"labels": [0] * 4, b"data": pixels(4, 3, 1024)}, "data"),
        ({b"data": pixels()}, "labels"),
        ({b"labels": [0] * 3, b"data": pixels()}, "list of 4"),
        ({b"labels": np.zeros(4, dtype=np.int64), b"data": pixels()}, "labels"),
        ({b"labels": [0, 1, 10, 11], b"data": pixels()}, "label 10 of image 2"),
        ({b"labels": [0, -1, 1, 1], b"data": pixels()}, "label -1 of image 1"),
        ({b"labels": [0, 0, 0, "1"], b"data": pixels()}, "label a str of image 3"),
        ({b"labels": [0, True, 0, 1], b"data": pixels()}, "label a bool of image 1"),
        ([], "list"),
    ],
)
def test_python_batch_that_does_not_fit(batch, told: str, tmp_path: Path, python2_pickle) -> None:
    tiny = make(10, python2_pickle)
    folder = tiny.extract(tmp_path / "x", "python")
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch, 4))
    message = refused(tiny.load, folder, validation=5)
    assert str(folder / "data_batch_3") in message
    assert told in message


@pytest.mark.parametrize(
    "names",
    [
        None,
        [b"a"] * 9,
        [b"a"] * 11,
        b"abcdefghij",
        [1] * 10,
        [b"\xff"] * 10,
        ["\ud800"] * 10,
        [b"\x1b[1m"] * 10,
    ],
)
def test_names_that_do_not_fit(names, tmp_path: Path, python2_pickle) -> None:
    tiny = make(10, python2_pickle)
    python = tiny.extract(tmp_path / "py", "python")
    payload = b"\x80\x04}." if names is None else pickle.dumps({b"label_names": names}, 4, fix_imports=False)
    (python / "batches.meta").write_bytes(payload)
    assert str(python / "batches.meta") in refused(tiny.load, python, validation=5)


@pytest.mark.parametrize("text", [b"", b"a\n" * 9, b"a\n" * 11, b"\xff\n" * 10])
def test_binary_names_that_do_not_fit(text: bytes, tmp_path: Path, python2_pickle) -> None:
    tiny = make(10, python2_pickle)
    binary = tiny.extract(tmp_path / "bin", "binary")
    (binary / "batches.meta.txt").write_bytes(text)
    assert str(binary / "batches.meta.txt") in refused(tiny.load, binary, validation=5)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["in root", "archive"])
def test_hostile_pickle_is_not_run(tiny: Tiny, tmp_path: Path, form: str, put_archive) -> None:
    planted = tmp_path / "planted"
    for name in tiny.python:
        hostile = Tiny(**{**vars(tiny), "python": {**tiny.python, name: pickle.dumps({b"data": Payload(planted)})}})
        if form == "archive":
            put_archive(hostile, "python")
            root = tmp_path
        else:
            root = hostile.extract(tmp_path / name, "python")
        message = refused(tiny.load, root)
        assert name in message
        assert "global" in message
        assert not planted.exists()


def test_a_file_far_too_large_is_refused(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("robustsnn.data.cifar_files._MOST_BYTES", 1000)
    assert "more than 1000 bytes" in refused(tiny.load, tiny.extract(tmp_path / "x", "binary"))


# Download


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path on loopback; `claim` more bytes than there are, or no length at all if None."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.claim: int | None = 0
        self.asked: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.server.claim is not None:
            self.send_header("Content-Length", str(len(content) + self.server.claim))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(cifar, "URL", f"http://127.0.0.1:{server.server_port}/kriz/")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offer(server: Server, monkeypatch):
    """Serve the binary archive; its name. The checksum expected is that of the undamaged one."""

    def offer(tiny: Tiny, damage: Callable[[bytes], bytes] = bytes) -> str:
        name, content = tiny.archive("binary")
        monkeypatch.setitem(cifar.CHECKSUMS, name, hashlib.md5(content).hexdigest())
        server.files[f"/kriz/{name}"] = damage(content)
        return name

    return offer


@pytest.mark.parametrize("told", [True, False])
def test_download(tiny: Tiny, tmp_path: Path, server: Server, offer, told: bool) -> None:
    name = offer(tiny)
    server.claim = 0 if told else None
    root = tmp_path / "new" / "root"
    heard: list[tuple[int, int | None]] = []
    splits = tiny.load(root, validation=20, download=True, progress=lambda *step: heard.append(step))
    assert [file.name for file in root.iterdir()] == [name]
    size = (root / name).stat().st_size
    assert heard[-1] == (size, size if told else None)
    assert heard == sorted(heard)
    reference = tiny.load(tiny.extract(tmp_path / "x", "binary"), validation=20)
    assert splits.train.fingerprint() == reference.train.fingerprint()
    tiny.load(root, validation=20, download=True)
    assert len(server.asked) == 1, "what is there is not fetched again"


@pytest.mark.parametrize("fault", ["corrupt", "truncated", "cut connection", "absent", "no server", "no such scheme"])
def test_failed_download_leaves_nothing(
    tiny: Tiny, tmp_path: Path, server: Server, offer, fault: str, monkeypatch
) -> None:
    damage = {"corrupt": lambda whole: whole[:-9] + bytes(9), "truncated": lambda whole: whole[:-9]}
    name = offer(tiny, damage.get(fault, bytes))
    if fault == "cut connection":
        server.claim = 100
    if fault == "absent":
        server.files.clear()
    if fault == "no server":
        monkeypatch.setattr(cifar, "URL", "http://127.0.0.1:9/")
    if fault == "no such scheme":
        monkeypatch.setattr(cifar, "URL", "gibberish://nowhere/")
    message = refused(tiny.load, tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []
    assert f"download {cifar.URL}{name} by other means and place it as {tmp_path / name}" in message


def test_download_to_where_nothing_can_be_written(tiny: Tiny, tmp_path: Path, offer) -> None:
    name = offer(tiny)
    (tmp_path / "file").write_text("x")
    assert f"place it as {tmp_path / 'file' / name}" in refused(tiny.load, tmp_path / "file", download=True)


def test_interrupted_download_leaves_nothing(tiny: Tiny, tmp_path: Path, offer) -> None:
    offer(tiny)

    def interrupt(received: int, total: int | None) -> None:
        assert [file.name.startswith(".") for file in tmp_path.iterdir()] == [True], "hidden until it is whole"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.load(tmp_path, download=True, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_is_reported_not_replaced(tiny: Tiny, tmp_path: Path, server: Server, offer) -> None:
    name = offer(tiny)
    (tmp_path / name).write_bytes(b"half")
    assert "delete it" in refused(tiny.load, tmp_path, download=True)
    assert (tmp_path / name).read_bytes() == b"half"
    assert server.asked == []
