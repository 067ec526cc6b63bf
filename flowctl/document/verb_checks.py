"""What holds for each verb beyond its shape: one function per verb, found in a table."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flowctl.clock import parse_duration, parse_timestamp
from flowctl.document.children import FILE
from flowctl.document.diagnostics import shown
from flowctl.document.inputs import Gate, closed, with_defaults
from flowctl.document.places import Pointer
from flowctl.document.policy_checks import check_within_life
from flowctl.document.spelling import certain, did_you_mean, nearest
from flowctl.document.structure import catches_of, mapping, patch_of
from flowctl.document.subject import Inside, Subject, duration
from flowctl.document.texts import is_literal
from flowctl.path import SIGNAL, WORKFLOW, reserved
from flowctl.values import kind_of

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~/#\[\]-]*\Z")
"""The id of a run, or of a child of one."""

_ITSELF = re.compile(r"\$\{\{\s*run\.(workflow_)?id\s*\}\}\Z")
"""The run that is sent a signal is the one that sends it."""

_TAKEN = frozenset(
    {"input", "steps", "vars", "step", "now", "run", "secrets", "result", "args", "loop"}
    | {"true", "false", "null", *keyword.kwlist}
)
"""What an element or a caught error cannot be called: it would hide another name, or not be one."""

_ALONE = ("retry", "timeout", "total_timeout")
"""Attributes that mean nothing on a child that nobody waits for."""


def check_verb(
    subject: Subject, step: Mapping[str, Any], verb: str, pointer: Pointer, name: str, inside: Inside
) -> None:
    """Report what is wrong with the verb of a step, apart from the steps inside it."""
    check = _CHECKS.get(verb)
    if check is not None:
        check(subject, step, pointer, name, inside)


# --- activities and children


def _activity(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    check_activity(subject, step["activity"], (*pointer, "activity"))


def check_activity(subject: Subject, name: Any, pointer: Pointer) -> None:
    """An activity that is called: an entry of the document, or a registered one."""
    if isinstance(name, str) and name in subject.entries:
        subject.used.add(name)
    else:
        check_registered(subject, name, pointer, subject.entries)


def check_registered(subject: Subject, name: Any, pointer: Pointer, besides: Collection[str] = ()) -> None:
    """A name that a plugin must have registered. ``besides`` are other names that may have been meant."""
    known = subject.world.activities
    if not isinstance(name, str) or known is None or name in known:
        return
    subject.unknown.add(name)
    instead = certain(name, [*known, *besides])
    if instead is None and not subject.world.complete:
        return
    hint = did_you_mean(name, [*known, *besides]) or "is its plugin installed?"
    message = f"no plugin registers the activity {shown(name)}"
    fix = (name, instead) if instead is not None else None
    subject.report.error("UnknownActivity", pointer, message, hint=hint, fix=fix)


def _workflow(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    check_reference(subject, step["workflow"], (*pointer, "workflow"))
    if step.get("detached") is not True:
        return
    for key in _ALONE:
        if key in step:
            message = f"'{key}' and 'detached' exclude each other in {name}"
            hint = "a detached child goes on by itself, and the step is done when it was started"
            subject.report.error("Contradiction", (*pointer, key), message, hint=hint, key=True)
    if step.get("compensate") == "rollback":
        message = f"{name} cannot roll back a detached child, whose end nobody waits for"
        subject.report.error(
            "Contradiction", (*pointer, "compensate"), message, hint="say how to undo it", key=True
        )


def check_reference(subject: Subject, text: Any, pointer: Pointer) -> None:
    """A workflow: ``NAME``, ``NAME@VERSION`` or a file. The schema has seen most of it."""
    missing = subject.children.missing(text)
    if missing is not None:
        fix = (text, missing.instead) if missing.instead is not None else None
        subject.report.error("UnknownWorkflow", pointer, missing.message, hint=missing.hint, fix=fix)
    if not isinstance(text, str) or FILE.search(text):
        return
    called, at, version = text.partition("@")
    if not WORKFLOW.match(called) or (at and not version.lstrip("0")):
        message = f"{shown(text)} is no workflow"
        subject.report.error("BadValue", pointer, message, hint="write NAME, NAME@VERSION or ./file.yaml")


# --- waiting and signals


def _sleep(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    report, sleep = subject.report, step["sleep"]
    until = sleep.get("until") if isinstance(sleep, dict) else None
    if isinstance(until, str) and is_literal(until):
        try:
            parse_timestamp(until)
        except ValueError as error:
            report.error("BadValue", (*pointer, "sleep", "until"), str(error))
    if not isinstance(sleep, str) or not is_literal(sleep):
        return
    try:
        length = parse_duration(sleep)
    except ValueError as error:
        report.error("BadValue", (*pointer, "sleep"), str(error))
        return
    if not inside.undoing:
        check_within_life(subject, length, (*pointer, "sleep"), f"'sleep' of {name}")
    timeout = duration(step.get("timeout"))
    if timeout is not None and length > timeout:
        message = f"{name} always fails: its 'sleep' is longer than its 'timeout'"
        report.warning("NoEffect", (*pointer, "sleep"), message, key=True)


def _wait_for_signal(
    subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside
) -> None:
    written = step["wait_for_signal"]
    names = written if isinstance(written, list) else [written]
    for index, signal in enumerate(names):
        if not isinstance(signal, str):
            continue
        subject.awaited.add(signal)
        _declared(subject, signal, (*pointer, "wait_for_signal", *([index] if written is names else [])))
    if "on_timeout" in step and "timeout" not in step:
        message = f"'on_timeout' does nothing in {name}, which has no 'timeout'"
        subject.report.warning("NoEffect", (*pointer, "on_timeout"), message, key=True)


def _declared(subject: Subject, signal: str, place: Pointer) -> None:
    """A signal that runs of this document receive."""
    if signal in subject.signals:
        return
    near, instead = nearest(signal, subject.signals), certain(signal, subject.signals)
    hint = f"did you mean {near!r}?" if near else f"declare it: 'signals: {{{signal[:40]}: {{}}}}'"
    fix = (signal, instead) if instead is not None else None
    message = f"the signal {shown(signal)} is not declared under 'signals'"
    subject.report.error("UndeclaredSignal", place, message, hint=hint, fix=fix)


def _send_signal(
    subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside
) -> None:
    for key, pattern, hint in (
        ("run", _RUN, "such as ${{ run.parent_id }}"),
        ("signal", SIGNAL, "letters, digits, '_', '.' and '-', the first a letter"),
    ):
        written = mapping(step["send_signal"]).get(key)
        if isinstance(written, str) and written and is_literal(written) and not pattern.match(written):
            message = f"{shown(written)} is not the {'id of a run' if key == 'run' else 'name of a signal'}"
            subject.report.error("BadValue", (*pointer, "send_signal", key), message, hint=hint)
    sent = mapping(step["send_signal"])
    run, signal = sent.get("run"), sent.get("signal")
    to_itself = isinstance(run, str) and _ITSELF.match(run) is not None
    if to_itself and isinstance(signal, str) and is_literal(signal):
        _declared(subject, signal, (*pointer, "send_signal", "signal"))


# --- steps made of steps


def _switch(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    cases = step["switch"]
    for index, case in enumerate(cases if isinstance(cases, list) else ()):
        if not isinstance(case, dict) or "else" not in case:
            continue
        place = (*pointer, "switch", index, "else")
        if "if" in case or "steps" in case:
            message = "a case has either 'if' and 'steps', or 'else'"
            subject.report.error("Contradiction", place, message, key=True)
        if index < len(cases) - 1:
            subject.report.error("Contradiction", place, "'else' is the last case", key=True)


def _parallel(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    branches = mapping(step["parallel"])
    for branch in branches:
        if reserved(branch):
            message = f"the branch {shown(branch)} has a meaning in paths"
            place = (*pointer, "parallel", branch)
            subject.report.error("ReservedId", place, message, hint="choose another name", key=True)
    limit = step.get("concurrency")
    if isinstance(limit, int) and limit > len(branches) > 0:
        message = f"'concurrency' does nothing in {name}, which has {len(branches)} branches"
        subject.report.warning("NoEffect", (*pointer, "concurrency"), message, key=True)


def _foreach(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    _bound(subject, step.get("as"), (*pointer, "as"), _TAKEN | {"error"})


def _bound(subject: Subject, word: Any, pointer: Pointer, taken: Collection[str]) -> None:
    """A name that an author gives to a value."""
    if isinstance(word, str) and word in taken:
        message = f"the name {shown(word)} has a meaning in expressions"
        subject.report.error("ReservedId", pointer, message, hint="choose another")


def _try(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    if "catch" not in step and "finally" not in step:
        subject.report.error("MissingKey", pointer, f"{name} has neither 'catch' nor 'finally'")
    everything = False
    for relative, catch in catches_of(step):
        place = pointer + relative
        _bound(subject, catch.get("as"), (*place, "as"), _TAKEN)
        if everything:
            message = f"this catch of {name} never handles anything: one before it takes all errors"
            subject.report.warning("Unreachable", place, message)
            return
        errors = catch.get("errors", ["*"])
        everything = "if" not in catch and isinstance(errors, list) and "*" in errors


# --- the run as a whole


def _patch(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    written, place = mapping(step["patch"]), (*pointer, "patch")
    if not isinstance(written.get("id"), str):
        return
    change, oldest, newest = patch_of(written)
    if not (isinstance(oldest, int) and isinstance(newest, int)):
        return
    if oldest > newest:
        key = "max" if "max" in written else "min"
        message = f"the 'min' of {name} is {oldest}, and its 'max' {newest}"
        hint = None if "max" in written else "'max' is 2 where it is not written"
        subject.report.error("BadValue", (*place, key), message, hint=hint)
    first, *versions = subject.changes.setdefault(change, (place, oldest, newest))
    if versions != [oldest, newest]:
        message = (
            f"the change {shown(change)} has other versions here than on line {subject.report.line(first)}"
        )
        hint = "a run is bound to one version of a change, wherever it asks"
        subject.report.error("Contradiction", place, message, hint=hint)


def _attributes(
    subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside
) -> None:
    for key, value in mapping(mapping(step["attributes"]).get("search")).items():
        if isinstance(value, dict | list):
            message = f"the search attribute {shown(key)} must be a text, a number or a boolean"
            hint = f"it is {kind_of(value)}, which 'memo' can hold"
            subject.report.error("WrongType", (*pointer, "attributes", "search", key), message, hint=hint)


def _continue_as_new(
    subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside
) -> None:
    _ending("continue_as_new", subject, pointer, inside)
    written = mapping(step["continue_as_new"])
    place = (*pointer, "continue_as_new", "input")
    if "input" not in written or not is_literal(written["input"]):
        return
    value, schema = written["input"], subject.input_schema
    if not isinstance(value, dict):
        message = f"the successor's input must be a mapping, not {kind_of(value)}"
        subject.report.error("WrongType", place, message)
    elif schema is not None:
        problem = Gate(closed(schema), "input")(with_defaults(schema, value))
        if problem is not None:
            subject.report.error("BadValue", place, f"the successor's input does not fit: {problem}")


def _return(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    _ending("return", subject, pointer, inside)


def _ending(verb: str, subject: Subject, pointer: Pointer, inside: Inside) -> None:
    """A verb that ends a run well cannot stand where it is being undone or cleaned up."""
    if inside.undoing or inside.cleaning:
        where = "a compensation" if inside.undoing else "'finally'"
        message = f"'{verb}' cannot stand in {where}"
        subject.report.error("Contradiction", (*pointer, verb), message, key=True)


def _rollback(subject: Subject, step: Mapping[str, Any], pointer: Pointer, name: str, inside: Inside) -> None:
    if inside.undoing:
        message = "'rollback' cannot stand in a compensation, which is not undone itself"
        subject.report.error("Contradiction", (*pointer, "rollback"), message, key=True)


_CHECKS: Mapping[str, Callable[[Subject, Mapping[str, Any], Pointer, str, Inside], None]] = {
    "activity": _activity,
    "sleep": _sleep,
    "wait_for_signal": _wait_for_signal,
    "send_signal": _send_signal,
    "parallel": _parallel,
    "foreach": _foreach,
    "switch": _switch,
    "try": _try,
    "workflow": _workflow,
    "patch": _patch,
    "attributes": _attributes,
    "return": _return,
    "continue_as_new": _continue_as_new,
    "rollback": _rollback,
}
