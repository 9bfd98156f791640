"""The section about gradient trails: where exact zeros of the gradient come from, in words, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable

from robustsnn.records.exhibit import Bar, Bars, Block, Cell, Row, Table, Words
from robustsnn.reporting.wording import count, function_text, listing, percent
from robustsnn.studies.shared.tally import Tally, found
from robustsnn.studies.study import Named, Shown
from robustsnn.studies.trail.record import ORIGINS, Operation, Trail, Weight

_ABOUT = (
    "Exact zeros only. An operation passes on a zero if all entries at its output that this input entry is connected "
    "to are zero, and adds any other. Architectural: losers of max-pooling, pixels that a stride skips, clamps, "
    "potentials outside the support of a surrogate. Natural: neurons that never fire or fire at every step, products "
    "with spikes. Other: what cancels or underflows. Sparse is not robust: an attacker may choose another rule."
)
_SAID = {
    "architectural": "added, architectural",
    "passed": "passed on",
    "natural": "added, natural",
    "other": "added, other",
}
_KINDS = ("convolution", "neurons", "max-pool", "norm", "average-pool", "linear")
_PLURAL = {
    "convolution": "convolutions",
    "norm": "norms",
    "linear": "linear layers",
    "add": "additions",
    "multiply": "products",
    "max-pool": "max-pooling",
    "average-pool": "average pooling",
    "loss": "the loss",
}


_BATCH = ", norms by the statistics of each batch"


def blocks(shown: Shown[Trail]) -> list[Block]:
    """What `analysis/trail.json` of the models says."""
    told: dict[str, list[str]] = {}
    for model, trail in shown:
        told.setdefault(_what(trail), []).append(model.name)
    what = "; ".join(f"{listing(names)}: {what}" if len(told) > 1 else what for what, names in told.items())
    words = [f"{model.name}: {_words(trail)}" for model, trail in shown]
    drawn = [bars for model, trail in shown for bars in (_zeros(model, trail), _norms(model, trail))]
    return [Words((f"The gradient of {what}. {_ABOUT}", *words)), *drawn, _kinds(shown), *_weights(shown)]


def card(network: Named, trail: Trail) -> tuple[str, list[str]]:
    """What was differentiated where, and how much of it is zero at the pixels."""
    where = f"attacked by {trail.attack}" if trail.attack else "clean"
    how = f"gradient rule {trail.rule}" if trail.rule else "each layer's own gradient rule"
    how += _BATCH if trail.statistics == "batch" else ""
    said = (
        f"Of the gradient of {function_text(trail.loss)} at the pixels, {percent(trail.input.sparsity)} is "
        f"exactly zero, mean over {trail.n} test images ({where}; {how})."
    )
    return "Where the gradient is zero", [said]


def share_text(zeros: Tally, entries: int) -> str:
    """'41.2 % [39.0, 43.4]', the interval cut to what a share can be."""
    return found(zeros, entries).as_share().text(percent=True)


def _what(trail: Trail) -> str:
    """'cross_entropy at 256 clean images, each layer by its own gradient rule'."""
    where = "clean images" if not trail.attack else f"images attacked by {trail.attack}"
    rule = f"all neurons by {trail.rule}" if trail.rule else "each layer by its own gradient rule"
    return f"{trail.loss} at {trail.n} {where}, {rule}{_BATCH if trail.statistics == 'batch' else ''}"


def _zeros(model: Named, trail: Trail) -> Bars:
    rows = []
    for step in trail.operations:
        shares = [step.share(origin) for origin in _SAID]
        known = [share for share in shares if share is not None]
        parts = (*known, 0.0) if known else (*[0.0] * len(shares), step.input.sparsity)
        zeros = found(step.input.zeros, step.input.entries).as_share().cell()
        rows.append(Bar(_label(step), parts, (zeros,), (), _tip(step, model), _colour(step)))
    caption = "From the pixels (top) to the loss: share of zeros at the input of each operation. Colour: its kind."
    title = f"{model.name}: zeros of the gradient"
    return Bars(title, "zeros", tuple(rows), (*_SAID.values(), "not known"), ("zeros",), percent=True, caption=caption)


def _norms(model: Named, trail: Trail) -> Bars:
    rows = []
    for step in trail.operations:
        rows.append(Bar(_label(step), (), (found(step.input.l2).cell(),), (), _tip(step, model), _colour(step)))
    caption = "The l2 norm of the gradient at the input of each operation, with 95 % intervals over images."
    return Bars(
        f"{model.name}: size of the gradient", "l2 norm", tuple(rows), (), ("l2 norm",), x_log=True, caption=caption
    )


def _label(step: Operation) -> str:
    path = step.path.removeprefix("body.").removeprefix("body")
    return " ".join([*([path] if path else []), step.name.removeprefix(step.path or "model").strip()])


def _colour(step: Operation) -> int:
    """Of its kind; all but the common ones share one."""
    return _KINDS.index(step.kind) if step.kind in _KINDS else len(_KINDS)


def _tip(step: Operation, model: Named) -> str:
    zeros, entries = step.input.zeros, step.input.entries
    lines = [f"{model.name}: {step.name}", f"zeros at its input {share_text(zeros, entries)} of {entries} entries"]
    parts = {said: step.share(origin) for origin, said in _SAID.items()}
    if None in parts.values():
        lines.append("where they come from is not known")
    lines += [f"{said} {percent(share)}" for said, share in parts.items() if share]
    return "\n".join([*lines, f"l2 norm {found(step.input.l2).text()}"])


def _kinds(shown: Shown[Trail]) -> Table:
    kinds = dict.fromkeys(step.kind for _, trail in shown for step in trail.operations)
    means = [trail.kinds() for _, trail in shown]

    def cells(kind: str) -> tuple[Cell, ...]:
        pairs = [mean.get(kind, (None, None)) for mean in means]
        return tuple(Cell(None if share is None else 100 * share) for pair in pairs for share in pair)

    columns = tuple(column for model, _ in shown for column in (model.name, f"{model.name}: added itself"))
    title = "Zeros at the input, and the part of them that an operation added itself: means over each kind"
    return Table(title, columns, tuple(Row(kind, cells(kind)) for kind in kinds), head="kind")


def _weights(shown: Shown[Trail]) -> list[Block]:
    """Per weight its share of zeros in each trail, empty where it has none."""
    each = [{weight.name: weight for weight in trail.weights} for _, trail in shown]
    names = dict.fromkeys(name for weights in each for name in weights)

    def cell(weight: Weight | None) -> Cell:
        return Cell() if weight is None else found(weight.zeros, weight.entries).percents()

    rows = tuple(Row(name, tuple(cell(weights.get(name)) for weights in each)) for name in names)
    columns = tuple(model.name for model, _ in shown)
    return [Table("Zeros at the weights, image by image", columns, rows, head="weight")] if rows else []


def _words_on_weights(trail: Trail) -> str:
    top = max(trail.weights, key=lambda weight: weight.sparsity)
    most = f"; the sparsest is {top.name} with {percent(top.sparsity)}" if top.sparsity else ""
    over = f"taken image by image over the first {top.zeros.n}" if top.zeros.n > 1 else "at the first image"
    return f"Of the gradient at the weights, {over}, {percent(trail.weight_sparsity or 0.0)} is exactly zero{most}."


def _words(trail: Trail) -> str:
    """A few sentences: zeros at pixels and weights, who added most of them, and what is not known."""
    pixels = share_text(trail.input.zeros, trail.input.entries)
    sentences = [f"Of the gradient at the pixels {pixels} is exactly zero."]
    if trail.weights:
        sentences.append(_words_on_weights(trail))
    known = [step for step in trail.operations if step.added is not None]
    sums: dict[tuple[str, str], float] = {}
    for step in known:
        for origin in ORIGINS[1:]:
            sums[step.kind, origin] = sums.get((step.kind, origin), 0.0) + getattr(step, origin).total
    total, unknown = sum(sums.values()), len(trail.operations) - len(known)
    if total > 0:
        largest = sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))[:2]
        most = [
            f"{percent(amount / total)} from {_PLURAL.get(kind, kind)} ({origin})"
            for (kind, origin), amount in largest
            if amount
        ]
        own: Callable[[Operation], float] = lambda step: (step.added or 0) / (step.input.entries * trail.n)  # noqa: E731
        top = max(known, key=own)
        sentences.append(
            f"The zeros that operations added on the way came to {listing(most)}; the largest share of its own input "
            f"was added by {top.name}, {percent(own(top))}."
        )
    elif not unknown:
        sentences.append("No operation added any.")
    convolutions = [step for step in known if step.kind == "convolution"]
    if convolutions:
        arrived = sum(step.output.sparsity for step in convolutions) / len(convolutions)
        passed = sum(step.share("passed") or 0.0 for step in convolutions) / len(convolutions)
        sentences.append(
            f"On average {percent(arrived)} of the gradient that reached a convolution was zero, "
            f"and {percent(passed)} of what it handed back was zero for that reason."
        )
    if unknown:
        why = " (neurons: their gradient rule does not say which steps it connects)"
        silent = any(step.kind == "neurons" and step.added is None for step in trail.operations)
        said = f"For {count(unknown, 'operation')} it is not known which zeros they added{why if silent else ''}."
        sentences.append(said)
    return " ".join(sentences)
