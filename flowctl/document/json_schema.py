"""JSON Schemas that documents bring along, applied so that nothing they or their values do takes for ever.

Both sides are untrusted. A schema can refer to itself without end, or branch until the sun goes down; a value
can be made to suit it. So

- references stay inside the schema: nothing is ever fetched;
- patterns are RE2, which is linear in the text; what RE2 cannot do (look-around, back-references) is refused;
- every keyword that is applied costs ``FUEL``, by its length, and equal items are found by hashing, not by
  comparing each with each;
- a circle of schemas for the same value is found when the document is read.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flowctl.document.diagnostics import shown
from flowctl.document.patterns import compiled
from flowctl.document.places import Pointer
from flowctl.document.quick import surely_schema
from flowctl.document.sentences import Finding, findings, unknown_keys, where
from flowctl.document.spelling import nearest

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

FUEL = 200_000
"""Units of work in one validation: keywords applied, and what long ones cost beyond that."""

MAX_WEIGHT = 5_000
"""Of all schemas of one document together, see ``weight``: what can be checked in about a second."""

SHOWN = 5
"""Findings named in one message."""

Schema = Mapping[str, Any] | bool

_left: ContextVar[int] = ContextVar("fuel left in the validation that is going on")


class _OutOfFuel(Exception):
    """The schema takes too long."""


def checker(schema: Schema) -> Callable[[Any, str], str | None]:
    """A function that says what is wrong with a value of that name, or None."""

    @functools.cache
    def validator() -> Validator:
        return _validator_class()(schema)

    def check(value: Any, name: str) -> str | None:
        try:
            return problem_of(validator(), value, name)
        except _OutOfFuel:
            return f"{name} cannot be checked: its schema takes more than {FUEL:,} steps"
        except RecursionError:
            return f"{name} cannot be checked: its schema refers to itself without end"

    return check


def problem_of(validator: Validator, value: Any, name: str) -> str | None:
    """The first findings of a validation in one line, or None. ``_OutOfFuel``, ``RecursionError``."""
    found = _found(validator, value)
    if not found:
        return None
    more = ["…"] if len(found) > SHOWN else []
    return "; ".join([_sentence(finding, name) for finding in found[:SHOWN]] + more)


def _found(validator: Validator, value: Any) -> list[Finding]:
    """The first findings, one more than are shown."""
    token = _left.set(FUEL)
    try:
        found: dict[Finding, None] = {}
        for error in validator.iter_errors(value):
            found |= dict.fromkeys(itertools.islice(findings(error), SHOWN + 1))
            if len(found) > SHOWN:
                break
    finally:
        _left.reset(token)
    return list(found)[: SHOWN + 1]


def _sentence(finding: Finding, name: str) -> str:
    near = nearest(str(finding.pointer[-1]), finding.known) if finding.kind == "unknown" else None
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"{where(finding.pointer, name)} {finding.what}{hint}"


def prepare() -> None:
    """Import now what checking imports when it is first needed: Temporal's sandbox would refuse it then."""
    _validator_class()


@functools.cache
def _validator_class() -> Callable[[Any], Validator]:
    """Draft 2020-12 with fuel, linear patterns and hashed uniqueness."""
    from jsonschema import Draft202012Validator, validators

    keywords = dict(Draft202012Validator.VALIDATORS) | {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": unique_items,
    }
    fuelled = {name: _fuelled(function) for name, function in keywords.items()}
    made: Callable[[Any], Validator] = validators.extend(Draft202012Validator, fuelled)  # type: ignore[no-untyped-call]
    return made


def _fuelled(function: Any) -> Any:
    def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _burn(1 + (len(value) >> 6 if isinstance(value, dict | list) else 0))
        return function(validator, value, instance, schema)

    return keyword


def _burn(units: int) -> None:
    left = _left.get(FUEL) - units
    if left < 0:
        raise _OutOfFuel
    _left.set(left)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not compiled(pattern).search(instance):
        yield ValidationError(f"{pattern!r} does not match")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for pattern, inner in patterns.items() if isinstance(instance, dict) else ():
        _burn(len(instance))
        for key, value in instance.items():
            if compiled(pattern).search(key):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    _burn(len(instance) * (1 + len(schema.get("patternProperties", ()))) >> 3)
    extra = unknown_keys(schema, instance)
    if inner is False:
        if next(extra, None) is not None:
            yield ValidationError("keys that are not allowed")
        return
    for key in extra:
        yield from validator.descend(instance[key], inner, path=key)


def unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword ``uniqueItems``, in linear time."""
    from jsonschema import ValidationError

    if not wanted or not isinstance(instance, list):
        return
    _burn(len(instance) >> 3)
    if len({_hashable(item) for item in instance}) < len(instance):
        yield ValidationError("the same item twice")


def _hashable(value: Any) -> Any:
    """Equal for values that are equal as JSON: ``1`` and ``1.0`` are, ``1`` and ``true`` are not."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return (value,) if isinstance(value, bool) else value


# --- is it a schema at all?

_ONE = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_ONE_MORE = ("unevaluatedItems", "unevaluatedProperties")
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref"})
"""Keywords whose subschemas apply to the same value: a circle of them never ends."""

