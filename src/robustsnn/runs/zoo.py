"""A zoo: entries made of runs that were judged, runs made of entries, and entries judged again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from robustsnn.data.batches import ImageSet
from robustsnn.data.given import labelled
from robustsnn.evaluation.effort import Effort
from robustsnn.evaluation.measure import digest_of
from robustsnn.ground.claim import claimed, claimed_files
from robustsnn.ground.door import check_kind, check_list, check_progress, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name, path_of, tensors_digest, write_atomic
from robustsnn.ground.ours import check_files, ours
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.names.documents import read_document
from robustsnn.names.parsing import options_of, parse_config
from robustsnn.names.shipped import shipped_file
from robustsnn.names.values import shown
from robustsnn.records.result import Accuracy, Result, Results
from robustsnn.records.typed import record_of
from robustsnn.records.zoo import Weights, ZooEntry, is_address, key_of, threat_of
from robustsnn.reporting.summary import apart
from robustsnn.reporting.wording import threat_text
from robustsnn.runs.build import is_outside
from robustsnn.runs.folder import check_run, evaluate_run, load_run
from robustsnn.statistics.binomial import clopper_pearson

_LEFT_OUT = ("command", "started", "platform")
"""Of a run's provenance: what is of one machine and one day."""


def add(
    runs: Path | str | Sequence[Path | str],
    zoo: Path | str,
    *,
    url: str | None = None,
    licence: str | None = None,
    citation: str | None = None,
) -> Path:
    """Write the entry of a run that was judged into the folder `zoo`; returns its file, named by the run's folder.

    Its results join those of an entry that is there. Weights below `zoo` stay where they are, others are copied.

    Args:
        runs: the run, and copies of it that were judged otherwise: by another suite, at another radius.
        url: where the weights can be fetched, in the place of a file.
        licence, citation: of the weights; None leaves what the entry says.
    """
    runs = [path_of("runs", run) for run in (runs if isinstance(runs, list | tuple) else [runs])]
    if not runs:
        raise UserError("runs=[]: an entry is made of a run that was judged; give its folder")
    run, zoo = runs[0], path_of("zoo", zoo)
    check_run(run)
    for word, value in (("url", url), ("licence", licence), ("citation", citation)):
        if value is not None:
            check_kind(word, value, str, "'MIT'" if word == "licence" else "a text")
    if url is not None and not is_address(url):
        raise UserError(f"url={shown(url)}: give an address that begins with https://, or leave it out")
    name, weights = own_name(run), run / "weights.safetensors"
    config = read_document(run / "config.yaml", "a config")
    _buildable(config, str(run))
    made = config.get("provenance")
    config["provenance"] = {k: v for k, v in (made if isinstance(made, dict) else {}).items() if k not in _LEFT_OUT}
    found: dict[tuple[str, str, int, float, str], Result] = {}
    versions = {}
    for folder in [folder for folder in runs if (folder / "results.json").exists()]:
        results = Results.load(folder / "results.json")
        for result in results.models.values():
            if result.weights != tensors_digest(weights):
                raise UserError(f"{folder / 'results.json'} is of other weights than {weights}; evaluate the run again")
            found[_mark(result)] = replace(
                result, columns={}, attacks={}, breaks=None, curve=(), checks=(), depth=None, sources=(), about={}
            )
        versions = results.versions
    if not found:
        raise UserError(f"{run} was not judged; first robustsnn evaluate {run} --suite reliable --eps 8/255")
    path, place = zoo / f"{name}.json", url or _below(zoo, weights) or f"{name}.safetensors"
    at = Weights(place, _sha256(weights))
    entry = ZooEntry(key_of(config, at), config, at, versions=versions)
    with claimed_files([path]):  # its results are read, joined and written
        if os.path.lexists(path):
            known = ZooEntry.load(path)
            if known.key != entry.key:
                raise UserError(f"{path} is of another network; rename the folder {run}, or give another --zoo")
            found = {_mark(result): result for result in known.results} | found
            entry = replace(known, weights=at, versions=versions)
        entry = replace(
            entry,
            results=tuple(found[mark] for mark in sorted(found)),
            licence=entry.licence if licence is None else licence,
            citation=entry.citation if citation is None else citation,
        )
        if not at.far and not os.path.lexists(zoo / place):
            write_atomic(zoo / place, weights.read_bytes())
        if not at.far and not _holds(zoo / place, at):
            said = f"{zoo / place} holds other weights than {weights}"
            raise UserError(f"{said}; rename the folder {run}, or move the file")
        entry.write(path)
    return path


def _buildable(config: dict[str, Any], source: str) -> None:
    """UserError unless a run's config makes sense here, and names no code outside, which nobody would run."""
    parse_config(options_of(config), source)


def _holds(path: Path, weights: Weights) -> bool:
    """Whether a file is that of these weights."""
    return path.is_file() and _sha256(path) == weights.sha256


def _mark(result: Result) -> tuple[str, str, int, float, str]:
    """Of results with equal ones the later stays."""
    return (*threat_of(result), result.suite)


