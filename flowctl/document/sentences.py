"""What a JSON Schema validator found, as sentences.

``jsonschema`` reports in the terms of the schema: this keyword, that subschema, the whole value printed out.
People want to know which part of *their* text is wrong, and what would be right. So every keyword has one
function here that says it, and an ``anyOf`` is entered: of its alternatives the one that was meant speaks, or
else their types together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flowctl.document.diagnostics import shown
from flowctl.document.patterns import compiled
from flowctl.document.places import Pointer
from flowctl.values import kind_of

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_LOOKED_AT, _READ = 100, 10_000
"""Keys, and characters of a message, in which unevaluated ones are looked for."""

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: ``what`` completes the sentence that begins with the part at ``pointer``.

    ``kind`` is ``unknown`` (a key that is not allowed; ``known`` are those that are), ``missing`` (a key that
    must be there), ``type`` or ``value``. ``key``: it is the key that is wrong, not the value.
    """

    kind: str
    pointer: Pointer
    what: str
    key: bool = False
    known: tuple[str, ...] = ()


def findings(error: ValidationError, base: Pointer = ()) -> Iterator[Finding]:
    """What an error means: usually one finding, several for unknown keys and the parts of an alternative."""
    pointer = (*base, *error.path)
    schema_path = error.schema_path
    if len(schema_path) > 1 and schema_path[-2] == "propertyNames":
        yield Finding("value", (*pointer, str(error.instance)), _bad_key(error), key=True)
    elif error.validator in _SEVERAL:
        found = list(_SEVERAL[str(error.validator)](error, pointer))
        yield from found or [
            Finding("value", pointer, "does not fit the schema")
        ]  # an error is never nothing
    else:
        kind = "type" if error.validator == "type" else "value"
        yield Finding(kind, pointer, _what(error))


def _bad_key(error: ValidationError) -> str:
    schema: Any = error.schema
    return f"cannot be a key: {schema.get('patternErrorMessage', _what(error))}"


def _what(error: ValidationError) -> str:
    say = _SAY.get(str(error.validator))
    return say(error) if say else "does not fit the schema"


# --- keywords that find several things, or look inside


def _unknown_keys(error: ValidationError, pointer: Pointer) -> Iterator[Finding]:
    schema: Any = error.schema
    instance: Any = error.instance
    known = tuple(schema.get("properties", ()))
    if error.validator == "unevaluatedProperties":
        # jsonschema names them in its message and nowhere else.
        extra = [key for key in itertools.islice(instance, _LOOKED_AT) if repr(key) in error.message[:_READ]]
    else:
        extra = list(unknown_keys(schema, instance))
    for key in extra:
        yield Finding("unknown", (*pointer, key), "is unknown", key=True, known=known)


def unknown_keys(schema: Any, instance: Any) -> Iterator[str]:
    """The keys of ``instance`` that neither ``properties`` nor ``patternProperties`` of ``schema`` name."""
    patterns = [compiled(pattern) for pattern in schema.get("patternProperties", ())]
    for key in instance:
        if key not in schema.get("properties", ()) and not any(pattern.search(key) for pattern in patterns):
            yield key


def _missing_keys(error: ValidationError, pointer: Pointer) -> Iterator[Finding]:
    instance: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "dependentRequired":
        wanted = [name for key, names in wanted.items() if key in instance for name in names]
    for name in wanted:
        if name not in instance:
            yield Finding("missing", (*pointer, name), "is missing")