_REFUSED = {
    "$id": "a schema in a document has no id of its own",
    "$anchor": "refer to '#/$defs/NAME'",
    "$dynamicRef": "refer to '#/$defs/NAME' with '$ref'",
    "$dynamicAnchor": "refer to '#/$defs/NAME' with '$ref'",
    "$recursiveRef": "refer to '#/$defs/NAME' with '$ref'",
    "$vocabulary": "schemas are of draft 2020-12",
}
_PATTERN_WEIGHT = 25
_TYPE_NAMES = "must be array, boolean, integer, null, number, object or string, or a list of these"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def weight(schema: Any) -> int:
    """What it costs to check a schema: its keys, what stands in its lists, and patterns many times over."""
    total, stack = 0, [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            patterns = node.get("patternProperties")
            count = len(patterns) if isinstance(patterns, dict) else 0
            total += len(node) + _PATTERN_WEIGHT * (count + ("pattern" in node))
            stack += node.values()
        elif isinstance(node, list):
            total += sum(isinstance(item, dict | list) for item in node)
            stack += node
    return total


def schema_problems(schema: Any) -> list[tuple[Pointer, str]]:
    """Why a value cannot serve as a JSON Schema: pointers into it, and sentences. No problem means it can."""
    try:
        found = [] if surely_schema(schema) else _found(_meta(), schema)
    except _OutOfFuel:
        return [((), "the schema is too large")]
    if not found:
        return list(itertools.islice(itertools.chain(_unsupported(schema), _endless(schema)), SHOWN))
    return [
        (finding.pointer, f"{where(finding.pointer, 'the schema')} {_misfit(finding)}") for finding in found
    ]


def _meta() -> Validator:
    from jsonschema import Draft202012Validator

    return _validator_class()(Draft202012Validator.META_SCHEMA)


def _misfit(finding: Finding) -> str:
    return _TYPE_NAMES if finding.pointer[-1:] == ("type",) else finding.what


def _unsupported(schema: Any) -> Iterator[tuple[Pointer, str]]:
    """What JSON Schema has and flowctl does not apply."""
    nodes = dict(subschemas(schema))
    for pointer, inner in nodes.items():
        for keyword in inner.keys() & _REFUSED.keys():
            yield (*pointer, keyword), f"'{keyword}' is not supported: {_REFUSED[keyword]}"
        if inner.get("$schema", _DRAFT).rstrip("#") != _DRAFT:
            yield (*pointer, "$schema"), "schemas are of draft 2020-12"
        if "$ref" in inner and not _resolves(schema, inner["$ref"], nodes):
            hint = "must point to a schema in this one, such as '#/$defs/NAME'"
            yield (*pointer, "$ref"), f"'$ref' {hint}, not {shown(inner['$ref'])}"
        if "patternProperties" in inner and "unevaluatedProperties" in inner:
            yield pointer, "use 'additionalProperties' with 'patternProperties', not 'unevaluatedProperties'"
        for pattern in [
            *([inner["pattern"]] if "pattern" in inner else []),
            *inner.get("patternProperties", ()),
        ]:
            if not _is_pattern(pattern):
                yield (
                    pointer,
                    f"the pattern {shown(pattern)} cannot be used (patterns have the syntax of RE2)",
                )


def _is_pattern(pattern: str) -> bool:
    try:
        compiled(pattern)
    except ValueError:
        return False
    return True


def _endless(schema: Any) -> Iterator[tuple[Pointer, str]]:
    """A circle of schemas that apply to the same value, if there is one."""
    nodes = dict(subschemas(schema))
    done: set[Pointer] = set()
    for start in nodes:
        path = {start: _same_value(schema, start, nodes)}
        while path:
            here, onward = next(reversed(path.items()))
            there = next(onward, None)
            if there is None:
                done.add(here)
                del path[here]
            elif there in path:
                yield there, "the schema refers to itself without end"
                return
            elif there not in done:
                path[there] = _same_value(schema, there, nodes)


def _same_value(schema: Any, pointer: Pointer, nodes: Mapping[Pointer, Any]) -> Iterator[Pointer]:
    """The subschemas that the one at ``pointer`` applies to the very same value."""
    node = nodes[pointer]
    found = target(schema, node["$ref"]) if "$ref" in node else None
    if found is not None and found[0] in nodes:
        yield found[0]
    for relative, _ in _children(node):
        if relative[0] in _IN_PLACE and pointer + relative in nodes:
            yield pointer + relative


def _resolves(schema: Any, reference: str, nodes: Mapping[Pointer, Any]) -> bool:
    """Whether a reference leads to something that was checked as a schema."""
    found = target(schema, reference)
    return found is not None and (found[0] in nodes or isinstance(found[1], bool))


def target(schema: Any, reference: str) -> tuple[Pointer, Any] | None:
    """The part of this schema that a reference points to, with its pointer."""
    if "%" in reference or (reference != "#" and not reference.startswith("#/")):
        return None
    node, pointer = schema, []
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        key = (
            int(part)
            if isinstance(node, list) and part.isdecimal() and part.isascii() and len(part) < 8
            else part
        )
        if key not in (
            range(len(node)) if isinstance(node, list) else node if isinstance(node, dict) else ()
        ):
            return None
        node = node[key]
        pointer.append(key)
    return tuple(pointer), node


def subschemas(schema: Any) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    """The schema and all schemas in it that are mappings, with their pointers."""
    stack: list[tuple[Pointer, Any]] = [((), schema)]
    while stack:
        pointer, node = stack.pop()
        if isinstance(node, dict):
            yield pointer, node
            stack += [(pointer + relative, inner) for relative, inner in _children(node)]


def _children(node: Mapping[str, Any]) -> Iterator[tuple[Pointer, Any]]:
    for keyword in (*_ONE, *_ONE_MORE):
        if keyword in node:
            yield (keyword,), node[keyword]
    for keyword in _LIST:
        for index, inner in enumerate(node.get(keyword, ())):
            yield (keyword, index), inner
    for keyword in _MAP:
        for name, inner in node.get(keyword, {}).items():
            yield (keyword, name), inner
