"""The JSON Schema for editors of one project: with the names of its activities and their arguments.

The published schema lets an activity have any name and any arguments. Here each that is installed adds its
name, to be completed, and one ``if/then`` with its arguments, wherever an activity is called. Nothing is
forbidden by it: an entry of the document, or an activity of another installation, is a name as well, and
``validate`` says what is wrong. So a schema that was written down last week does no harm.

An argument may always be an expression instead of what its annotation says, at any depth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

_DEFINITIONS = "#/$defs/"
_EXPRESSION = {"type": "string", "pattern": "\\$\\{\\{"}
_WHOLE = {"type": "string", "pattern": "^\\s*\\$\\{\\{[\\s\\S]*\\}\\}\\s*$"}
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties")
_PARTS = ("items", "additionalProperties")


def with_activities(schema: Mapping[str, Any], activities: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The published ``schema`` with activities, as ``activities.describe`` describes them."""
    made = copy.deepcopy(dict(schema))
    definitions = made["$defs"]
    described = sorted(activities, key=lambda activity: str(activity["name"]))
    if not described:
        return made
    any_name = definitions["activity_name"]
    names = [{"const": each["name"], "description": _text(each)} for each in described]
    definitions["activity_name"] = {
        "description": any_name["description"],
        "examples": any_name["examples"],
        "anyOf": [*names, any_name],
    }
    definitions["entry"]["properties"]["uses"] = {"$ref": f"{_DEFINITIONS}activity_name"}
    calls = [_call(each["name"]) for each in described]
    for holder in (definitions["activity_step"], definitions["compensate"]["anyOf"][1]):
        holder["allOf"] = calls
    for each in described:
        definitions.update(_arguments(each))
    return made


def _call(name: str) -> dict[str, Any]:
    """Whoever calls this activity gives it these arguments."""
    return {
        "if": {"required": ["activity"], "properties": {"activity": {"const": name}}},
        "then": {"properties": {"with": {"$ref": f"{_DEFINITIONS}{_place(name)}"}}},
    }


def _place(name: str, inner: str = "arguments") -> str:
    return f"activity {name} {inner}".replace(" ", ":")


def _arguments(activity: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions of one activity: its arguments, and those that their schemas refer to."""
    name, definitions, properties = activity["name"], {}, {}
    for parameter in activity["parameters"]:
        schema = dict(parameter["schema"])
        for inner, part in schema.pop("$defs", {}).items():
            definitions[_place(name, inner)] = _relaxed(part, name)
        default = {} if parameter["required"] else {"default": parameter["default"]}
        properties[parameter["name"]] = {**default, **_or_expression(_relaxed(schema, name))}
    definitions[_place(name)] = {
        "description": _text(activity),
        "anyOf": [
            {
                "type": "object",
                "properties": properties,
                "required": [each["name"] for each in activity["parameters"] if each["required"]],
                "additionalProperties": activity["additional"],
            },
            _WHOLE,
        ],
    }
    return definitions


def _relaxed(schema: Any, name: str) -> Any:
    """A schema in which every part may be an expression, and whose references lead to where it is now."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    if "$ref" in made:
        made["$ref"] = _DEFINITIONS + _place(name, made["$ref"].removeprefix(_DEFINITIONS))
    for key in _LISTS:
        if key in made:
            made[key] = [_relaxed(part, name) for part in made[key]]
    for key in _MAPS:
        if key in made:
            made[key] = {inner: _or_expression(_relaxed(part, name)) for inner, part in made[key].items()}
    for key in _PARTS:
        if isinstance(made.get(key), dict):
            made[key] = _or_expression(_relaxed(made[key], name))
    return made


def _or_expression(schema: Any) -> Any:
    """The same, or an expression; as it is where any text will do."""
    if (
        schema == {}
        or not isinstance(schema, dict)
        or (schema.keys() <= {"type"} and schema["type"] == "string")
    ):
        return schema
    return {"anyOf": [schema, _EXPRESSION]}


def _text(activity: Mapping[str, Any]) -> str:
    """What an editor shows beside a name: its arguments, and what its author says."""
    arguments = [each["name"] if each["required"] else f"{each['name']}?" for each in activity["parameters"]]
    call = f"{activity['name']}({', '.join([*arguments, *(['…'] if activity['additional'] else [])])})"
    return "\n\n".join(filter(None, (call, activity["doc"])))
