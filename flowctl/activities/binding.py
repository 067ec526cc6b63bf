"""From JSON arguments to a function's parameters, and from its result back to JSON.

Rules:

1. Arguments are bound by name. What is missing, unknown or does not fit is ``InvalidInput`` naming the
   argument.
2. An annotation converts and checks; without one a value comes as it is. Nothing is coerced that JSON can say
   itself: ``"1"`` is not an ``int``.
3. A result is JSON, or becomes it in one obvious way (dataclasses, datetimes, enums, …). Sets and bytes have
   no such way: one has no order, the other no text. What is left over is ``InvalidOutput`` with its place.

A signature is read once. What is plain already (``type(value)`` is what the annotation says) is not
converted, so a small call costs a few dictionary look-ups.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from flowctl import values
from flowctl.activities.context import ActivityContext
from flowctl.errors import FlowctlError, InvalidInput, InvalidOutput, PayloadTooLarge, UsageError

_ANYTHING = (Any, object, inspect.Parameter.empty)
_PLAIN = frozenset({str, int, float, bool, dict, list, type(None)})
_ABSENT: Any = object()
_BYTES = (bytes, bytearray, memoryview)
_NO_TEXT = (*_BYTES, set, frozenset)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter. ``plain`` are the types that need no conversion; None: all."""

    name: str
    annotation: Any
    plain: frozenset[type] | None
    required: bool
    default: Any


class Binding:
    """How one function is called. ``context`` and ``rest`` name its special parameters, or are None;
    ``given`` are those that no argument fills, the context among them."""

    __slots__ = ("_by_name", "activity", "context", "given", "parameters", "rest", "returns")

    def __init__(
        self,
        activity: str,
        parameters: tuple[Parameter, ...],
        context: str | None,
        rest: str | None,
        given: Collection[str],
        returns: Any,
    ) -> None:
        self.activity = activity
        self.parameters = parameters
        self.context = context
        self.rest = rest
        self.given = frozenset({context, *given} - {None})
        self.returns = returns
        self._by_name = tuple((parameter.name, parameter.plain, parameter) for parameter in parameters)

    @classmethod
    def of(cls, function: Callable[..., Any], activity: str, given: Collection[str] = ()) -> Binding:
        """The binding of a function. ``given`` are parameters that no argument fills.

        ``UsageError`` if names or annotations do not say how to call it.
        """
        hints = _hints(function, activity, given)
        parameters, context, rest = [], None, None
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in given:
                continue
            annotation = hints.get(parameter.name, parameter.empty)
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = parameter.name
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise UsageError(
                    f"{activity}: parameter {parameter.name!r} cannot be given by name",
                    hint="arguments come by name; leave * and / out of the signature",
                )
            elif annotation is ActivityContext or ActivityContext in typing.get_args(annotation):
                context = parameter.name
            else:
                parameters.append(_parameter(parameter, annotation, activity))
        returns = hints.get("return", inspect.Parameter.empty)
        return cls(activity, tuple(parameters), context, rest, given, returns)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the function, but for what it is given otherwise. Raises ``InvalidInput``."""
        bound = {}
        for name, plain, parameter in self._by_name:
            value = arguments.get(name, _ABSENT)
            if value is _ABSENT:
                if parameter.required:
                    raise self._missing(arguments)
            elif plain is None or type(value) in plain:
                bound[name] = value
            else:
                bound[name] = self._convert(value, parameter)
        if len(bound) != len(arguments):
            bound.update(self._others(arguments))
        return bound

    def _convert(self, value: Any, parameter: Parameter) -> Any:
        try:
            return msgspec.convert(value, parameter.annotation, dec_hook=_construct)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(
                f"{self.activity}: argument {parameter.name!r}: {error}", details={"argument": parameter.name}
            ) from None

    def _others(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        known = {parameter.name for parameter in self.parameters}
        others = {name: value for name, value in arguments.items() if name not in known}
        refused = others.keys() & self.given if self.rest is not None else others.keys()
        if not refused:
            return others
        name = min(refused)
        raise InvalidInput(
            f"{self.activity} takes no argument {name!r}",
            hint=_nearest(name, known),
            details={"argument": name},
        )

    def _missing(self, arguments: Mapping[str, Any]) -> InvalidInput:
        names = [each.name for each in self.parameters if each.required and each.name not in arguments]
        known = {each.name for each in self.parameters}
        unknown = [] if self.rest is not None else sorted(arguments.keys() - known)
        hint = f"it was given {', '.join(map(repr, unknown[:5]))}" if unknown else None
        plural = "s" if len(names) > 1 else ""
        return InvalidInput(
            f"{self.activity} needs the argument{plural} {', '.join(map(repr, names))}",
            hint=hint,
            details={"argument": names[0]},
        )


def result_bytes(value: Any, activity: str) -> bytes:
    """The canonical JSON of a result. Raises ``InvalidOutput`` or ``PayloadTooLarge``."""
    what = f"the result of {activity}"
    try:
        try:
            return values.sized(value, what)
        except values.NotJson:
            return values.sized(_Json().of(value), what)
    except PayloadTooLarge:
        raise
    except FlowctlError as error:
        raise InvalidOutput(error.message, details=error.details) from None
    except RecursionError:
        raise InvalidOutput(f"{what} is not JSON: it contains itself, or is nested too deep") from None
    except Exception as error:  # a stranger's model may fail to describe itself in any way it likes
        raise InvalidOutput(f"{what} is not JSON: {error}") from error


def to_json(value: Any) -> Any:
    """Typed data as JSON, as far as there is a way; what is none stays, for whoever checks it.
    ``PayloadTooLarge``.
    """
    return _Json().of(value)


class _Json:
    """Makes typed data JSON, within limits: shared parts make a small structure endless when written out."""

    def __init__(self) -> None:
        self._left = values.MAX_BYTES // 2 + 1  # no element takes less than two bytes, with its separator

    def of(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise PayloadTooLarge(f"the result has more elements than fit into {values.MAX_BYTES:,} bytes")
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list) or type(value) is tuple:
            return [self.of(item) for item in value]
        if value is None or type(value) in _PLAIN or isinstance(value, _NO_TEXT):
            return value
        return self._of_object(value)

    def _of_object(self, value: Any) -> Any:
        dump = getattr(type(value), "model_dump", None)  # pydantic's
        if dump is not None:
            return self.of(dump(value, mode="json"))
        try:
            plain = msgspec.to_builtins(value, builtin_types=_BYTES, enc_hook=_dump, order="deterministic")
        except TypeError:
            return value  # refused by the gate, which names its place
        return self.of(plain)  # what msgspec leaves: tuples, and a field's bytes


def _dump(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"a {type(value).__name__} is not a JSON type")
    return dump(value, mode="json")


def _construct(kind: Any, value: Any) -> Any:
    """A type that msgspec does not know: pydantic's models validate themselves."""
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise ValueError(f"Expected `{getattr(kind, '__name__', kind)}`, which cannot be made from JSON")
    return validate(value)


