"""The shape of documents: ``workflow.schema.json``, applied verb by verb.

The published schema describes the whole language with one ``if/then`` per verb. Applied as it stands, it
takes seconds and says that a step "is not valid under any of the given schemas". So the code looks for the
verb, takes that verb's entry of ``$defs``, and validates one step at a time, without the steps inside it,
which come by themselves. Then every message is about one mapping of the author's, and a thousand steps cost a
fraction of a second.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from flowctl.clock import parse_duration
from flowctl.document import vocabulary
from flowctl.document.diagnostics import MAX_SHOWN, Report, shown
from flowctl.document.json_schema import unique_items
from flowctl.document.places import Pointer
from flowctl.document.quick import DURATION, surely_fits
from flowctl.document.sentences import Finding, findings
from flowctl.document.spelling import closest
from flowctl.document.structure import LOOPS, VERBS, compensating_steps, parts_of, verbs_of
from flowctl.values import kind_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_REFERENCE = "#/$defs/"
_CUT = "steps"
"""The definition that is left out of every entry: lists of steps are walked by ``_Shape``."""


def schema(name: str = "workflow") -> dict[str, Any]:
    """The published JSON Schema of documents, or another one."""
    loaded: dict[str, Any] = json.loads(_schemas().joinpath(f"{name}.schema.json").read_text("utf-8"))
    return loaded


def _schemas() -> Traversable:
    """The folder of schemas: inside the package when installed, beside it in a checkout."""
    package = files("flowctl")
    inside = package.joinpath("schemas")
    return inside if inside.is_dir() else package.joinpath("..", "schemas")


@functools.cache
def _shapes() -> Mapping[str, dict[str, Any]]:
    """The schema of each verb, and that of the document around the steps (the empty name)."""
    whole = schema()
    definitions = whole.pop("$defs")
    parts = {"": whole, **{verb: definitions[f"{verb}_step"] for verb in VERBS}}
    return {name: inlined(part, definitions) for name, part in parts.items()}


@functools.cache
def _validator(name: str) -> Validator:
    return validator(_shapes()[name])


def validator(shape: dict[str, Any]) -> Validator:
    """What finds the mistakes, where there are some: most parts plainly fit."""
    from jsonschema import Draft202012Validator, FormatChecker, validators

    # The stock keyword compares each item with each, if they are of several types.
    make = validators.extend(Draft202012Validator, {"uniqueItems": unique_items})  # type: ignore[no-untyped-call]
    formats = FormatChecker(formats=())
    formats.checks(DURATION, raises=ValueError)(_is_duration)
    made: Validator = make(shape, format_checker=formats)
    return made


def _is_duration(value: object) -> bool:
    if isinstance(value, str):
        parse_duration(value)
    return True


def inlined(node: Any, definitions: Mapping[str, Any], cut: Collection[str] = (_CUT,)) -> Any:
    """A schema without references and annotations. It ends because what is ``cut`` fits anything: whoever
    cuts it walks there, and only that recurs.
    """
    if isinstance(node, list):
        return [inlined(item, definitions, cut) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].removeprefix(_REFERENCE)
        return {} if name in cut else inlined(definitions[name], definitions, cut)
    if "anyOf" in node:  # a list of steps is one of the ways there are: of what is cut, that much is left
        ways = [{"type": "array"} if way.get("$ref") == _REFERENCE + _CUT else way for way in node["anyOf"]]
        node = node | {"anyOf": ways}
    if "format" in node:  # the pattern is for editors, who do not know the format
        node = {key: value for key, value in node.items() if key != "pattern"}
    return {
        key: inlined(value, definitions, cut) for key, value in node.items() if not _is_annotation(key, value)
    }


def _is_annotation(key: str, value: Any) -> bool:
    return (key == "description" and isinstance(value, str)) or (
        key == "examples" and isinstance(value, list)
    )


@functools.cache
def attributes() -> Mapping[str, frozenset[str]]:
    """What may stand in a step, by verb."""
    definitions = schema()["$defs"]
    return {verb: frozenset(definitions[f"{verb}_step"]["properties"]) for verb in VERBS}


def check_shape(data: Any, report: Report) -> None:
    """Report everything in a document that does not fit the schema."""
    _Shape(report).document(data)


class _Shape:
    def __init__(self, report: Report) -> None:
        self.report = report

    def document(self, data: Any) -> None:
        if not isinstance(data, dict):
            message = f"a document is a mapping, not {kind_of(data)}"
            self.report.error("WrongType", (), message, hint="it begins with 'dsl: 1' and 'name: …'")
            return
        self.validate("", data, (), "the document")
        if "steps" in data:
            self.steps(data["steps"], ("steps",))
        entries = data.get("activities")
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict):
                self.inner(compensating_steps(entry), ("activities", name))

    def steps(self, steps: Any, pointer: Pointer) -> None:
        if not isinstance(steps, list):
            message = f"'{pointer[-1]}' must be a list of steps, not {kind_of(steps)}"
            self.report.error("WrongType", pointer, message, hint="each step begins with '- '")
        elif not steps:
            self.report.error("BadValue", pointer, f"'{pointer[-1]}' has no step")
        else:
            for index, step in enumerate(steps):
                self.step(step, (*pointer, index))

    def inner(self, parts: Iterator[tuple[Pointer, Any]], pointer: Pointer) -> None:
        for relative, steps in parts:
            self.steps(steps, pointer + relative)

    def step(self, step: Any, pointer: Pointer) -> None:
        name = name_of(step, pointer)
        if not isinstance(step, dict):
            hint = "a step is written '- id: …' and 'activity: …' on lines of their own"
            self.report.error(
                "WrongType", pointer, f"{name} must be a mapping, not {kind_of(step)}", hint=hint
            )
            return
        found = verbs_of(step)
        loop = _misspelt_loop(step) if found == ["steps"] else None
        if loop is not None:
            meant, certainly = vocabulary.hint(loop, "", LOOPS), vocabulary.instead(loop, "", LOOPS)
            self.unknown_key((*pointer, loop), name, meant, certainly)
        elif len(found) == 1:
            self.validate(found[0], step, pointer, name)
        if len(found) == 1:
            self.inner(parts_of(step, found[0]), pointer)
        elif found:
            listed = " and ".join(f"'{verb}'" for verb in found)
            message = f"{name} has the verbs {listed}, and a step has exactly one"
            self.report.error(
                "VerbAmbiguous", (*pointer, found[1]), message, hint="make two steps of it", key=True
            )
        else:
            self.without_verb(step, pointer, name)
        self.inner(compensating_steps(step), pointer)

    def without_verb(self, step: dict[str, Any], pointer: Pointer, name: str) -> None:
        """A step without a verb has a misspelt one, or a word from elsewhere, or really none."""
        known = {*VERBS, *(key for allowed in attributes().values() for key in allowed)}
        unknown = [key for key in step if key not in known or key in vocabulary.FOREIGN["step"]]
        free = known - step.keys()
        for key in unknown:
            meant = VERBS.keys() if closest(key, VERBS) else free  # a verb is what is missing
            hint, instead = vocabulary.hint(key, "step", meant), vocabulary.instead(key, "step", free)
            self.unknown_key((*pointer, key), name, hint, instead or vocabulary.instead(key, "step", meant))
        if not unknown:
            hint = "such as 'activity', 'sleep', 'wait_for_signal', 'switch' or 'steps'"
            self.report.error("VerbMissing", pointer, f"{name} has no verb", hint=hint)

    def validate(self, verb: str, value: dict[str, Any], pointer: Pointer, name: str) -> None:
        if surely_fits(_shapes()[verb], value):
            return
        errors = _validator(verb).iter_errors(value)
        found = list(itertools.islice((f for error in errors for f in findings(error)), MAX_SHOWN))
        misspelt = {vocabulary.meant(str(f.pointer[-1]), f.known) for f in found if f.kind == "unknown"}
        for finding in dict.fromkeys(found):
            if finding.kind == "unknown":
                free = self.free(finding, value, verb)
                self.unknown(finding, pointer + finding.pointer, name, verb, free)
            elif finding.kind != "missing" or finding.pointer[-1] not in misspelt:
                self.say(finding, pointer, name)

    def say(self, finding: Finding, pointer: Pointer, name: str) -> None:
        subject = subject_of(finding.pointer, name)
        place = pointer + finding.pointer
        if finding.kind == "missing":
            around = subject_of(finding.pointer[:-1], name)
            message = f"{shown(finding.pointer[-1])} is missing in {around}"
            self.report.error(
                "MissingKey", place[:-1], message, hint=_MISSING_HINTS.get(str(finding.pointer[-1]))
            )
        else:
            code = "WrongType" if finding.kind == "type" else "BadValue"
            hint = "nothing stands after the ':'" if finding.what.endswith("not null") else None
            self.report.error(code, place, f"{subject} {finding.what}", hint=hint, key=finding.key)

    def unknown(self, finding: Finding, place: Pointer, name: str, verb: str, free: Collection[str]) -> None:
        """A key that is not possible there. ``free`` are those that are, and are not written already."""
        key = str(finding.pointer[-1])
        owners = [f"'{other}'" for other, allowed in attributes().items() if key in allowed and other != verb]
        around = subject_of(finding.pointer[:-1], name)
        if len(finding.pointer) == 1 and verb and owners and key not in VERBS:
            message = f"{shown(key)} is not possible on '{verb}' in {name}"
            hint = f"it belongs to {' and '.join(owners)}" if len(owners) <= 3 else None
            self.report.error("UnknownKey", place, message, hint=hint, key=True)
        else:
            kind = _kind(finding.pointer[:-1], verb)
            hint = vocabulary.hint(key, kind, free if vocabulary.meant(key, free) else finding.known)
            self.unknown_key(place, around, hint, vocabulary.instead(key, kind, free))

    def free(self, finding: Finding, value: Any, verb: str) -> list[str]:
        """The keys that are known where an unknown one stands, and are not written there already. Of several
        that are equally near in a step, those that can have its value.
        """
        *around, key = finding.pointer
        for part in around:
            value = value[part]
        free = [known for known in finding.known if known not in value]
        close = closest(str(key), free) if not around else []
        if len(close) < 2:
            return free
        schemas = _shapes()[verb]["properties"]
        return [word for word in close if surely_fits(schemas[word], value[key])] or free

    def unknown_key(self, place: Pointer, around: str, hint: str | None, instead: str | None) -> None:
        key = str(place[-1])
        fix = (key, instead) if instead is not None else None
        message = f"unknown key {shown(key)} in {around}"
        self.report.error("UnknownKey", place, message, hint=hint, key=True, fix=fix)


def _misspelt_loop(step: Mapping[str, Any]) -> str | None:
    """The key that should make a loop of a block, and is misspelt."""
    known = attributes()["steps"]
    return next((key for key in step if key not in known and closest(key, LOOPS)), None)


_MISSING_HINTS = {
    "dsl": "the version of the language: write 'dsl: 1'",
    "name": "write 'name: …', such as order",
}


def _kind(pointer: Pointer, verb: str) -> str:
    """The kind of mapping at ``pointer`` inside a step or document, for ``vocabulary``."""
    names = [part for part in pointer if isinstance(part, str)]
    if not names:
        return "step" if verb else "document"
    if names[-1] in ("retry", "compensate"):
        return names[-1]
    return "signal" if names[0] == "signals" else ""


def name_of(step: Any, pointer: Pointer) -> str:
    """What a step is called in messages: by its id, or by its place in its list."""
    if isinstance(step, dict) and isinstance(step.get("id"), str):
        return f"step {shown(step['id'], 40)}"
    number = pointer[-1]
    return f"step {number + 1 if isinstance(number, int) else number} of '{pointer[-2]}'"


def subject_of(pointer: Pointer, name: str) -> str:
    """A part of a step or document in a sentence: ``'attempts' in 'retry' of step 'charge'``."""
    if not pointer:
        return name
    *around, last = pointer
    if isinstance(last, int):
        last = f"item {last + 1} of {shown(around.pop())}" if around else f"item {last + 1}"
    else:
        last = shown(last)
    inside = f" in {shown(str(around[-1]))}" if around else ""
    return f"{last}{inside}" if name == "the document" else f"{last}{inside} of {name}"
