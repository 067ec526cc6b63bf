"""What a schema cannot say: meaning that spans several parts of a document.

Each check looks at one rule of the language and reports what breaks it. All of them see documents whose shape
may be wrong too, because an author wants every mistake at once; so they look, and never assume.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from flowctl.clock import format_duration, parse_duration, parse_timestamp
from flowctl.document.diagnostics import Report, shown
from flowctl.document.json_schema import MAX_WEIGHT, schema_problems, weight
from flowctl.document.places import Pointer
from flowctl.document.schema import name_of
from flowctl.document.structure import (
    DEFAULT_TIMEOUT,
    NOT_YET_ATTRIBUTES,
    NOT_YET_COMPENSATIONS,
    NOT_YET_VERBS,
    VERBS,
    compensating_steps,
    parts_of,
    verb_of,
)
from flowctl.expressions.hints import did_you_mean, nearest
from flowctl.path import reserved
from flowctl.retry import RetryPolicy

_LIMITS = ("timeout", "total_timeout", "heartbeat_timeout")

_MADE_UP = re.compile(rf"_({'|'.join(VERBS)})[0-9]+\Z")
"""The segments of steps without an id."""

_EXCLUSIVE: tuple[tuple[str, str, str], ...] = (
    ("irreversible", "compensate", "what cannot be undone has no compensation"),
    ("optional", "on_failure", "the failure of an optional step neither undoes nor holds the run"),
)
"""Attributes that exclude each other, and why."""

_PARTING = frozenset({"return", "continue_as_new"})
"""Verbs that end a run well, and so cannot stand where it is being undone."""


def check_meaning(data: Mapping[str, Any], report: Report, activities: Collection[str] | None) -> None:
    """Report what is wrong in the meaning of a document. ``activities`` are the registered names, None if
    unknown.
    """
    _Checks(data, report, activities).document()


class _Checks:
    def __init__(self, data: Mapping[str, Any], report: Report, activities: Collection[str] | None) -> None:
        self.data = data
        self.report = report
        self.entries = _mapping(data.get("activities"))
        self.registered = activities
        self.signals = _mapping(data.get("signals"))
        self.life = duration(data.get("timeout")) or parse_duration(DEFAULT_TIMEOUT)
        self.used: set[str] = set()
        self.awaited: set[str] = set()

    def document(self) -> None:
        self.schemas()
        defaults = self.data.get("defaults")
        if isinstance(defaults, dict):
            self.policy(defaults, ("defaults",), "'defaults'")
        if duration(self.data.get("timeout")) == 0:
            self.report.error("BadValue", ("timeout",), "a timeout of nothing: no run could ever end in time")
        for name, entry in self.entries.items():
            if isinstance(entry, dict):
                self.entry(name, entry)
        self.steps(self.data.get("steps"), ("steps",), {})
        self.unused()

    def schemas(self) -> None:
        """What the document brings along must be JSON Schemas that can be applied."""
        places: list[tuple[Pointer, Any]] = [
            ((name,), self.data.get(name)) for name in ("input", "output_schema")
        ]
        for name, signal in self.signals.items():
            places.append((("signals", name, "payload"), _mapping(signal).get("payload")))
        left = MAX_WEIGHT
        for pointer, schema in places:
            left -= weight(schema)
            if left < 0:
                message = f"the schemas of the document are too large (limit: {MAX_WEIGHT:,} keywords)"
                self.report.error(
                    "TooLarge", pointer, message, hint="use fewer keywords, and patterns above all"
                )
                return
            for relative, problem in schema_problems(schema) if isinstance(schema, dict) else ():
                self.report.error("BadSchema", pointer + relative, problem)
        if _mapping(self.data.get("input")).get("type", "object") != "object":
            self.report.error("BadSchema", ("input", "type"), "an input is always a mapping: 'type: object'")

    def entry(self, name: str, entry: Mapping[str, Any]) -> None:
        subject = f"the activity {shown(name)}"
        self.registered_name(entry.get("uses"), ("activities", name, "uses"))
        self.policy(entry, ("activities", name), subject)
        self.compensate(entry, ("activities", name), subject, "activity")

    # --- steps

    def steps(self, steps: Any, pointer: Pointer, ids: dict[str, Pointer], **inside: bool) -> None:
        """A list of steps. ``ids`` are those of its scope, ``inside`` says if it undoes or cleans up."""
        ended: str | None = None
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if not isinstance(step, dict):
                continue
            here = (*pointer, index)
            if ended is not None:
                message = f"{name_of(step, here)} can never run: {ended} ends everything before it"
                self.report.warning("Unreachable", here, message)
                ended = None  # one warning for all that follows
            self.step(step, here, ids, **inside)
            verb = verb_of(step)
            if (
                verb is not None
                and VERBS[verb].ends
                and "if" not in step
                and step.get("optional") is not True
            ):
                ended = f"'{verb}'"

    def step(
        self, step: Mapping[str, Any], pointer: Pointer, ids: dict[str, Pointer], **inside: bool
    ) -> None:
        name = name_of(step, pointer)
        verb = verb_of(step)
        self.name(step, verb, pointer, ids, name)
        if verb is None:
            return
        self.not_yet(step, verb, pointer, name)
        self.contradictions(step, pointer, name)
        self.policy(step, pointer, name, bounded=not inside.get("undoing"))
        self.of_verb(step, verb, pointer, name, **inside)
        for relative, steps in parts_of(step, verb):
            scope = {} if VERBS[verb].scope else ids
            cleaning = inside.get("cleaning", False) or relative[0] == "finally"
            self.steps(steps, pointer + relative, scope, **(inside | {"cleaning": cleaning}))
        self.compensate(step, pointer, name, verb, **inside)

    def name(
        self, step: Mapping[str, Any], verb: str | None, pointer: Pointer, ids: dict[str, Pointer], name: str
    ) -> None:
        chosen = step.get("id")
        if not isinstance(chosen, str):
            if chosen is None and verb is not None and VERBS[verb].effect:
                message = f"{name} needs an 'id': '{verb}' has an effect, and the id names it in the journal"
                self.report.error(
                    "MissingKey", pointer, message, hint="write 'id: …', such as " + _proposal(step, verb)
                )
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

    def not_yet(self, step: Mapping[str, Any], verb: str, pointer: Pointer, name: str) -> None:
        if verb in NOT_YET_VERBS:
            self.report.error(
                "NotExecutable", (*pointer, verb), f"'{verb}' is not executable yet in this version", key=True
            )
        for key in sorted(NOT_YET_ATTRIBUTES & step.keys()):
            message = f"'{key}' is not executable yet in this version"
            self.report.error("NotExecutable", (*pointer, key), message, key=True)

    def contradictions(self, step: Mapping[str, Any], pointer: Pointer, name: str) -> None:
        entry = _mapping(self.entries.get(str(step.get("activity"))))
        for one, other, why in _EXCLUSIVE:
            if step.get(one) not in (None, False) and step.get(other, entry.get(other, "none")) != "none":
                message = f"'{one}' and '{other}' exclude each other in {name}"
                self.report.error("Contradiction", (*pointer, one), message, hint=why, key=True)

    def policy(self, holder: Mapping[str, Any], pointer: Pointer, name: str, *, bounded: bool = True) -> None:
        """The durations and the retry of a step, an entry or the defaults. ``bounded``: they end with the
        run.
        """
        for key in _LIMITS:
            limit = duration(holder.get(key))
            if limit == 0 and "wait_for_signal" not in holder:  # which then takes what is there already
                self.report.error("BadValue", (*pointer, key), f"'{key}' of {name} is no time at all")
            elif bounded:
                self.within_life(limit, (*pointer, key), f"'{key}' of {name}")
        beat, attempt = duration(holder.get("heartbeat_timeout")), duration(holder.get("timeout"))
        if beat is not None and attempt is not None and beat >= attempt:
            message = f"'heartbeat_timeout' of {name} does nothing: its 'timeout' comes first"
            self.report.warning("NoEffect", (*pointer, "heartbeat_timeout"), message, key=True)
        retry = holder.get("retry")
        if isinstance(retry, dict):
            self.retry(retry, (*pointer, "retry"), name)

    def retry(self, retry: Mapping[str, Any], pointer: Pointer, name: str) -> None:
        delay, most = duration(retry.get("delay")), duration(retry.get("max_delay"))
        longest = most if most is not None else RetryPolicy().max_delay
        if delay is not None and delay > longest:
            message = f"{name} waits {format_duration(longest)}, its 'max_delay', and not its longer 'delay'"
            hint = "write 'max_delay' too" if most is None else None
            self.report.warning("NoEffect", (*pointer, "delay"), message, hint=hint, key=True)
        if "factor" in retry and retry.get("backoff", "exponential") != "exponential":
            message = f"'factor' does nothing in {name}: its 'backoff' is not exponential"
            self.report.warning("NoEffect", (*pointer, "factor"), message, key=True)

    def within_life(self, limit: int | None, pointer: Pointer, what: str) -> None:
        if limit is not None and limit > self.life:
            life = format_duration(self.life)
            hint = "" if "timeout" in self.data else ", the default; set 'timeout' at the top of the document"
            message = f"{what} is longer than the run's timeout"
            self.report.error("TooLong", pointer, message, hint=f"a run lives {life} at most{hint}")

    # --- verbs

    def of_verb(
        self, step: Mapping[str, Any], verb: str, pointer: Pointer, name: str, **inside: bool
    ) -> None:
        if verb == "activity":
            self.activity(step["activity"], (*pointer, "activity"))
        elif verb == "sleep":
            self.sleep(step, pointer, name, bounded=not inside.get("undoing"))
        elif verb == "wait_for_signal":
            self.wait_for_signal(step, pointer, name)
        elif verb == "switch":
            self.switch(step["switch"], (*pointer, "switch"))
        elif verb == "try" and "catch" not in step and "finally" not in step:
            self.report.error("MissingKey", pointer, f"{name} has neither 'catch' nor 'finally'")
        elif verb in _PARTING and (inside.get("undoing") or inside.get("cleaning")):
            where = "a compensation" if inside.get("undoing") else "'finally'"
            self.report.error(
                "Contradiction", (*pointer, verb), f"'{verb}' cannot stand in {where}", key=True
            )

    def activity(self, name: Any, pointer: Pointer) -> None:
        """An activity that is called: an entry of the document, or a registered one."""
        if isinstance(name, str) and name in self.entries:
            self.used.add(name)
        else:
            self.registered_name(name, pointer, self.entries)

    def registered_name(self, name: Any, pointer: Pointer, besides: Collection[str] = ()) -> None:
        if isinstance(name, str) and self.registered is not None and name not in self.registered:
            hint = did_you_mean(name, [*self.registered, *besides]) or "is its plugin installed?"
            self.report.error(
                "UnknownActivity", pointer, f"no plugin registers the activity {shown(name)}", hint=hint
            )

    def sleep(self, step: Mapping[str, Any], pointer: Pointer, name: str, *, bounded: bool) -> None:
        sleep = step["sleep"]
        until = sleep.get("until") if isinstance(sleep, dict) else None
        if isinstance(until, str) and "${{" not in until:
            try:
                parse_timestamp(until)
            except ValueError as error:
                self.report.error("BadValue", (*pointer, "sleep", "until"), str(error))
        if not isinstance(sleep, str) or "${{" in sleep:
            return
        length = duration(sleep)
        if length is None:
            self.report.error("BadValue", (*pointer, "sleep"), _why_no_duration(sleep))
            return
        if bounded:
            self.within_life(length, (*pointer, "sleep"), f"'sleep' of {name}")
        timeout = duration(step.get("timeout"))
        if timeout is not None and length > timeout:
            message = f"{name} always fails: its 'sleep' is longer than its 'timeout'"
            self.report.warning("NoEffect", (*pointer, "sleep"), message, key=True)

    def wait_for_signal(self, step: Mapping[str, Any], pointer: Pointer, name: str) -> None:
        written = step["wait_for_signal"]
        names = written if isinstance(written, list) else [written]
        for index, signal in enumerate(names):
            if not isinstance(signal, str):
                continue
            self.awaited.add(signal)
            if signal not in self.signals:
                near = nearest(signal, self.signals)
                hint = (
                    f"did you mean {near!r}?" if near else f"declare it: 'signals: {{{signal[:40]}: {{}}}}'"
                )
                place = (*pointer, "wait_for_signal", *([index] if written is names else []))
                message = f"the signal {shown(signal)} is not declared under 'signals'"
                self.report.error("UndeclaredSignal", place, message, hint=hint)
        if "on_timeout" in step and "timeout" not in step:
            message = f"'on_timeout' does nothing in {name}, which has no 'timeout'"
            self.report.warning("NoEffect", (*pointer, "on_timeout"), message, key=True)

    def switch(self, cases: Any, pointer: Pointer) -> None:
        for index, case in enumerate(cases if isinstance(cases, list) else ()):
            if not isinstance(case, dict) or "else" not in case:
                continue
            if "if" in case or "steps" in case:
                message = "a case has either 'if' and 'steps', or 'else'"
                self.report.error("Contradiction", (*pointer, index, "else"), message, key=True)
            if index < len(cases) - 1:
                self.report.error(
                    "Contradiction", (*pointer, index, "else"), "'else' is the last case", key=True
                )

    # --- compensations

    def compensate(
        self, holder: Mapping[str, Any], pointer: Pointer, name: str, verb: str, **inside: bool
    ) -> None:
        """The ``compensate`` of a step or an entry."""
        compensate, place = holder.get("compensate"), (*pointer, "compensate")
        if compensate in (None, "none"):
            return
        if inside.get("undoing"):
            message = f"{name} is part of a compensation, which is not undone itself"
            self.report.error("Contradiction", place, message, key=True)
        if compensate == "rollback":
            self.not_yet_compensation("rollback", place)
        if not isinstance(compensate, dict):
            return
        ways = [way for way in ("activity", "workflow", "steps") if way in compensate]
        if not ways:
            self.report.error(
                "MissingKey", place, f"'compensate' of {name} does not say how", hint="write 'activity: NAME'"
            )
        elif len(ways) > 1:
            message = f"'compensate' of {name} has both '{ways[0]}' and '{ways[1]}'"
            self.report.error("Contradiction", (*place, ways[1]), message, key=True)
        elif ways == ["workflow"]:
            self.not_yet_compensation("workflow", (*place, "workflow"))
        elif ways == ["activity"]:
            self.activity(compensate["activity"], (*place, "activity"))
        else:
            self.compensating_list(compensate, place)
        self.policy(compensate, place, f"'compensate' of {name}", bounded=False)
        for relative, steps in compensating_steps(holder):
            self.steps(steps, pointer + relative, {}, undoing=True)

    def compensating_list(self, compensate: Mapping[str, Any], place: Pointer) -> None:
        for key in sorted({"with", "retry"} & compensate.keys()):
            hint = "each of the steps has its own"
            message = f"'{key}' belongs to an activity, and this compensation is a list of steps"
            self.report.error("Contradiction", (*place, key), message, hint=hint, key=True)

    def not_yet_compensation(self, way: str, place: Pointer) -> None:
        if way in NOT_YET_COMPENSATIONS:
            message = f"a compensation by '{way}' is not executable yet in this version"
            self.report.error("NotExecutable", place, message, key=True)

    def unused(self) -> None:
        for name in self.signals.keys() - self.awaited:
            self.report.warning(
                "Unused", ("signals", name), f"no step waits for the signal {shown(name)}", key=True
            )
        for name in self.entries.keys() - self.used:
            message = f"no step uses the activity entry {shown(name)}"
            self.report.warning("Unused", ("activities", name), message, key=True)


def duration(value: Any) -> int | None:
    """Milliseconds of a written duration; None if it is not one (the schema says so)."""
    try:
        return parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _why_no_duration(text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        return str(error)
    raise AssertionError(text)


def _proposal(step: Mapping[str, Any], verb: str) -> str:
    """An id for a step without one, from what it calls."""
    called = step[verb] if isinstance(step[verb], str) else verb
    words = [*filter(None, re.split(r"[^a-z0-9_]+", called.lower())), "call"]
    return f"'id: {words[-2] if len(words) > 1 else words[0]}'"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
