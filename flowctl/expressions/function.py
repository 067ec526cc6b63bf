"""What a function of the expression language is, whether built in or a plugin's.

Functions are pure: the same arguments give the same result, for ever, because a replay calls them again.
They take and return JSON and raise ``Problem``. Those that look inside their arguments take the frame
first, to pay for it; for all others the caller pays by the size of arguments and result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import msgspec

from flowctl.errors import safe_text
from flowctl.expressions.frame import CHARACTERS, Frame, Problem
from flowctl.values import MAX_BYTES, kind_of, weigh


class Function(msgspec.Struct, frozen=True):
    """One entry of the table of functions.

    ``parameters`` are names, of which the first ``required`` must be given; ``variadic`` takes any number of
    arguments after them. ``framed`` gets the frame first. A call costs ``price`` and, unless ``instant``, the
    size of its arguments and result. ``reads`` is a reference that the function resolves by itself.
    """

    name: str
    call: Callable[..., Any]
    parameters: tuple[str, ...]
    required: int
    variadic: bool = False
    framed: bool = False
    instant: bool = False
    reads: tuple[str, ...] | None = None
    price: int = 3

    @classmethod
    def of(
        cls,
        name: str,
        call: Callable[..., Any],
        *,
        framed: bool = False,
        instant: bool = False,
        reads: tuple[str, ...] | None = None,
        price: int = 3,
    ) -> Function:
        """The entry for a plain Python function, whose signature is the language's, after the frame."""
        assert isinstance(call, FunctionType)
        code, skipped = call.__code__, int(framed)
        parameters = code.co_varnames[skipped : code.co_argcount]
        required = len(parameters) - len(call.__defaults__ or ())
        variadic = bool(code.co_flags & 0x04)
        return cls(name, call, parameters, required, variadic, framed, instant, reads, price)

    @property
    def signature(self) -> str:
        """``round(number, ndigits?)``, for errors and documentation."""
        shown = [name if at < self.required else f"{name}?" for at, name in enumerate(self.parameters)]
        return f"{self.name}({', '.join([*shown, '…'] if self.variadic else shown)})"

    def misfit(self, positional: int, keywords: set[str]) -> str | None:
        """Why a call with so many arguments, and these by name, does not fit; None if it does."""
        unknown = keywords - set(self.parameters[positional:])
        if unknown:
            return f"{self.name} cannot take {min(unknown)!r} here"
        if positional > len(self.parameters) and not self.variadic:
            return f"{self.name} takes at most {len(self.parameters)} arguments, not {positional}"
        missing = [name for name in self.parameters[positional : self.required] if name not in keywords]
        return f"{self.name} needs {missing[0]!r}" if missing else None


def cost(value: Any) -> int:
    """Units of fuel for touching a value once, without looking inside its elements."""
    kind = type(value)
    if kind is str:
        return len(value) >> CHARACTERS
    return len(value) if kind is list or kind is dict else 0


Functions = Mapping[str, "Function | Callable[..., Any]"]
"""A table of functions by name; plain callables are a plugin's."""


def plugin_function(name: str, call: Callable[..., Any]) -> Function:
    """The entry for a plugin's function: whatever it does, authors see an ``ExpressionError``."""
    import inspect  # slow, and only plugins need it

    def guarded(frame: Frame, *args: Any, **named: Any) -> Any:
        frame.spend_walk(*args, *named.values())
        try:
            result = call(*args, **named)
        except (Exception, SystemExit) as error:
            raise Problem(f"{name} failed: {type(error).__name__}: {safe_text(error)}") from error
        weight = weigh(result, MAX_BYTES)
        if not 0 <= weight <= MAX_BYTES:
            raise Problem(f"{name} returned {kind_of(result)} that is too large or not JSON")
        return result

    parameters, required, variadic = [], 0, False
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            parameters.append(parameter.name)
            required += parameter.default is parameter.empty
        variadic = variadic or parameter.kind is parameter.VAR_POSITIONAL
    return Function(name, guarded, tuple(parameters), required, variadic, framed=True)


def need(value: Any, kind: type, function: str, what: str = "") -> None:
    """Refuse an argument of another type."""
    if type(value) is not kind:
        named = f" as {what}" if what else ""
        raise Problem(f"{function} takes {_WANTED[kind]}{named}, not {kind_of(value)}")


_WANTED = {str: "a string", list: "a list", dict: "a mapping", int: "a whole number"}
