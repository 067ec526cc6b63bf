"""What is known of a value before there is one: from JSON Schemas, annotations, literals and expressions.

A ``Type`` says which kinds of JSON a value can be, and which fields a mapping has. It never claims more than
is known: whatever is too clever to follow is ``UNKNOWN``, about which nobody complains. Where a schema names
properties and does not say whether there are others, a mapping may have them, but whoever reads one has
probably misspelt it; so ``others`` has three values, and a reader decides between an error and a warning.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from flowctl.document.json_schema import target
from flowctl.document.places import Pointer

Kinds = frozenset[str]
Others = Literal["none", "unsaid", "any"]

EVERY: Kinds = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
"""``number`` is one with a fraction here: what JSON Schema calls so is ``NUMBER``."""

NUMBER: Kinds = frozenset({"integer", "number"})

_WORDS = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a mapping",
}
_BEYOND = frozenset(
    {"allOf", "not", "if", "then", "else", "patternProperties", "dependentSchemas", "unevaluatedProperties"}
    | {"propertyNames"}
)
"""Keywords that can add properties, or take them away, in ways that are not followed."""

_CHOICES = ("anyOf", "oneOf")
_PATIENCE, _DEPTH = 500, 30
"""Parts of schemas and types that are looked at in one go, and how deep. What is beyond that is not known."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Type:
    """Fields and elements are made when somebody asks: a schema may refer to itself."""

    kinds: Kinds = EVERY
    fields: Mapping[str, Callable[[], Type]] = dataclasses.field(default_factory=dict)
    others: Others = "any"
    required: frozenset[str] = frozenset()
    element: Callable[[], Type] | None = None

    def field(self, name: str) -> Type | None:
        """The type of a field; None if a mapping of this type has none of that name, or need not have."""
        made = self.fields.get(name)
        if made is not None:
            return made()
        return UNKNOWN if self.others == "any" else None

    @property
    def is_mapping(self) -> bool:
        """Whether the value can only be a mapping, or null."""
        return "object" in self.kinds and self.kinds <= {"object", "null"}

    def or_null(self) -> Type:
        return dataclasses.replace(self, kinds=self.kinds | {"null"})

    def not_null(self) -> Type:
        return self if self is UNKNOWN else dataclasses.replace(self, kinds=self.kinds - {"null"})


UNKNOWN = Type()


@functools.cache
def plain(*kinds: str) -> Type:
    """A value of these kinds, of which nothing else is known."""
    return Type(frozenset(kinds))


TEXT, BOOLEAN, WHOLE = plain("string"), plain("boolean"), plain("integer")


def mapping_of(fields: Mapping[str, Type]) -> Type:
    """A mapping with these fields and no others."""
    made = {name: functools.partial(_itself, kind) for name, kind in fields.items()}
    return Type(frozenset({"object"}), made, "none", frozenset(fields))


def list_of(element: Type) -> Type:
    """A list of such elements."""
    return Type(frozenset({"array"}), element=lambda: element)


def _itself(kind: Type) -> Type:
    return kind


def either(types: Iterable[Type]) -> Type:
    """A value of one of several types."""
    parts = list({id(part): part for part in types}.values())
    if len(parts) == 1:
        return parts[0]
    if not parts or any(part is UNKNOWN for part in parts):
        return UNKNOWN
    kinds = frozenset().union(*(part.kinds for part in parts))
    mappings = [part for part in parts if "object" in part.kinds]
    lists = [part.element for part in parts if "array" in part.kinds]
    return Type(
        kinds,
        {name: functools.partial(_field, name, mappings) for part in mappings for name in part.fields},
        max((part.others for part in mappings), key=("none", "unsaid", "any").index, default="any"),
        frozenset.intersection(*(part.required for part in mappings)) if mappings else frozenset(),
        functools.partial(_elements, lists) if lists and None not in lists else None,
    )


def _field(name: str, mappings: Iterable[Type]) -> Type:
    return either([made() for part in mappings if (made := part.fields.get(name)) is not None])


def _elements(lists: Iterable[Callable[[], Type] | None]) -> Type:
    return either([made() for made in lists if made is not None])


def of_value(value: Any) -> Type:
    """The type of a literal, expressions in it not regarded."""
    if isinstance(value, dict):
        return mapping_of({key: of_value(item) for key, item in value.items()})
    if isinstance(value, list):
        return list_of(either([of_value(item) for item in value]))
    if isinstance(value, float) and value.is_integer():
        return Type(NUMBER)
    return plain(_KIND_OF[type(value)])


_KIND_OF: Mapping[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}