def _below(folder: Path, file: Path) -> str:
    """The path of a file from a folder that it lies in; "" if it does not."""
    inside = file.resolve().is_relative_to(folder.resolve())
    return file.resolve().relative_to(folder.resolve()).as_posix() if inside else ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pull(said: Path | str, run: Path | str, *, root: str | None = None, overwrite: bool = False) -> ZooEntry:
    """Make the folder `run` the run of an entry, a file or a name of `robustsnn zoo list`; returns the entry.

    Nothing that the entry names is imported, and its weights are tensors of the SHA-256 that it says.
    `root` is the folder of the data's files. UserError if the folder is another run already.
    """
    path, run = shipped_file(path_of("said", said), "zoo"), path_of("run", run)
    entry = ZooEntry.load(path)
    config = dict(entry.config)
    if root is not None:
        path_of("root", root)
        config["data"] = {**(config.get("data") or {}), "root": root}
    _buildable(config, str(path))
    written = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    with claimed(run, overwrite=overwrite):
        weights, target = run / "weights.safetensors", run / "config.yaml"
        check_files([weights, target], overwrite)
        if ours(target) and not (target.read_text("utf-8") == written and _holds(weights, entry.weights)):
            raise UserError(f"{run} is another run already; give another --out")
        if entry.weights.far:
            _fetch(entry.weights, weights)
        else:
            source = path.parent / entry.weights.place
            if not _holds(source, entry.weights):
                raise UserError(f"{source} is not there, or not the file that {path} means; restore it")
            write_atomic(weights, source.read_bytes())
        write_atomic(target, written)
    return entry


def _fetch(weights: Weights, target: Path) -> None:
    try:
        import pooch  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            f"{weights.place} is fetched by pooch, which is missing; install robustsnn[zoo], or pip install pooch"
        ) from None
    try:
        pooch.retrieve(weights.place, f"sha256:{weights.sha256}", fname=target.name, path=target.parent)
    except (OSError, ValueError) as error:  # no network; another SHA-256
        raise UserError(f"{weights.place} was not fetched ({' '.join(str(error).split())[:300]})") from None


@dataclass(frozen=True)
class Again:
    """A result of an entry, and what was found: `said` and `ours`, of the same images where these are known."""

    result: Result
    what: str
    said: Accuracy
    ours: Accuracy

    @property
    def holds(self) -> bool:
        """Whether we do not find clearly less: by the paired test, or else by intervals."""
        return self.ours.accuracy >= self.said.accuracy or not apart(self.said, self.ours)

    @property
    def paired(self) -> tuple[int, int] | None:
        """How many images are right in the entry alone, and here alone; None where they are other images."""
        if not self.said.right or not self.ours.right or self.said.right.images != self.ours.right.images:
            return None
        return self.said.right.alone(self.ours.right)

    def __str__(self) -> str:
        r = self.result
        test = self.what if self.what == "clean" else f"{r.suite} at {threat_text(r)}"
        images = f"of n = {self.said.n}"
        if self.paired is not None:
            images = "of the same; {} right there alone, {} here".format(*self.paired)
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"{test}: {self.ours} of {self.ours.n} images; the entry says {self.said} {images}: {verdict}"


def judge(
    said: Path | str,
    limit: int,
    *,
    suites: Collection[str] = (),
    root: str | None = None,
    batch_size: int = 128,
    progress: Progress = silent,
) -> Iterator[Again]:
    """Attack the first `limit` test images again, as each result of an entry was made, or those of these suites.

    A suite of somebody's own code is run only if it is named here; what an entry says is no reason to.
    """
    check_whole("limit", limit)
    check_whole("batch_size", batch_size)
    check_list("suites", suites, "names of suites")
    check_progress(progress)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        results = pull(said, run, root=root).results
        _, _, data = load_run(run)
        chosen = [result for result in results if not suites or result.suite in suites]
        if not chosen:
            there = ", ".join(shown(name) for name in sorted({result.suite for result in results})) or "no suite"
            asked = f"--suite {', '.join(map(str, suites))}: " if suites else ""
            raise UserError(f"{asked}{said} has results of {there}; " + ("give one of them" if results else "judge it"))
        outside = [name for name in dict.fromkeys(r.suite for r in chosen) if name not in suites and is_outside(name)]
        if outside:
            code = f"the suite {shown(outside[0])} of {said} is code outside this package, which would be run"
            raise UserError(f"{code}; choose by --suite what is judged")
        for number, result in enumerate(chosen):
            found = evaluate_run(
                run,
                result.suite,
                result.eps or 0.0,
                Effort(batch_size, result.seed or 0, resume=False),
                norm=result.norm,
                limit=limit,
                progress=part(progress, number, 1, len(chosen)),
            )
            (entry,) = record_of(Results, found, "the results").models.values()
            for what in ("clean", "worst_case"):
                said_rate, ours = getattr(result, what), getattr(entry, what)
                if said_rate is not None:
                    yield Again(result, what.replace("_", " "), _same_images(said_rate, ours, data.test), ours)


def _same_images(said: Accuracy, ours: Accuracy, test: ImageSet) -> Accuracy:
    """What an entry says of the images that we attacked, the first ones of its own, where it says it of each."""
    right, here = said.right, ours.right
    if right is None or here is None or not here.n <= right.n <= len(test):
        return said
    if digest_of(*labelled(test.take(right.n))) != right.images:
        return said
    first = right.first(here.n, here.images)
    hits = first.number.bit_count()
    return Accuracy(hits / first.n, clopper_pearson(hits, first.n), first.n, said.at_most, right=first)
