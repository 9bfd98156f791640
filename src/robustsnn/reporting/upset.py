"""Which attacks broke which images: an UpSet picture, or plain bars where no image is counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from robustsnn.reporting.breaks import FIRST, Breaks, Group
from robustsnn.reporting.downloads import Figure, stem
from robustsnn.reporting.marks import short, style
from robustsnn.reporting.reading import Model
from robustsnn.reporting.tables import Table
from robustsnn.reporting.wording import count, listing

MOST = 12
_WIDTH, _NAMES, _LINE, _BARS = 450, 174, 22, 104


@dataclass(frozen=True)
class Picture:
    """The picture of one model, and below it in words what it leaves out."""

    model: Model
    svg: Markup
    overlapping: bool
    note: str
    figure: Figure


def pictures_of_breaks(models: Sequence[Model]) -> list[Picture]:
    """A picture per model whose evaluation saved what broke what."""
    return [_picture(m, m.result.breaks) for m in models if m.result is not None and m.result.breaks is not None]


def _picture(model: Model, breaks: Breaks) -> Picture:
    overlapping = breaks.what != FIRST or any(len(members) > 1 for members in breaks.groups)
    shown, others = _drawn(breaks)
    parts = [f"{breaks.what or 'attacks'}: {breaks.broken()} of {count(breaks.n, 'image')} broken"]
    if others:
        kind = "other combination" if overlapping else "other attack"
        parts.append(f"{count(len(others), kind)}: {count(sum(size for _, size in others), 'image')}, not drawn")
    idle = [name for name, size in zip(breaks.sets, breaks.sizes(), strict=True) if not size]
    if idle and not overlapping:
        parts.append(f"{len(idle)} of {count(len(breaks.sets), 'attack')} broke none")
    if not shown:
        svg = Markup("")
    elif overlapping:
        svg = _upset(model, breaks, shown)
    else:
        svg = _bars(model, breaks, sorted(shown, key=lambda group: min(group[0])))
    note = "; ".join(parts) + "."
    figure = Figure(f"breaks-{stem(model.name)}", [svg], _table(breaks), f"Images of {model.name}, by what broke them")
    return Picture(model, svg, overlapping, note[0].upper() + note[1:], figure)


def _table(breaks: Breaks) -> Table:
    """All groups, also those without a bar: a column of 0 and 1 per attack, and how many images."""
    groups, _ = breaks.largest(len(breaks.groups))
    rows = [[*(int(k in members) for k in range(len(breaks.sets))), size] for members, size in groups]
    return Table([*breaks.sets, "images"], rows)


def _drawn(breaks: Breaks) -> tuple[list[Group], list[Group]]:
    """The groups that get a bar, and the others; numbers of four digits need more room."""
    return breaks.largest(MOST if max(breaks.groups.values(), default=0) < 1000 else 8)


def _upset(model: Model, breaks: Breaks, shown: Sequence[Group]) -> Markup:
    step = min(40.0, (_WIDTH - _NAMES - 8) / len(shown))
    height = _BARS + 14 + _LINE * len(breaks.sets)
    most = shown[0][1]
    parts = _sizes(breaks, height)
    for row in range(len(breaks.sets)):
        y = _row(row)
        parts.append(f'<line class="grid" x1="{_NAMES}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
    for column, (members, size) in enumerate(shown):
        x = round(_NAMES + 8 + step * (column + 0.5), 1)
        names = [breaks.sets[k] for k in sorted(members)]
        only = "only " if len(names) < len(breaks.sets) else ""
        tip = escape(f"{count(size, 'image')} broken by {only}{listing(names)}")
        length = round(max(1.5, (_BARS - 22) * size / most), 1)
        rows = [_row(k) for k in sorted(members)]
        parts.append(f'<g class="at"><title>{tip}</title>')
        parts.append(f'<rect class="hit" x="{x - step / 2:.1f}" y="0" width="{step:.1f}" height="{height}"/>')
        parts.append(f'<rect class="bar" x="{x - 7}" y="{_BARS - length}" width="14" height="{length}"/>')
        parts.append(f'<text class="tick mid" x="{x}" y="{_BARS - length - 5}">{size}</text>')
        parts += [f'<circle class="dot" cx="{x}" cy="{_row(k)}" r="2"/>' for k in range(len(breaks.sets))]
        parts.append(f'<line class="tie" x1="{x}" x2="{x}" y1="{rows[0]}" y2="{rows[-1]}"/>')
        parts += [f'<circle class="dot in" cx="{x}" cy="{y}" r="5.5"/>' for y in rows]
        parts.append("</g>")
    return _svg(model, breaks, height, parts)


def _row(row: int) -> float:
    return _BARS + 14 + _LINE * (row + 0.5)


def _sizes(breaks: Breaks, height: int) -> list[str]:
    """The names at the left, over bars as long as the sets are large, with the sizes."""
    sizes = breaks.sizes()
    parts = [f'<text class="tick" x="0" y="{_BARS + 4}">broken by</text>']
    for row, (name, size) in enumerate(zip(breaks.sets, sizes, strict=True)):
        y, length = _row(row), round((_NAMES - 40) * size / max(breaks.n, 1), 1)
        tip = escape(f"{name} broke {size} of {count(breaks.n, 'image')}")
        parts.append(f'<g class="at"><title>{tip}</title>')
        parts.append(f'<rect class="share" x="0" y="{y - 9}" width="{length}" height="18"/>')
        parts.append(f'<rect class="hit" x="0" y="{y - 11}" width="{_NAMES}" height="{_LINE}"/>')
        parts.append(f'<text class="set" x="4" y="{y + 4}">{escape(short(name, 18))}</text>')
        parts.append(f'<text class="tick end" x="{_NAMES - 8}" y="{y + 4}">{size}</text></g>')
    return parts


def _bars(model: Model, breaks: Breaks, shown: Sequence[Group]) -> Markup:
    most = max(size for _, size in shown)
    parts = []
    for row, (members, size) in enumerate(shown):
        name = breaks.sets[min(members)]
        y, length = _LINE * row + 12, round(max(1.5, (_WIDTH - _NAMES - 46) * size / most), 1)
        tip = escape(f"{name} broke {size} of {count(breaks.n, 'image')} first")
        parts.append(f'<g class="at"><title>{tip}</title>')
        parts.append(f'<rect class="hit" x="0" y="{y - 11}" width="{_WIDTH}" height="{_LINE}"/>')
        parts.append(f'<text class="set end" x="{_NAMES}" y="{y + 4}">{escape(short(name, 25))}</text>')
        parts.append(f'<rect class="bar" x="{_NAMES + 8}" y="{y - 7}" width="{length}" height="14"/>')
        parts.append(f'<text class="tick" x="{_NAMES + 14 + length}" y="{y + 4}">{size}</text></g>')
    return _svg(model, breaks, _LINE * len(shown) + 4, parts)


def _svg(model: Model, breaks: Breaks, height: int, parts: Sequence[str]) -> Markup:
    groups = [f"{listing([breaks.sets[k] for k in sorted(members)])}: {size}" for members, size in _drawn(breaks)[0]]
    alt = f"Images of {model.name} by what broke them ({breaks.what}). {'; '.join(groups)}."
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    label = f'role="img" aria-label="{escape(alt)}"'
    return Markup(f'<svg class="breaks {style(model.colour)}" {size} {label}>{"".join(parts)}</svg>')
