"""Things that names stand for: imported, their options checked against their signatures, and made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from robustsnn.ground.annotations import alternatives
from robustsnn.ground.errors import UserError, exhausted
from robustsnn.names import Entry, find, load, near
from robustsnn.names.values import allowed as words
from robustsnn.names.values import fitted, shown


@dataclass(frozen=True)
class Thing:
    """What a name stands for, with options that fit it; called with what else it takes, it makes it.

    Args:
        option: that has the name, for errors: model.name, beside which model.options are.
        given: arguments that are no options, and where each comes from.
        gives: what it makes, a type.
    """

    entry: Entry
    make: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]
    options: Mapping[str, Any]
    option: str
    given: Mapping[str, str]
    gives: type

    def takes(self, name: str) -> bool:
        """Whether it has an argument of that name."""
        return name in self.parameters

    def check(self, *had: str) -> None:
        """UserError if it needs an argument beyond its options and those that it will be called with."""
        for name, parameter in self.parameters.items():
            if parameter.default is parameter.empty and name not in (*had, *self.options):
                where = self.given.get(name) or f"{_options(self.option)}.{name}"
                kind = parameter.annotation
                what = f", allowed is {words(kind)}" if {*alternatives(kind)} <= {int, float, str, bool} else ""
                raise UserError(f"{self} needs {where}; give it{what}")

    def __call__(self, *first: Any, **common: Any) -> Any:
        """Make it of the first arguments, those of the common ones that it takes, and the options."""
        self.check(*list(self.parameters)[: len(first)], *common)
        common = {name: value for name, value in common.items() if self.takes(name)}
        try:
            made = self.make(*first, **common, **self.options)
        except UserError:
            raise
        except Exception as error:
            too_much = exhausted(error)
            entered = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if "memory" in too_much and not self.options:
                raise  # what is to be lowered is elsewhere
            if not too_much and (not isinstance(error, TypeError) or (self.entry.outside and entered)):
                raise  # whose code it is says best what is wrong
            said = f"{_options(self.option)}={shown(dict(self.options), 200)} of {self.entry.name}"
            how = f"{too_much} ({' '.join(str(error).split())[:120]}); lower its numbers" if too_much else error
            raise UserError(f"{said if self.options else self}: {how}") from None
        if not isinstance(made, self.gives):
            raise UserError(f"{self} gave a {type(made).__name__}; needed is a {self.gives.__name__}")
        return made

    def __str__(self) -> str:
        return f"{self.option}={self.entry.name}"


def _options(option: str) -> str:
    return f"{option.removesuffix('name')}options"


def _remedy(parameter: inspect.Parameter) -> str:
    usual = parameter.default
    plain = usual is None or isinstance(usual, int | float | str)
    return f"; leave it out for {shown(usual)}" if plain else "; give one"


def resolve(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    option: str = "name",
    given: Mapping[str, str] | None = None,
    gives: type = object,
) -> Thing:
    """What a name stands for, imported, with the options checked against its signature. Nothing is called yet.

    See `Thing` for `option`, `given` and `gives`.
    """
    entry, given = find(kind, name, option), given or {}
    make = load(entry)
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        raise UserError(f"{option}={name}: it is no function or class, but {shown(make, 80)}") from None
    plain = getattr(make, "func", make)  # of a partial the function, of a class its constructor
    try:
        kinds = get_type_hints(plain.__init__ if isinstance(plain, type) else plain, include_extras=True)
    except NameError:  # annotations of an outside thing that hold for type checkers alone
        kinds = {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = {
        key: parameter.replace(annotation=kinds.get(key, Any))
        for key, parameter in parameters.items()
        if parameter.kind in named
    }
    allowed = [key for key in parameters if key not in given]
    made: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if key not in allowed:
            wrong = f"{_options(option)}.{shown(key)[1:-1]} is no option of {name}"
            raise UserError(f"{wrong}; allowed: {', '.join(allowed) or 'none'}{near(key, allowed) or '; leave it out'}")
        kind = parameters[key].annotation
        try:
            made[key] = fitted(value, kind)
        except ValueError:
            said = f"{_options(option)}.{key}={shown(value)} of {name}: allowed is {words(kind, value)}"
            raise UserError(f"{said}{_remedy(parameters[key])}") from None
    return Thing(entry, make, parameters, made, option, given, gives)
