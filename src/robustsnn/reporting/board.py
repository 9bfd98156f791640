"""The board of a zoo: one page that puts what is reported of each network beside what stands after our suites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robustsnn.ground.claim import claimed_files
from robustsnn.ground.files import own_name, path_of, write_atomic
from robustsnn.ground.ours import check_files
from robustsnn.ground.units import grid_words
from robustsnn.names import untwinned
from robustsnn.records.result import Accuracy, Result, Results
from robustsnn.records.zoo import ZooEntry, read_zoo, threat_of
from robustsnn.reporting.citations import citations
from robustsnn.reporting.reading import Run
from robustsnn.reporting.render import render
from robustsnn.reporting.settings import cost_words, objective_words
from robustsnn.reporting.wording import eps_text, listing

SUITES = ("reliable", "quick", "exhaustive")
"""Those with columns of their own; figures of all others are what is reported."""


@dataclass(frozen=True)
class BoardNetwork:
    """An entry with its name, and as the run that it was."""

    name: str
    entry: ZooEntry
    run: Run

    @property
    def data(self) -> str:
        return str(self.run.setting("data", "name") or "unnamed data")

    @property
    def kind(self) -> str:
        """The name of its run; architecture, steps, code and objective by name."""
        steps, code = self.run.setting("model", "steps"), self.run.setting("model", "encoder", "name") or "direct"
        objective = self.run.setting("objective", "name") or "objective not saved"
        title = f"{said}: " if (said := self.run.setting("name")) else ""
        return f"{title}{self.run.setting('model', 'name')}, T = {steps}, {code} code; {objective}"

    @property
    def words(self) -> tuple[str, str]:
        """How it was trained, and what it cost."""
        return objective_words(self.run), cost_words(self.run)

    @property
    def papers(self) -> list[str]:
        return [paper for paper, _ in citations(self.run)]


@dataclass(frozen=True)
class BoardRow:
    """What is known of a network under one threat.

    `reported`: the lowest figure that is no suite's of ours, and `by`, how it was measured. `standing`: by suite.
    """

    network: BoardNetwork
    result: Result
    reported: Accuracy | None
    by: str
    standing: dict[str, Accuracy | None]
    clean: Accuracy | None
    flags: int

    @property
    def eps(self) -> str:
        return eps_text(self.result.eps or 0.0)


def rows_of(network: BoardNetwork) -> list[BoardRow]:
    """A row for each threat that the network was judged under."""
    threats: dict[tuple[object, ...], list[Result]] = {}
    for result in (*network.entry.results, *network.entry.reported):
        threats.setdefault(threat_of(result), []).append(result)
    return [_row(network, found) for found in threats.values()]


def _row(network: BoardNetwork, found: list[Result]) -> BoardRow:
    judged = {untwinned(result.suite): result for result in found if untwinned(result.suite) in SUITES}
    others = [result for result in found if untwinned(result.suite) not in SUITES]
    lowest = min(others, key=lambda result: _share(result.worst_case), default=Result())
    clean = [result.clean for result in found if result.clean]
    return BoardRow(
        network,
        found[0],
        lowest.worst_case,
        lowest.suite,
        {suite: result.worst_case for suite, result in judged.items()},
        max(clean, key=lambda rate: rate.n or 0, default=None),
        len({flag.name for result in judged.values() for flag in result.flags if flag.masking}),
    )


def _share(rate: Accuracy | None) -> float:
    return rate.accuracy if rate else 2.0


def write_board(zoo: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write the page on the entries in the folder `zoo` to `out/index.html`; returns its path.

    The bytes depend on the entries alone. UserError where there are none, or one makes no sense.
    """
    zoo, out = path_of("zoo", zoo), path_of("out", out)
    networks = [BoardNetwork(name, entry, _run(name, entry)) for name, entry in read_zoo(zoo).items()]
    rows = sorted((row for network in networks for row in rows_of(network)), key=_order)
    used = [suite for suite in SUITES if any(row.standing.get(suite) for row in rows)]
    groups: dict[str, list[BoardRow]] = {}
    for row in rows:
        space = f", {row.result.space} space" if row.result.space not in ("", "pixel") else ""
        groups.setdefault(f"{row.network.data}, {row.result.norm}{space}{grid_words(row.result.levels)}", []).append(
            row
        )
    page = render(
        "board.html.j2",
        {
            "title": "Robust spiking networks",
            "networks": networks,
            "groups": list(groups.items()),
            "suites": used,
            "data": listing(sorted({network.data for network in networks})),
            "folder": own_name(zoo),
        },
    )
    path = out / "index.html"
    check_files([path], overwrite)
    with claimed_files([path]):
        write_atomic(path, page)
    return path


def _run(name: str, entry: ZooEntry) -> Run:
    """An entry as the run that it was; its results have no names there."""
    results = {str(number): result for number, result in enumerate(entry.results)}
    return Run(Path(name), entry.config, [], Results(results), None)


def _order(row: BoardRow) -> tuple[object, ...]:
    """By data and threat, then what stands after the strongest suite there is, the highest first."""
    known = [rate for suite in ("exhaustive", "reliable", "quick") if (rate := row.standing.get(suite))]
    return row.network.data, *threat_of(row.result), -_share(known[0]) if known else 0.0, row.network.name
