"""JSON Schemas in a document, read as by a proof-reader.

To JSON Schema a keyword that it does not have is a remark, so ``requierd`` changes what a schema accepts and
nobody hears of it. What is a slip away from a keyword was meant to be it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowctl.document.diagnostics import Report, shown
from flowctl.document.json_schema import subschemas
from flowctl.document.places import Pointer
from flowctl.document.spelling import closest

KEYWORDS = frozenset(
    {"$comment", "$defs", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "contains"}
    | {"contentEncoding", "contentMediaType", "contentSchema", "default", "dependentRequired"}
    | {"dependentSchemas", "deprecated", "description", "else", "enum", "examples", "exclusiveMaximum"}
    | {"exclusiveMinimum", "format", "if", "items", "maxContains", "maxItems", "maxLength", "maxProperties"}
    | {"maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "not"}
    | {"oneOf", "pattern", "patternProperties", "prefixItems", "properties", "propertyNames", "readOnly"}
    | {"required", "then", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"}
    | {"writeOnly"}
)
"""The keywords of draft 2020-12 that flowctl applies, or that are for people."""


def check_keywords(report: Report, schema: Mapping[str, Any], pointer: Pointer) -> None:
    """Report keywords that are misspelt, and required properties that are not among those there are."""
    for relative, inner in subschemas(schema):
        for word in inner.keys() - KEYWORDS:
            close = closest(word, KEYWORDS - inner.keys())
            if close:
                message = f"JSON Schema has no keyword {shown(word)}, and does nothing about it"
                hint = f"did you mean {close[0]!r}?"
                report.warning("UnknownKey", (*pointer, *relative, word), message, hint=hint, key=True)
        _check_required(report, inner, pointer + relative)


def _check_required(report: Report, schema: Mapping[str, Any], pointer: Pointer) -> None:
    properties = schema.get("properties")
    for index, name in enumerate(schema.get("required", ())):
        if not properties or name in properties:
            continue
        close = closest(name, properties.keys() - set(schema["required"]))
        if close:
            message = f"the property {shown(name)} is required, and {shown(close[0])} is described"
            one, other = f"did you mean {close[0]!r}?", f"did you mean {name!r}?"
            report.warning("Unused", (*pointer, "required", index), message, hint=one)
            report.warning("Unused", (*pointer, "properties", close[0]), message, hint=other, key=True)
