"""What a schema cannot say: meaning that spans several parts of a document.

Each check looks at one rule of the language and reports what breaks it: here those of steps in general, of
names, attributes and compensations; in ``verb_checks`` those of each verb. All of them see documents whose
shape may be wrong too, because an author wants every mistake at once; so they look, and never assume.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flowctl.document.diagnostics import shown
from flowctl.document.effect_checks import check_effects
from flowctl.document.json_schema import MAX_WEIGHT, schema_problems, weight
from flowctl.document.places import Pointer
from flowctl.document.policy_checks import check_policy
from flowctl.document.schema import name_of
from flowctl.document.schema_checks import check_keywords
from flowctl.document.structure import VERBS, compensating_steps, mapping, parts_of, verb_of
from flowctl.document.subject import Inside, Subject, duration
from flowctl.document.verb_checks import check_activity, check_reference, check_registered, check_verb
from flowctl.path import reserved

_MADE_UP = re.compile(rf"_({'|'.join(VERBS)})[0-9]+\Z")
"""The segments of steps without an id."""

_EXCLUSIVE: tuple[tuple[str, str, str], ...] = (
    ("irreversible", "compensate", "what cannot be undone has no compensation"),
    ("optional", "on_failure", "the failure of an optional step neither undoes nor holds the run"),
)
"""Attributes that exclude each other, and why."""

_NOT_IN_AN_UNDO: Mapping[str, str] = {
    "compensate": "which is not undone itself",
    "irreversible": "which is not undone itself",
    "pivot": "where nothing is registered that it could drop",
    "commit": "which no replay serves",
    "on_failure": "which has its own 'on_failure'",
}
"""Attributes that mean nothing on a step of a compensation, and why."""

_ANSWERED = frozenset({"activity", "workflow", "send_signal", "wait_for_signal", "sleep"})
"""Verbs whose recorded result a replay can serve, so that ``commit`` has something to say."""

_ATTEMPTED = frozenset({"activity", "workflow"})
"""Verbs with attempts, which can begin and not complete."""


def check_meaning(subject: Subject) -> None:
    """Report what is wrong in the meaning of a document."""
    _Checks(subject).document()


class _Checks:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.data = subject.data
        self.report = subject.report

    def document(self) -> None:
        self.schemas()
        defaults = self.data.get("defaults")
        if isinstance(defaults, dict):
            check_policy(self.subject, defaults, ("defaults",), "'defaults'")
        if duration(self.data.get("timeout")) == 0:
            self.report.error("BadValue", ("timeout",), "a timeout of nothing: no run could ever end in time")
        for name, entry in self.subject.entries.items():
            if isinstance(entry, dict):
                self.entry(name, entry)
        self.steps(self.data.get("steps"), ("steps",), {}, Inside())

    def schemas(self) -> None:
        """What the document brings along must be JSON Schemas that can be applied."""
        places: list[tuple[Pointer, Any]] = [
            ((name,), self.data.get(name)) for name in ("input", "output_schema")
        ]
        for name, signal in self.subject.signals.items():
            places.append((("signals", name, "payload"), mapping(signal).get("payload")))
        left = MAX_WEIGHT
        for pointer, schema in places:
            left -= weight(schema)
            if left < 0:
                message = f"the schemas of the document are too large (limit: {MAX_WEIGHT:,} keywords)"
                hint = "use fewer keywords, and patterns above all"
                self.report.error("TooLarge", pointer, message, hint=hint)
                return
            self.schema(schema, pointer)

    def schema(self, schema: Any, pointer: Pointer) -> None:
        if not isinstance(schema, dict):
            return
        problems = [*schema_problems(schema)]
        for relative, problem in problems:
            self.report.error("BadSchema", pointer + relative, problem)
        if not problems:
            check_keywords(self.report, schema, pointer)
        if pointer == ("input",):
            if schema.get("type", "object") != "object":
                message = "an input is always a mapping: 'type: object'"
                self.report.error("BadSchema", ("input", "type"), message)
            elif not problems:
                self.subject.input_schema = schema

    def entry(self, name: str, entry: Mapping[str, Any]) -> None:
        what = f"the activity {shown(name)}"
        check_registered(self.subject, entry.get("uses"), ("activities", name, "uses"))
        check_policy(self.subject, entry, ("activities", name), what)
        self.compensate(entry, ("activities", name), what, "activity")

    # --- steps

    def steps(self, steps: Any, pointer: Pointer, ids: dict[str, Pointer], inside: Inside) -> None:
        """A list of steps. ``ids`` are those of its scope."""
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if isinstance(step, dict):
                self.step(step, (*pointer, index), ids, inside)

    def step(
        self, step: Mapping[str, Any], pointer: Pointer, ids: dict[str, Pointer], inside: Inside
    ) -> None:
        name = name_of(step, pointer)
        verb = verb_of(step)
        self.name(step, verb, pointer, ids, name)
        if verb is None:
            return
        self.contradictions(step, verb, pointer, name, inside)
        check_policy(self.subject, step, pointer, name, bounded=not inside.undoing)
        check_verb(self.subject, step, verb, pointer, name, inside)
        if verb == "activity" and not inside.undoing:
            check_effects(self.subject, step, pointer, name)
        for relative, steps in parts_of(step, verb):
            scope = {} if VERBS[verb].scope else ids
            self.steps(steps, pointer + relative, scope, _within(step, verb, relative, inside))
        self.compensate(step, pointer, name, verb, undoing=inside.undoing)

    def name(
        self, step: Mapping[str, Any], verb: str | None, pointer: Pointer, ids: dict[str, Pointer], name: str
    ) -> None:
        chosen = step.get("id")
        if not isinstance(chosen, str):
            if chosen is None and verb is not None and VERBS[verb].effect:
                message = f"{name} needs an 'id': '{verb}' has an effect, and the id names it in the journal"
                hint = "write 'id: …', such as " + _proposal(step, verb)
                self.report.error("MissingKey", pointer, message, hint=hint)
            return
        place = (*pointer, "id")
        if reserved(chosen) or _MADE_UP.match(chosen):
            self.report.error(
                "ReservedId", place, f"the id {shown(chosen)} has a meaning in paths", hint="choose another"
            )
        elif chosen in ids:
            line = self.report.line(ids[chosen])
            self.report.error(
                "DuplicateId", place, f"the id {shown(chosen)} is taken", hint=f"by the step on line {line}"
            )
        else:
            ids[chosen] = place

    def contradictions(
        self, step: Mapping[str, Any], verb: str, pointer: Pointer, name: str, inside: Inside
    ) -> None:
        entry = mapping(self.subject.entries.get(str(step.get("activity"))))
        for one, other, why in _EXCLUSIVE:
            if _says(step, one) and step.get(other, entry.get(other, "none")) != "none":
                message = f"'{one}' and '{other}' exclude each other in {name}"
                self.contradiction(pointer, one, message, why)
        for key, why in _NOT_IN_AN_UNDO.items() if inside.undoing else ():
            if _says(step, key):
                self.contradiction(pointer, key, f"{name} is part of a compensation, {why}")
        if _says(step, "pivot") and inside.concurrent and not inside.undoing:
            message = f"the pivot {name} cannot stand where steps run at once"
            self.contradiction(pointer, "pivot", message, "others could register a compensation meanwhile")
        if _says(step, "commit") and verb not in _ANSWERED:
            message = f"'commit' means nothing on '{verb}' in {name}"
            hint = f"only steps that ask the world can be served again: {', '.join(sorted(_ANSWERED))}"
            self.contradiction(pointer, "commit", message, hint)

    def contradiction(self, pointer: Pointer, key: str, message: str, hint: str | None = None) -> None:
        self.report.error("Contradiction", (*pointer, key), message, hint=hint, key=True)

    # --- compensations

    def compensate(
        self, holder: Mapping[str, Any], pointer: Pointer, name: str, verb: str, *, undoing: bool = False
    ) -> None:
        """The ``compensate`` of a step or an entry."""
        compensate, place = holder.get("compensate"), (*pointer, "compensate")
        if compensate == "rollback" and verb != "workflow":
            message = f"'rollback' undoes a child, and {name} runs none"
            self.report.error("BadValue", place, message, hint="write 'compensate: {activity: NAME}'")
        if not isinstance(compensate, dict) or undoing:
            return
        self.way(compensate, place, name)
        check_policy(self.subject, compensate, place, f"'compensate' of {name}", bounded=False)
        if compensate.get("after") == "attempted" and verb not in _ATTEMPTED:
            message = f"'after: attempted' does nothing in {name}: '{verb}' has no attempts"
            self.report.warning("NoEffect", (*place, "after"), message, key=True)
        for relative, steps in compensating_steps(holder):
            self.steps(steps, pointer + relative, {}, Inside(undoing=True))

    def way(self, compensate: Mapping[str, Any], place: Pointer, name: str) -> None:
        """How a compensation undoes: in exactly one way."""
        ways = [way for way in ("activity", "workflow", "steps") if way in compensate]
        if not ways:
            message = f"'compensate' of {name} does not say how"
            self.report.error("MissingKey", place, message, hint="write 'activity: NAME'")
        elif len(ways) > 1:
            message = f"'compensate' of {name} has both '{ways[0]}' and '{ways[1]}'"
            self.contradiction(place, ways[1], message)
        elif ways == ["activity"]:
            check_activity(self.subject, compensate["activity"], (*place, "activity"))
        elif ways == ["workflow"]:
            check_reference(self.subject, compensate["workflow"], (*place, "workflow"))
        else:
            self.compensating_list(compensate, place)

    def compensating_list(self, compensate: Mapping[str, Any], place: Pointer) -> None:
        for key in sorted({"with", "retry"} & compensate.keys()):
            message = f"'{key}' belongs to an activity, and this compensation is a list of steps"
            self.contradiction(place, key, message, "each of the steps has its own")


def _within(step: Mapping[str, Any], verb: str, relative: Pointer, around: Inside) -> Inside:
    """What the steps of this part of a step stand in."""
    several = verb == "foreach" and step.get("concurrency", 1) != 1
    return around._replace(
        cleaning=around.cleaning or relative[0] == "finally",
        concurrent=around.concurrent or verb == "parallel" or several,
    )


def _says(step: Mapping[str, Any], key: str) -> bool:
    """Whether an attribute is there and says something."""
    return step.get(key) not in (None, False, "none")


def _proposal(step: Mapping[str, Any], verb: str) -> str:
    """An id for a step without one, from what it calls."""
    called = step[verb] if isinstance(step[verb], str) else verb
    called = re.sub(r"(@[0-9]+|\.(ya?ml|json))\Z", "", called.lower())
    words = [*filter(None, re.split(r"[^a-z0-9_]+", called)), "call"]
    return f"'id: {words[-2] if len(words) > 1 else words[0]}'"
