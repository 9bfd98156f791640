"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their official files, in either official layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.cifar_files import CifarLayout, FoundFiles, find
from robustsnn.data.cifar_format import binary_names, binary_records, python_names, python_records
from robustsnn.data.download import Progress, fetch
from robustsnn.ground.errors import UserError

URL = "https://www.cs.toronto.edu/~kriz/"
"""Where the archives come from, see cifar.html there."""

CHECKSUMS = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
}
"""MD5 of the official archives, as cifar.html gives them."""

OFFICIAL_COUNTS = (50_000, 10_000)
"""Training and test images of either data set."""


@dataclass(frozen=True)
class _Dataset:
    name: str
    python: CifarLayout
    binary: CifarLayout


_CIFAR10 = _Dataset(
    name="cifar10",
    python=CifarLayout(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train_files=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test_file="test_batch",
        names_file="batches.meta",
        records=partial(python_records, key=b"labels", classes=10),
        names=partial(python_names, key=b"label_names", classes=10),
    ),
    binary=CifarLayout(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test_file="test_batch.bin",
        names_file="batches.meta.txt",
        records=partial(binary_records, label_bytes=1, classes=10),
        names=partial(binary_names, classes=10),
    ),
)
_CIFAR100 = _Dataset(
    name="cifar100",
    python=CifarLayout(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        train_files=("train",),
        test_file="test",
        names_file="meta",
        records=partial(python_records, key=b"fine_labels", classes=100),
        names=partial(python_names, key=b"fine_label_names", classes=100),
    ),
    binary=CifarLayout(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train_files=("train.bin",),
        test_file="test.bin",
        names_file="fine_label_names.txt",
        records=partial(binary_records, label_bytes=2, classes=100),
        names=partial(binary_names, classes=100),
    ),
)


def cifar10(
    root: Path | str,
    *,
    validation: int = 5000,
    seed: int = 0,
    download: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """CIFAR-10: images uint8 [N, 3, 32, 32] in ten classes, 50,000 for training and 10,000 for testing.

    `root` holds the extracted folder of the python or the binary version, or its .tar.gz archive (never
    unpacked on disk, its MD5 checked first), or is the extracted folder itself. An extracted folder goes
    before an archive and python before binary. If there is none, `download` fetches the binary archive
    to `root` and tells `progress`. `seed` draws `validation` of the training images, stratified by
    class; the test images are the official ones in their order.

    `UserError`, in one line with the file's name: nothing found, a wrong checksum, a truncated,
    malformed or hostile file, a failed download, or `validation` not in 1..training images - 1.
    """
    return _load(_CIFAR10, Path(root), validation, seed, download, progress)


def cifar100(
    root: Path | str,
    *,
    validation: int = 5000,
    seed: int = 0,
    download: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """CIFAR-100 with its 100 fine labels; everything else as in `cifar10`."""
    return _load(_CIFAR100, Path(root), validation, seed, download, progress)


def _load(
    dataset: _Dataset, root: Path, validation: int, seed: int, download: bool, progress: Progress | None
) -> Splits:
    layouts = (dataset.python, dataset.binary)
    found = find(root, layouts, CHECKSUMS)
    if found is None and download:
        archive = dataset.binary.archive  # rather than the python one: it needs no unpickling
        fetch(URL + archive, root / archive, CHECKSUMS[archive], progress)
        found = find(root, layouts, CHECKSUMS)
    if found is None:
        raise UserError(
            f"no {dataset.name} data in {root}: give --data.download true, or put there "
            f"{' or '.join(layout.archive for layout in layouts)} from {URL}cifar.html or an extracted "
            f"{' or '.join(layout.folder for layout in layouts)}"
        )
    layout = found.layout
    classes = layout.names(found.content[layout.names_file], f"{found.place}/{layout.names_file}")
    parts = {"train": _part(found, layout.train_files), "test": _part(found, (layout.test_file,))}
    splits = arrange(parts, dataset.name, classes=classes, validation=validation, seed=seed)
    if tuple(len(parts[key].labels) for key in ("train", "test")) == OFFICIAL_COUNTS:
        return splits
    return replace(splits, note=f"{splits.note} It is a subset: the official set has 50000 and 10000.")


def _part(found: FoundFiles, files: tuple[str, ...]) -> ImagePart:
    parts = [found.layout.records(found.content[file], f"{found.place}/{file}") for file in files]
    images = torch.from_numpy(np.concatenate([images for images, _ in parts])).reshape(-1, 3, 32, 32)
    return ImagePart(images, torch.from_numpy(np.concatenate([labels for _, labels in parts])), found.place)
