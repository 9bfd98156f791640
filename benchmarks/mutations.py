"""The mistakes that `mutants.py` plants: each changes one expression or statement of a module."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple


class Mutant(NamedTuple):
    """A module with one mistake."""

    lines: range  # of the statement's first expression in the true source, where a tracer sees it
    was: str
    now: str
    source: str


SWAPS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.FloorDiv],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
NAMES = {"any": "all", "all": "any", "amax": "amin", "amin": "amax", "max": "min", "min": "max", "argmax": "argmin"}
NAMES |= {"maximum": "minimum", "minimum": "maximum", "zeros": "ones", "zeros_like": "ones_like", "mean": "sum"}
DROPPED = {"detach", "clone", "clamp", "clamp_min", "clamp_max", "abs", "sign", "sqrt", "exp", "log", "float", "double"}
OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
WORDS = ("__repr__", "label", "extra_repr", "shown")
"""Functions that make words: what they say is tested elsewhere or by nobody."""
BESIDE = ("annotation", "returns", "decorator_list", "type_params", "format_spec")


def variants(node: ast.AST) -> list[ast.AST]:
    """The mistakes that can be made in place of this node."""
    match node:
        case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=ast.Compare(ops=[op]) as inner) if type(op) in OPPOSITE:
            # The same on numbers, the opposite on NaN.
            return [ast.Compare(inner.left, [OPPOSITE[type(op)]()], inner.comparators), inner]
        case ast.UnaryOp(op=ast.Invert() | ast.Not() | ast.USub()):
            return [node.operand]
        case ast.Compare(ops=[op]):
            return [ast.Compare(node.left, [swap()], node.comparators) for swap in SWAPS.get(type(op), [])]  # type: ignore[misc]
        case ast.BinOp(op=ast.Pow()):
            return [node.left]
        case ast.BinOp() if (
            not isinstance(node.left, ast.List | ast.Constant | ast.JoinedStr) or node.op is not ast.Add
        ):
            return [ast.BinOp(node.left, swap(), node.right) for swap in SWAPS.get(type(node.op), [])]  # type: ignore[arg-type]
        case ast.AugAssign():
            others = [ast.AugAssign(node.target, swap(), node.value) for swap in SWAPS.get(type(node.op), [])]  # type: ignore[arg-type]
            return [*others, ast.Pass()]
        case ast.BoolOp():
            return [ast.BoolOp(SWAPS[type(node.op)][0](), node.values), *node.values]  # type: ignore[arg-type]
        case ast.Constant(value=bool()):
            return [ast.Constant(not node.value)]
        case ast.Constant(value=int()):
            return [ast.Constant(node.value + 1)]
        case ast.Constant(value=float()):
            return [ast.Constant(node.value * 2 if node.value else 1.0)]
        case ast.Call(func=ast.Attribute(attr=name)) if name in DROPPED:
            return [node.func.value]
        case ast.Attribute(attr=name) if name in NAMES:
            return [ast.Attribute(node.value, NAMES[name], node.ctx)]
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.If() | ast.While():
            other = deepcopy(node)
            other.test = ast.Constant(value=False)
            return [other]
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            return [ast.Pass()]
    return []


def places(node: ast.AST) -> Iterator[tuple[ast.AST, Callable[[ast.AST], None]]]:
    """Every node where a mistake can be planted, and how to put another in its place."""
    for name, value in ast.iter_fields(node):
        if name in BESIDE:
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            words = isinstance(child, ast.FunctionDef) and child.name in WORDS
            if words or isinstance(child, ast.JoinedStr | ast.Raise) or not isinstance(child, ast.AST):
                continue
            if isinstance(value, list):
                yield child, lambda new, value=value, i=i: value.__setitem__(i, new)
            else:
                yield child, lambda new, name=name: setattr(node, name, new)
            yield from places(child)


def text(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())[:100]


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, each with one mistake."""
    tree, made = ast.parse(source), []
    for node, put in list(places(tree)):
        for other in variants(node):
            was, now = text(node), text(other)
            put(other)
            planted = ast.unparse(ast.fix_missing_locations(tree))
            put(node)
            first, last = node.lineno, getattr(node, "end_lineno", node.lineno)  # type: ignore[attr-defined]
            if isinstance(node, ast.If | ast.While):
                last = first
            made.append(Mutant(range(first, last + 1), was, now, planted))
    return made