# --- from JSON Schemas


def of_schema(schema: Any, *, others: Others = "unsaid", declared: bool = False) -> Type:
    """The type that a JSON Schema describes. ``others``: what it means at the top that it names properties
    and does not say whether there are others.

    ``declared``: it comes from an annotation in Python. Then a type's fields are all there are, and a text
    with a format may be made from other values too.
    """
    return _Schema(schema, declared).of(schema, others)


class _Schema:
    """A schema that is read. ``root`` is the whole of it, for references; ``left`` keeps one that branches
    into itself from taking for ever.
    """

    def __init__(self, root: Any, declared: bool) -> None:
        self.root = root
        self.declared = declared
        self.left = _PATIENCE

    def below(self, schema: Any) -> Type:
        """The type of a part, made when somebody asks for it."""
        return _Schema(self.root, self.declared).of(schema, "none" if self.declared else "unsaid")

    def of(self, schema: Any, others: Others, depth: int = 0) -> Type:
        self.left -= 1
        if not isinstance(schema, dict) or self.left < 0 or depth > _DEPTH:
            return UNKNOWN
        if self.declared and "format" in schema:
            return UNKNOWN
        if "$ref" in schema:
            found = target(self.root, schema["$ref"]) if isinstance(schema["$ref"], str) else None
            return self.of(found[1], others, depth + 1) if found is not None else UNKNOWN
        for choice in _CHOICES:
            if isinstance(schema.get(choice), list):
                alone = not (schema.keys() & _BEYOND or "properties" in schema)
                parts = [self.of(part, others, depth + 1) for part in schema[choice]] if alone else []
                return either(parts)
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            return Type(either([of_value(value) for value in values[:_PATIENCE]]).kinds)
        return self.plain(schema, others)

    def plain(self, schema: Mapping[str, Any], others: Others) -> Type:
        """A schema whose keywords all say something about the value itself."""
        named, items = schema.get("properties"), schema.get("items")
        fields = named if isinstance(named, dict) else {}
        return Type(
            _kinds(schema.get("type")),
            {name: functools.partial(self.below, part) for name, part in fields.items()},
            _others(schema, others) if fields else "any",
            frozenset(filter(_is_text, _list(schema.get("required")))),
            functools.partial(self.below, items) if isinstance(items, dict) else None,
        )


def _others(schema: Mapping[str, Any], unsaid: Others) -> Others:
    if schema.keys() & _BEYOND:
        return "any"
    more = schema.get("additionalProperties")
    return unsaid if more is None else "none" if more is False else "any"


def _kinds(written: Any) -> Kinds:
    names = [written] if isinstance(written, str) else _list(written)
    kinds = frozenset(filter(_is_text, names))
    return kinds | NUMBER if "number" in kinds else kinds & EVERY or EVERY


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- comparing


def misfit(actual: Type, wanted: Type) -> tuple[Pointer, str] | None:
    """Why a value of one type can never be one of the other: where in it, and what completes a sentence that
    begins with its name. None if it can.
    """
    return _Comparison().misfit(actual, wanted)


class _Comparison:
    def __init__(self) -> None:
        self.left = _PATIENCE

    def misfit(self, actual: Type, wanted: Type, depth: int = 0) -> tuple[Pointer, str] | None:
        self.left -= 1
        if self.left < 0 or depth > _DEPTH or wanted is UNKNOWN:
            return None
        if not actual.kinds & wanted.kinds:
            return (), f"must be {described(wanted.kinds)}, not {described(actual.kinds)}"
        if actual.is_mapping and "object" in wanted.kinds:
            return self.fields(actual, wanted, depth + 1)
        if actual.kinds == {"array"} and actual.element is not None and wanted.element is not None:
            found = self.misfit(actual.element(), wanted.element(), depth + 1)
            return (found[0], f"must be a list in which each element {found[1]}") if found else None
        return None

    def fields(self, actual: Type, wanted: Type, depth: int) -> tuple[Pointer, str] | None:
        if actual.others == "none" and (missing := sorted(wanted.required - actual.fields.keys())):
            return (), f"must have the key {missing[0]!r}"
        for name in sorted(actual.fields.keys() & wanted.fields.keys()):
            found = self.misfit(actual.fields[name](), wanted.fields[name](), depth)
            if found is not None:
                return (name, *found[0]), found[1]
        return None


def described(kinds: Kinds) -> str:
    """Kinds as people say them: ``a text or null``."""
    names = [
        _WORDS[kind] for kind in _WORDS if kind in kinds and not (kind == "integer" and "number" in kinds)
    ]
    return " or ".join(names)
