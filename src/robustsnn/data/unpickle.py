"""Read the pickles of the CIFAR data sets without running pickle.

`pickle.Unpickler` calls what the file names, and still hashes and allocates what the file says when the
names are restricted. This reader walks the opcodes itself: it calls nothing that a file names, knows
the four names below only as tokens, and never hashes, copies or prints a value it has not checked, so
that a small file cannot ask for much time or memory.
"""

from __future__ import annotations

import math
import pickletools
from enum import Enum
from typing import Any

import numpy as np

from robustsnn.ground.errors import UserError


class _Token(Enum):
    MARK = "mark"
    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    ENCODE = "_codecs.encode"


_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Token.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Token.RECONSTRUCT,
    ("numpy", "ndarray"): _Token.NDARRAY,
    ("numpy", "dtype"): _Token.DTYPE,
    ("_codecs", "encode"): _Token.ENCODE,  # Python 3 writes bytes so in protocols 0 to 2
}
_DTYPES = {"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"}


class _Refused(Exception):
    """Why a pickle is not read."""


class _Array:
    """An array between its REDUCE and its BUILD opcode, and after."""

    value: np.ndarray | None = None


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="


def unpickle(payload: bytes, file: str) -> dict[Any, Any]:
    """The dictionary in `payload`; Python 2 strings come as bytes, as with `encoding="bytes"`.

    Admits int, bool, None, bytes, str, tuple, list, dict with keys of bytes or str, and, as a
    value of the outermost dictionary, numpy arrays of integers. Anything else, a truncated or
    malformed pickle included, is a `UserError` that names `file`.
    """
    try:
        return _Machine(len(payload)).run(payload)
    except _Refused as error:
        reason = str(error)
    except Exception as error:  # whatever a hostile file provokes is the file's fault
        reason = f"it is malformed ({error or type(error).__name__})"
    reason = "".join(character if character.isprintable() else "?" for character in reason[:200])
    raise UserError(f"{file} is not a CIFAR pickle that is safe to read: {reason}; get the official file again")


class _Machine:
    """The stack machine of the pickle format (see `pickletools`), for the few opcodes data needs."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encodable = size  # bytes that may still be encoded, see reduce()

    def run(self, payload: bytes) -> dict[Any, Any]:
        for opcode, argument, _ in pickletools.genops(payload):
            self.step(opcode.name, argument)
        result = self.stack.pop()
        if not isinstance(result, dict):
            raise _Refused(f"it holds a {type(result).__name__.strip('_')}, not a dictionary")
        return {key: value.value if isinstance(value, _Array) else value for key, value in result.items()}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_Token.MARK)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1":
                stack.append(argument)
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument.encode("latin-1"))
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(self.pop(int(name[-1])))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self.pop_to_mark())
            case "APPEND":
                self.extend(list(self.pop(1)))
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = self.pop_to_mark()
                stack.append({})
                self.update(items)
            case "SETITEM":
                self.update(list(self.pop(2)))
            case "SETITEMS":
                self.update(self.pop_to_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_known(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_known(*self.pop(2)))
            case "REDUCE":
                stack.append(self.reduce(*self.pop(2)))
            case "BUILD":
                _build(stack[-2], stack.pop())
            case _:
                raise _Refused(f"opcode {name} is not allowed")

    def pop(self, count: int) -> tuple[Any, ...]:
        items = self.stack[-count:]
        if len(items) < count or _Token.MARK in items:
            raise _Refused("its stack runs empty")
        del self.stack[-count:]
        return tuple(items)

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _Token.MARK:
            items.append(item)
        return items[::-1]

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _Refused("it appends to something that is not a list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise _Refused("it sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (bytes, str)):
                raise _Refused(f"a dictionary key is a {type(key).__name__.strip('_')}")
            self.stack[-1][key] = value

    def reduce(self, function: Any, arguments: Any) -> Any:
        """What the three callables that data needs would give, made here."""
        match function, arguments:
            case _Token.RECONSTRUCT, (_Token.NDARRAY, (0,), b"b" | "b"):
                return _Array()
            case _Token.DTYPE, (bytes() | str() as code, _, _):
                code = code if isinstance(code, str) else code.decode("ascii")
                if code not in _DTYPES:
                    raise _Refused(f"an array has dtype {code}, allowed are {', '.join(sorted(_DTYPES))}")
                return _Dtype(code)
            case _Token.ENCODE, (str() as text, b"latin1" | "latin1"):
                # One string may be recalled and encoded over and over; an honest file encodes each once.
                self.encodable -= len(text)
                if self.encodable < 0:
                    raise _Refused("it encodes more text than it holds")
                return text.encode("latin-1")
        raise _Refused(f"it calls {_called(function)} with arguments that are not allowed")


def _known(module: Any, name: Any) -> _Token:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise _Refused("it asks for a global whose name is not text")
    if (module, name) not in _GLOBALS:
        raise _Refused(f"it asks for the global {module}.{name}, which is not allowed")
    return _GLOBALS[module, name]


def _called(function: Any) -> str:
    return function.value if isinstance(function, _Token) else f"a {type(function).__name__}"


def _build(target: Any, state: Any) -> None:
    """Fill in an array or a dtype, as their __setstate__ would, after checking every part of `state`."""
    match target, state:
        case _Dtype(), (int(), bytes() | str() as order, *rest) if all(
            part is None or type(part) is int for part in rest
        ):
            order = order if isinstance(order, str) else order.decode("ascii")
            if order not in ("<", ">", "|", "="):
                raise _Refused(f"byte order {order!r} is not known")
            target.order = order
        case _Array(), (
            int(),
            tuple() as shape,
            _Dtype() as dtype,
            bool() | 0 | 1 as fortran,
            bytes() as raw,
        ):
            if len(shape) > 8 or not all(type(length) is int and 0 <= length < 2**63 for length in shape):
                raise _Refused("an array has an impossible shape")
            kind = np.dtype(dtype.order.replace("|", "=") + dtype.code)
            if math.prod(shape) * kind.itemsize != len(raw):
                raise _Refused(f"an array of shape {shape} comes with {len(raw)} bytes")
            target.value = np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")
        case _:
            raise _Refused("it sets the state of something that is not an array as numpy writes it")
