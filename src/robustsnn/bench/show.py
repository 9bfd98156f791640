"""A measurement, and a comparison of two, as tables of the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from robustsnn.bench.compare import ComparedRow, Figure


def text(figure: Figure | None) -> str:
    """A range as "median (min - max)", a number alone; "-" for nothing."""
    if isinstance(figure, dict):
        return f"{short(figure['median'])} ({short(figure['min'])} - {short(figure['max'])})"
    return "-" if figure is None else short(figure)


def short(value: float) -> str:
    """Three significant digits, and whole thousands with a comma."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def heading(document: dict[str, Any]) -> str:
    """Command and machine in two lines."""
    host = document["machine"]
    return (
        f"{document['command']}\n{host['cpu']}, {host['cores']} cores, threads {host['threads']}, {host['device']}, "
        f"{host['clock']} time, load before {host['load_before']}, torch {document['torch']}"
    )


def show(document: dict[str, Any]) -> None:
    """Print the command, the machine, and a table of each part that is there."""
    print(heading(document), flush=True)
    for part, found in document["results"].items():
        _print(_TABLES[part](found))


def show_comparison(rows: list[ComparedRow], differs: str, alone: tuple[int, int]) -> None:
    """Print what differs in machine and versions, and a row for every figure of both files."""
    if differs:
        print(f"not like with like: {differs}")
    made = _table("figure", "old", "new", "new / old", "")
    made.caption = "medians (min - max); marked where these ranges do not overlap"
    for row in rows:
        made.add_row(row.name, text(row.old), text(row.new), short(row.ratio), row.verdict)
    if rows:
        _print(made)
    print(f"{len(rows)} figures in both, {alone[0]} only in the old file, {alone[1]} only in the new one")


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _table(*columns: str, caption: str | None = None) -> Table:
    made = Table(caption=caption, caption_justify="left")
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
    return made


def _neuron(found: dict[str, Any]) -> Table:
    made = _table("layer, forward and backward", "ms", "/ ours", "of copy's", "GB/s", "first call s")
    made.caption = "/ ours: in the same round; of copy's: share of the bandwidth of a copy of the bytes that must move"
    for title, case in found.items():
        made.add_row(f"{title}: ours is {case['ours_is']}", *[""] * 5)
        for way, row in case["ways"].items():
            figures = [text(row[name]) for name in ("ms", "over_ours", "of_copy_bandwidth")]
            rate = short(row["bytes_gb_per_s"]["median"])
            made.add_row(f"  {way}", *figures, rate, text(row.get("first_call_s")))
        made.add_section()
    return made


def _step(found: dict[str, Any]) -> Table:
    columns = ("ms", "/ vanilla", "published", "units", "/ floor", "images/s", "epoch s", "peak MiB (before)")
    made = _table("training step", *columns)
    made.caption = (
        "published: / vanilla of the SR paper; units: passes that cannot be saved; / floor: over units times the "
        "forward of the same round; epoch: 50,000 images"
    )
    for title, case in found.items():
        made.add_row(f"{title}: one forward", text(case["forward_ms"]), "", "", "1", "", "", "", "")
        for regime, row in case["regimes"].items():
            figures = [text(row.get(name)) for name in ("ms", "over_vanilla", "published_over_vanilla", "units")]
            peak = f"{row['peak_mib']:.0f} ({row['before_mib']:.0f})" if "peak_mib" in row else "-"
            rates = [short(row[name]["median"]) for name in ("images_per_s", "epoch_s")]
            made.add_row(f"  {regime}", *figures, text(row["over_floor"]), *rates, peak)
        made.add_section()
    return made


def _attack(found: dict[str, Any]) -> Table:
    made = _table("attack", "forward ms", "gradient ms", "/ forward", "gradients/s", "quick, images/s", "in gradients")
    made.caption = (
        "gradient: one of PGD for the whole batch, its step included (floor: 2 forwards); quick: the suite from end to "
        "end, with the share of its time in gradients"
    )
    for title, case in found.items():
        figures = [text(case[name]) for name in ("forward_ms", "gradient_ms", "gradient_over_forward")]
        quick = case["quick"]
        rate, share = text(quick["images_per_s"]), f"{100 * quick['share_in_gradients']:.0f} %"
        made.add_row(title, *figures, text(case["gradient_images_per_s"]["median"]), rate, share)
    return made


def _growth(found: dict[str, Any]) -> Table:
    made = _table("step of", "time ~ size ^", "ms", "memory ~ size ^", "MiB beyond the network")
    made.caption = "exponents of a log-log fit over all sizes; 1 is linear growth, 2 quadratic"
    for title, row in found.items():
        times = ", ".join(f"{size} {short(ms['median'])}" for size, ms in row["ms_at"].items())
        memory = ", ".join(f"{size} {short(mib)}" for size, mib in row.get("mib_at", {}).items())
        made.add_row(title, text(row["exponent_of_time"]), times, text(row.get("exponent_of_memory")), memory or "-")
    return made


def _data(found: dict[str, Any]) -> Table:
    made = _table("data pipeline", "batch ms", "vanilla step ms", "share of data %")
    for title, row in found.items():
        share = {name: 100 * value for name, value in row["share_of_data"].items()}
        made.add_row(title, text(row["data_ms"]), text(row["step_ms"]), text(share))
    return made


_TABLES = {"neuron": _neuron, "step": _step, "attack": _attack, "growth": _growth, "data": _data}