def _alternatives(error: ValidationError, pointer: Pointer) -> Iterator[Finding]:
    """Of several schemas none fits: the one that has the value's type was meant."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    meant = [found for found in branches.values() if not any(_excludes(inner) for inner in found)]
    if any(_is_bare_duration(error.instance, schema) for schema in _schemas(error)):
        yield Finding("type", pointer, _bare_duration(error.instance))
        return
    if len(meant) != 1:
        yield Finding("type", pointer, f"must be {_either(error)}, not {kind_of(error.instance)}")
        return
    for inner in meant[0]:
        yield from findings(inner, pointer)


def _excludes(error: ValidationError) -> bool:
    """Whether the value as a whole is of another kind than this alternative."""
    return not error.path and error.validator in ("type", "enum", "const")


def _either(error: ValidationError) -> str:
    return " or ".join(dict.fromkeys(map(_kind, _schemas(error))))


def _schemas(error: ValidationError) -> list[Any]:
    alternatives: Any = error.validator_value
    return [schema for schema in alternatives if isinstance(schema, dict)]


def _kind(schema: Any) -> str:
    if "enum" in schema or "const" in schema:
        return _one_of(schema.get("enum") or [schema["const"]])
    types = schema.get("type", ())
    return (
        " or ".join(_TYPES[name] for name in ([types] if isinstance(types, str) else types))
        or "something else"
    )


_SEVERAL: dict[str, Callable[[ValidationError, Pointer], Iterator[Finding]]] = {
    "additionalProperties": _unknown_keys,
    "unevaluatedProperties": _unknown_keys,
    "required": _missing_keys,
    "dependentRequired": _missing_keys,
    "anyOf": _alternatives,
    "oneOf": _alternatives,
}


# --- keywords that say one thing


def _type(error: ValidationError) -> str:
    if _is_bare_duration(error.instance, error.schema):
        return _bare_duration(error.instance)
    wanted: Any = error.validator_value
    types = " or ".join(_TYPES.get(name, name) for name in ([wanted] if isinstance(wanted, str) else wanted))
    actual = shown(error.instance) if isinstance(error.instance, int | float) else kind_of(error.instance)
    return f"must be {types}, not {actual}"


def _is_bare_duration(value: Any, schema: Any) -> bool:
    return type(value) in (int, float) and str(schema.get("format", "")).startswith("flowctl-")


def _bare_duration(value: Any) -> str:
    return f"has no unit: is it seconds? Then write {value}s"


def _enum(error: ValidationError) -> str:
    return f"must be {_one_of(error.validator_value)}, not {shown(error.instance)}"


def _const(error: ValidationError) -> str:
    return f"must be {_literal(error.validator_value)}, not {shown(error.instance)}"


def _pattern(error: ValidationError) -> str:
    schema: Any = error.schema
    if meaning := schema.get("patternErrorMessage"):
        return f"is {shown(error.instance)}, but {meaning}"
    return f"does not match the pattern {shown(error.validator_value)}"


def _format(error: ValidationError) -> str:
    return f"cannot be read: {error.cause or error.validator_value}"


def _count(wording: str, noun: str = "") -> Callable[[ValidationError], str]:
    def say(error: ValidationError) -> str:
        number = error.validator_value
        return f"{wording.format(number)}{noun and f' {noun}' + 's' * (number != 1)}"

    return say


def _one_of(values: Any) -> str:
    *some, last = [_literal(value) for value in values[:20]]
    return f"{', '.join(some)} or {last}" if some else last


def _literal(value: Any) -> str:
    words: dict[Any, str] = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else shown(value)


_SAY: dict[str, Callable[[ValidationError], str]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "format": _format,
    "minimum": _count("must be at least {}"),
    "maximum": _count("must be at most {}"),
    "exclusiveMinimum": _count("must be greater than {}"),
    "exclusiveMaximum": _count("must be less than {}"),
    "multipleOf": _count("must be a multiple of {}"),
    "minLength": _count("must have at least {}", "character"),
    "maxLength": _count("must have at most {}", "character"),
    "minItems": _count("must have at least {}", "item"),
    "maxItems": _count("must have at most {}", "item"),
    "minProperties": _count("must have at least {}", "key"),
    "maxProperties": _count("must have at most {}", "key"),
    "uniqueItems": lambda error: "must not have the same item twice",
    "contains": lambda error: "has no item of the kind that must be there",
    "not": lambda error: "is what must not be there",
    "minContains": lambda error: "has too few items of the kind that must be there",
    "maxContains": lambda error: "has too many items of one kind",
    "unevaluatedItems": lambda error: "has items that are not allowed",
    "None": lambda error: "must not be there",  # the schema `false`
}


def where(pointer: Sequence[str | int], top: str) -> str:
    """A pointer into data as people write it: ``input.items[0].price``."""
    text = top
    for part in pointer:
        text += (
            f"[{part}]"
            if isinstance(part, int)
            else f".{part[:60]}"
            if part.isidentifier()
            else f"[{shown(part)}]"
        )
    return text
