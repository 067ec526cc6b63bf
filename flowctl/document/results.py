"""The results of verbs that wait for others: signals, branches, elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowctl.document.names import ERROR
from flowctl.document.structure import mapping
from flowctl.document.types import TEXT, UNKNOWN, WHOLE, Type, either, list_of, mapping_of, of_schema, plain


def signal_type(names: Iterable[Any], declared: Mapping[str, Any]) -> Type:
    """What ``wait_for_signal`` receives."""
    schemas = [mapping(declared.get(name)).get("payload") for name in names if isinstance(name, str)]
    payload = either([of_schema(schema) for schema in schemas])
    fields = {"signal": TEXT, "payload": payload, "received_at": TEXT, "principal": plain("string", "null")}
    return mapping_of(fields)


def outcome_of_branch(result: Type) -> Type:
    """What ``wait: settled`` says of one branch or element."""
    return mapping_of({"status": TEXT, "output": result, "error": ERROR.or_null()})


def result_of_branches(results: Mapping[str, Type], wait: Any) -> Type:
    """The result of ``parallel``, from those of its branches."""
    if wait == "any":
        return mapping_of({"branch": TEXT, "output": either(results.values())})
    if wait == "settled":
        return mapping_of({name: outcome_of_branch(result) for name, result in results.items()})
    return mapping_of(results) if wait == "all" else UNKNOWN


def result_of_elements(result: Type, wait: Any) -> Type:
    """The result of ``foreach``, from that of an iteration."""
    if wait == "any":
        return mapping_of({"index": WHOLE, "output": result})
    return list_of(outcome_of_branch(result) if wait == "settled" else result)


def element_of(items: Type) -> Type:
    """What ``foreach`` gives to an iteration: an element of a list, or ``{key, value}`` of a mapping."""
    if "array" in items.kinds and "object" not in items.kinds:
        return items.element() if items.element is not None else UNKNOWN
    if "array" not in items.kinds and "object" in items.kinds:
        return mapping_of({"key": TEXT, "value": UNKNOWN})
    return UNKNOWN