def _hints(function: Callable[..., Any], activity: str, given: Collection[str]) -> dict[str, Any]:
    function = inspect.unwrap(function)
    if given:  # their annotations are nobody's business here, and may name what is costly to import
        annotations = {name: hint for name, hint in function.__annotations__.items() if name not in given}
        function = types.FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
        function.__annotations__ = annotations
    try:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError:  # linters advise to import for type checkers only what only annotations name
            names = {"ActivityContext": ActivityContext}
            return typing.get_type_hints(function, None, names, include_extras=True)
    except Exception as error:
        raise UsageError(
            f"{activity}: an annotation cannot be resolved: {error}",
            hint="import its name at run time as well",
        ) from None


def _parameter(parameter: inspect.Parameter, annotation: Any, activity: str) -> Parameter:
    plain = _plain_types(annotation)
    if plain is not None and not plain:
        try:
            msgspec.json.Decoder(annotation, dec_hook=_construct)
        except Exception as error:
            raise UsageError(
                f"{activity}: the annotation of parameter {parameter.name!r} is not understood: {error}"
            ) from None
    required = parameter.default is parameter.empty
    return Parameter(parameter.name, annotation, plain, required, None if required else parameter.default)


def _plain_types(annotation: Any) -> frozenset[type] | None:
    """The types of values that an annotation takes as they are; None: of all values."""
    if annotation in _ANYTHING:
        return None
    if isinstance(annotation, type) and annotation in _PLAIN:
        return frozenset({annotation})
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if (origin, arguments) in ((dict, (str, Any)), (list, (Any,))):
        return frozenset({origin})
    if origin in (typing.Union, types.UnionType):
        members = [_plain_types(member) for member in arguments]
        if all(members):
            return frozenset().union(*(member for member in members if member))
    return frozenset()


def _nearest(name: str, known: Collection[str]) -> str:
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it takes {', '.join(map(repr, sorted(known)))}" if known else "it takes none"
