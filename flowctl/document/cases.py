"""The shape of test files, ``*.test.yaml``: ``test.schema.json``, applied part by part.

As with documents, each message is about one mapping of the author's: a case, a mock, an answer. The code
walks to these parts by ``_PARTS`` and leaves them out of what is around them. What a test file means, which
workflow it is about above all, is looked at by ``testing``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowctl.document import vocabulary
from flowctl.document.diagnostics import MAX_SHOWN, Report, shown
from flowctl.document.loader import read_tree
from flowctl.document.places import Pointer
from flowctl.document.quick import surely_fits
from flowctl.document.schema import inlined, schema, subject_of, validator
from flowctl.document.sentences import Finding, findings
from flowctl.document.source import text_of
from flowctl.document.structure import mapping
from flowctl.values import kind_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SUFFIXES = (".test.yaml", ".test.yml")
"""How the names of test files end."""

Parts = Iterator[tuple[str, Pointer, Any]]
"""Kinds of parts, with their place in the part around them, and what stands there."""


BEGINS = "'workflow: ./FILE.yaml' and 'cases:'"


def read_tests(source: bytes | str, file: str) -> tuple[Any, Report]:
    """The data of a test file, and what is wrong with its shape. ``InvalidDocument`` if it is not YAML."""
    tree, refused = read_tree(text_of(source, file), file, BEGINS)
    report = Report(tree, refused)
    if isinstance(tree.data, dict):
        _check("file", tree.data, (), "the file", report)
    else:
        message = f"a test file is a mapping, not {kind_of(tree.data)}"
        report.error("WrongType", (), message, hint=f"it begins with {BEGINS}")
    return tree.data, report


# --- the parts


def _each(kind: str, key: str) -> Callable[[Mapping[str, Any]], Parts]:
    """The items of the list, or the values of the mapping, that stands under a key."""

    def parts(value: Mapping[str, Any]) -> Parts:
        inside = value.get(key)
        pairs: Sequence[tuple[Any, Any]] = ()
        if isinstance(inside, dict):
            pairs = list(inside.items())
        elif isinstance(inside, list):
            pairs = list(enumerate(inside))
        for name, item in pairs:
            yield kind, (key, name), item

    return parts


def _one(kind: str, key: str) -> Callable[[Mapping[str, Any]], Parts]:
    def parts(value: Mapping[str, Any]) -> Parts:
        if key in value:
            yield kind, (key,), value[key]

    return parts


_PARTS: Mapping[str, tuple[Callable[[Mapping[str, Any]], Parts], ...]] = {
    "file": (_each("mock", "mocks"), _each("effect", "effects"), _each("case", "cases")),
    "case": (
        _each("mock", "mocks"),
        _each("event", "events"),
        _each("failure", "failures"),
        _one("expect", "expect"),
    ),
    "mock": (_each("answers", "at"), _each("answers", "calls")),
}
"""Where parts of other kinds stand, by kind. In ``mock`` and ``answers`` there can be a list of ``act``."""

_LISTED = frozenset({"mock", "answers"})

_EXCLUSIVE: Mapping[str, tuple[str, ...]] = {
    "event": ("signal", "cancel", "lose_worker", "pause", "unpause", "terminate", "retry"),
    "failure": ("raise", "time_out", "lose_worker", "cancel"),
}
"""Of these keys exactly one says what happens."""

_TOGETHER: Mapping[str, Mapping[str, str]] = {
    "event": dict.fromkeys(("payload", "dedup_id"), "signal"),
    "act": dict.fromkeys(("message", "details", "types"), "raise"),
    "mock": dict.fromkeys(("message", "details", "types"), "raise"),
    "answers": dict.fromkeys(("message", "details", "types"), "raise"),
}
"""Keys that mean something beside another one only."""


@functools.cache
def _shape(kind: str) -> dict[str, Any]:
    whole = schema("test")
    definitions = whole.pop("$defs")
    part = whole if kind == "file" else definitions["act" if kind == "answers" else kind]
    made: dict[str, Any] = inlined(
        part, definitions, cut=("case", "mock", "act", "answers", "event", "failure", "expect", "effect")
    )
    return made


@functools.cache
def _validator(kind: str) -> Validator:
    return validator(_shape(kind))


def _check(kind: str, value: Any, pointer: Pointer, name: str, report: Report) -> None:
    """Report what does not fit in a part, and in the parts inside it."""
    if kind in _LISTED and isinstance(value, list):
        if not value:
            report.error("BadValue", pointer, f"{name} has no answer")
        for index, act in enumerate(value):
            _check("act", act, (*pointer, index), f"answer {index + 1} of {name}", report)
        return
    if not isinstance(value, dict):
        hint = "nothing stands after the ':'" if value is None else None
        report.error("WrongType", pointer, f"{name} must be a mapping, not {kind_of(value)}", hint=hint)
        return
    if not surely_fits(_shape(kind), value):
        _explain(kind, value, pointer, name, report)
    _check_keys(kind, value, pointer, name, report)
    for find in _PARTS.get(kind, ()):
        for inner, relative, item in find(value):
            _check(inner, item, pointer + relative, _name(inner, relative, item, name), report)


def _explain(kind: str, value: dict[str, Any], pointer: Pointer, name: str, report: Report) -> None:
    errors = _validator(kind).iter_errors(value)
    found = list(itertools.islice((f for error in errors for f in findings(error)), MAX_SHOWN))
    misspelt = {vocabulary.meant(str(f.pointer[-1]), f.known) for f in found if f.kind == "unknown"}
    for finding in dict.fromkeys(found):
        place = pointer + finding.pointer
        around = subject_of(finding.pointer[:-1], name) if finding.pointer else name
        last = str(finding.pointer[-1]) if finding.pointer else ""
        if finding.kind == "unknown":
            _unknown(kind, finding, place, around, report)
        elif finding.kind == "missing":
            if last not in misspelt:
                message = f"{shown(last)} is missing in {around}"
                report.error("MissingKey", place[:-1], message, hint=_MISSING.get(last))
        else:
            code = "WrongType" if finding.kind == "type" else "BadValue"
            hint = "nothing stands after the ':'" if finding.what.endswith("not null") else None
            subject = subject_of(finding.pointer, name)
            report.error(code, place, f"{subject} {finding.what}", hint=hint, key=finding.key)


def _unknown(kind: str, finding: Finding, place: Pointer, around: str, report: Report) -> None:
    key = str(finding.pointer[-1])
    foreign = f"test_{kind}" if len(finding.pointer) == 1 else ""
    hint = vocabulary.hint(key, foreign, finding.known)
    instead = vocabulary.instead(key, foreign, finding.known)
    fix = (key, instead) if instead is not None else None
    report.error("UnknownKey", place, f"unknown key {shown(key)} in {around}", hint=hint, key=True, fix=fix)


def _check_keys(kind: str, value: Mapping[str, Any], pointer: Pointer, name: str, report: Report) -> None:
    """Report keys that exclude each other, or mean nothing alone."""
    one_of = _EXCLUSIVE.get(kind, ())
    written = [key for key in one_of if key in value]
    if one_of and not written:
        listed = ", ".join(one_of[:-1]) + f" or {one_of[-1]}"
        report.error("MissingKey", pointer, f"{name} does not say what happens", hint=f"write {listed}")
    for key in written[1:]:
        message = f"'{key}' and '{written[0]}' exclude each other in {name}"
        report.error("Contradiction", (*pointer, key), message, key=True)
    for key, other in _TOGETHER.get(kind, {}).items():
        if key in value and other not in value:
            message = f"'{key}' says nothing without '{other}' in {name}"
            report.error("Contradiction", (*pointer, key), message, key=True)
    for key, other in (("raise", "return"), ("hang", "after"), ("attempt", "attempts")):
        if key in value and other in value:
            message = f"'{key}' and '{other}' exclude each other in {name}"
            report.error("Contradiction", (*pointer, key), message, key=True)


_MISSING = {
    "workflow": "the document that is tested: write 'workflow: ./FILE.yaml'",
    "cases": "the tests: write 'cases:', a list",
    "case": "a sentence about what holds: write 'case: …'",
    "at": "when it happens, counted from the start of the run: write 'at: 5s'",
    "step": "the path of the step at which it happens: write 'step: …'",
    "done_by": "the activity that does it: write 'done_by: NAME'",
}


def _name(kind: str, relative: Pointer, value: Any, around: str) -> str:
    """What a part is called in messages."""
    last = relative[-1]
    number = last + 1 if isinstance(last, int) else 0
    if kind == "case":
        case = mapping(value).get("case")
        return f"the case {shown(case, 50)}" if isinstance(case, str) else f"case {number}"
    if kind == "answers":
        return f"{shown(last, 40)} in 'at' of {around}" if not number else f"call {number} of {around}"
    within = "" if around == "the file" else f" of {around}"
    if kind == "expect":
        return f"'expect'{within}"
    return f"{kind} {number}{within}" if number else f"the {kind} {shown(last, 40)}{within}"
