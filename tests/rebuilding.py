"""From a document to the calls that write it: every verb by its method, every word by its argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowctl.building import Steps, Workflow
from flowctl.building.steps import METHODS
from flowctl.document.structure import verb_of

PYTHONS = frozenset({"if", "as", "with", "finally", "try", "while", "return", "else"})
"""Words that Python keeps for itself."""

Data = Mapping[str, Any]


def rebuilt(document: Data) -> Workflow:
    """A workflow written by calls that says what the document says."""
    head = ("version", "description", "deprecated", "timeout", "on_failure")
    made = Workflow(document["name"], **{key: document[key] for key in head if key in document})
    if "input" in document:
        made.input(document["input"])
    for name, signal in document.get("signals", {}).items():
        made.signal(name, **(signal or {}))
    if "secrets" in document:
        made.secrets(*document["secrets"])
    if "defaults" in document:
        made.defaults(**document["defaults"])
    for name, entry in document.get("activities", {}).items():
        made.entry(name, **_inside(entry))
    if "output" in document:
        made.output(document["output"])
    if "output_schema" in document:
        made.output(document["output"], document["output_schema"])
    _write(made, document["steps"])
    return made


def steps(written: Sequence[Data]) -> Steps:
    """A list of steps, by calls."""
    made = Steps()
    _write(made, written)
    return made


def _write(made: Steps, written: Sequence[Data]) -> None:
    for step in written:
        verb = verb_of(step)
        assert verb is not None
        given, words = _ARGUMENTS[verb](step[verb], {key: step[key] for key in step if key != verb})
        getattr(made, METHODS[verb])(*given, **_arguments(_inside(words)))


def _arguments(words: Data) -> dict[str, Any]:
    return {f"{word}_" if word in PYTHONS else word: value for word, value in words.items()}


def _inside(words: Data) -> dict[str, Any]:
    """Words with the steps in them rebuilt."""
    return {word: _word(word, value) for word, value in words.items()}


def _word(word: str, value: Any) -> Any:
    if word in ("finally", "steps", "else"):
        return steps(value)
    if word == "catch" and isinstance(value, list):
        return [_inside(each) for each in value]
    if word in ("catch", "compensate") and isinstance(value, dict):
        return _inside(value)
    return value


Call = tuple[Sequence[Any], dict[str, Any]]


def _named(value: Any, words: dict[str, Any]) -> Call:
    """What has its id first, and perhaps arguments."""
    return (words.pop("id"), value), words


def _plain(value: Any, words: dict[str, Any]) -> Call:
    return (value,), words


def _spread(value: Any, words: dict[str, Any]) -> Call:
    return (), {**value, **words}


def _block(value: Any, words: dict[str, Any]) -> Call:
    return (steps(value),), words


def _loop(value: Any, words: dict[str, Any]) -> Call:
    return (value, steps(words.pop("steps"))), words


def _signals(value: Any, words: dict[str, Any]) -> Call:
    return (value if isinstance(value, list) else [value]), words


def _sent(value: Any, words: dict[str, Any]) -> Call:
    return (words.pop("id"),), {**value, **words}


def _sleep(value: Any, words: dict[str, Any]) -> Call:
    return _spread(value, words) if isinstance(value, dict) else _plain(value, words)


def _branches(value: Any, words: dict[str, Any]) -> Call:
    branches = {
        name: steps(each) if isinstance(each, list) else _inside(each) for name, each in value.items()
    }
    return (branches,), words


def _cases(value: Any, words: dict[str, Any]) -> Call:
    cases = [(case["if"], steps(case["steps"])) for case in value if "if" in case]
    other = [case["else"] for case in value if "else" in case]
    return cases, {**words, **({"else": other[0]} if other else {})}


def _patch(value: Any, words: dict[str, Any]) -> Call:
    bounds = {key: value[key] for key in value if key != "id"}
    return (value["id"],), {**bounds, **words}


def _rollback(value: Any, words: dict[str, Any]) -> Call:
    return (), words if value == "all" else {**value, **words}


_ARGUMENTS = {
    "activity": _named,
    "sleep": _sleep,
    "wait_for_signal": _signals,
    "send_signal": _sent,
    "steps": _block,
    "parallel": _branches,
    "foreach": _loop,
    "while": _loop,
    "until": _loop,
    "switch": _cases,
    "try": _block,
    "workflow": _named,
    "set": _plain,
    "patch": _patch,
    "attributes": _spread,
    "fail": _spread,
    "return": _plain,
    "continue_as_new": _spread,
    "rollback": _rollback,
}
