"""Find the files of a CIFAR data set, extracted or in their archive, and read them into memory."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from robustsnn.data.download import md5_of
from robustsnn.ground.errors import UserError

_MOST_BYTES = 1 << 28  # of one file; the largest official one has 155 MB


@dataclass(frozen=True)
class CifarLayout:
    """One official form of a data set: its archive, the folder inside it, the files there and their format.

    `records` gives (images uint8 [n, 3072], labels int64 [n]) and `names` the class names, both from a
    file's content and its name for error messages.
    """

    archive: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    records: Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]
    names: Callable[[bytes, str], tuple[str, ...]]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train_files, self.test_file, self.names_file)


@dataclass(frozen=True)
class FoundFiles:
    """Where a data set was found, in which layout, and the content of its files by name."""

    place: str
    layout: CifarLayout
    content: dict[str, bytes]


def find(root: Path, layouts: Sequence[CifarLayout], checksums: dict[str, str]) -> FoundFiles | None:
    """The first of: `root`/folder of each layout, `root` itself as a folder of files, `root`/archive.

    None if there is none of them. `UserError` if what is there is incomplete, unreadable or damaged.
    """
    try:
        for layout in layouts:
            # A root that holds more than this data may well have a file named "test" or "meta".
            for folder, telling in ((root / layout.folder, layout.files), (root, layout.train_files)):
                if any((folder / file).is_file() for file in telling):
                    return FoundFiles(str(folder), layout, _from_folder(folder, layout))
        for layout in layouts:
            archive = root / layout.archive
            if archive.is_file():
                return FoundFiles(str(archive), layout, _from_archive(archive, layout, checksums[layout.archive]))
    except OSError as error:
        raise UserError(f"cannot read the data in {root}: {error}; check the files and their permissions") from error
    return None


def _from_folder(folder: Path, layout: CifarLayout) -> dict[str, bytes]:
    missing = [file for file in layout.files if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}; extract {layout.archive} again")
    content = {}
    for file in layout.files:
        with open(folder / file, "rb") as stream:
            content[file] = _read(stream, folder / file)
    return content


def _from_archive(archive: Path, layout: CifarLayout, md5: str) -> dict[str, bytes]:
    """The members of the expected names, read from the stream; nothing is extracted to disk."""
    content = {}
    with open(archive, "rb") as stream:
        found = md5_of(stream)
        if found != md5:
            raise UserError(f"{archive} has MD5 {found}, expected {md5}; delete it and get the official archive again")
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r|gz") as tar:
                for member in tar:
                    folder, _, file = member.name.removeprefix("./").rpartition("/")
                    source = tar.extractfile(member) if member.isfile() else None
                    if source is not None and folder == layout.folder and file in layout.files:
                        content[file] = _read(source, archive / file)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive} is not a readable .tar.gz: {error}; get the official archive again") from error
    missing = [file for file in layout.files if file not in content]
    if missing:
        raise UserError(f"{archive} lacks {', '.join(missing)}; get the official archive again")
    return content


def _read(stream: IO[bytes], name: Path) -> bytes:
    content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UserError(f"{name} has more than {_MOST_BYTES} bytes, no CIFAR file does; get the official one again")
    return content
