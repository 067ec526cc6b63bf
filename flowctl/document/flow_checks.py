"""The course of a run, as far as it is written out: steps that nobody reaches, loops that nothing ends, waits
that take longer than the run.

Nothing here is executed. A condition counts as decided only if it has no name in it, and a step ends what
follows only if it does so whatever happens; so a warning is never a guess.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flowctl.clock import format_duration
from flowctl.document.places import Pointer
from flowctl.document.schema import name_of
from flowctl.document.structure import (
    DEFAULT_ITERATIONS,
    VERBS,
    catches_of,
    compensating_steps,
    parts_of,
    verb_of,
)
from flowctl.document.subject import Subject, duration
from flowctl.document.texts import is_literal
from flowctl.errors import ExpressionError
from flowctl.expressions import Expression

_CHANGING = frozenset({"elapsed", "history_length", "history_size"})
"""Facts of the run that change while a loop goes on."""


class Course(NamedTuple):
    """What is certain of a step or a list of steps: whether it ``ends`` all that follows, and the
    milliseconds that it takes at ``least``.
    """

    ends: bool = False
    least: int = 0


_OPEN = Course()


def check_flow(subject: Subject) -> None:
    """Report what can never run, never ends, or never ends in time."""
    walk = _Flow(subject)
    walk.list(subject.data.get("steps"), ("steps",), 0)
    for name, entry in subject.entries.items():
        if isinstance(entry, dict):
            walk.undo(entry, ("activities", name))


class _NoNames:
    """What an expression sees that is decided already: nothing."""

    def resolve(self, name: str) -> Any:
        raise KeyError(name)

    def known(self) -> Iterator[str]:
        return iter(())


class _Flow:
    """``spent`` are the milliseconds that have passed at least before a step; None where the run's timeout
    does not count.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.report = subject.report

    def list(self, steps: Any, pointer: Pointer, spent: int | None) -> Course:
        """A list of steps. One warning is enough for all that nobody reaches."""
        ended, warned, least = "", False, 0
        for index, step in enumerate(steps if isinstance(steps, list) else ()):
            if not isinstance(step, dict):
                continue
            here = (*pointer, index)
            if ended and not warned:
                warned = True
                message = f"{name_of(step, here)} can never run: {ended} ends everything before it"
                self.report.warning("Unreachable", here, message)
            course = self.step(step, here, None if spent is None else spent + least)
            least += course.least
            if course.ends and not ended:
                verb = verb_of(step) or ""
                ended = f"'{verb}'" if VERBS[verb].ends else name_of(step, here)
        return Course(bool(ended), least)

    def step(self, step: Mapping[str, Any], pointer: Pointer, spent: int | None) -> Course:
        self.undo(step, pointer)
        verb = verb_of(step)
        if verb is None:
            return _OPEN
        runs = self.decided(step["if"]) if "if" in step else True
        if runs is False:
            message = f"{name_of(step, pointer)} never runs: its condition is always false"
            self.report.warning("Unreachable", (*pointer, "if"), message)
        inside = {
            relative: self.list(steps, pointer + relative, spent) for relative, steps in parts_of(step, verb)
        }
        course = self.course(verb, step, pointer, inside, spent)
        return course if runs is True and step.get("optional") is not True else _OPEN

    def undo(self, holder: Mapping[str, Any], pointer: Pointer) -> None:
        """The steps of a compensation, which no timeout of the run stops."""
        for relative, steps in compensating_steps(holder):
            self.list(steps, pointer + relative, None)

    def course(
        self,
        verb: str,
        step: Mapping[str, Any],
        pointer: Pointer,
        inside: Mapping[Pointer, Course],
        spent: int | None,
    ) -> Course:
        if VERBS[verb].ends:
            return Course(ends=True)
        if verb == "sleep":
            return self.sleep(step, pointer, spent)
        if verb == "steps":
            return inside.get(("steps",), _OPEN)
        if verb == "switch":
            return self.cases(step, pointer, inside)
        if verb in ("while", "until"):
            return self.loop(verb, step, pointer, inside.get(("steps",), _OPEN))
        if verb == "parallel" and step.get("wait", "all") == "all":
            courses = inside.values()
            return Course(any(c.ends for c in courses), max((c.least for c in courses), default=0))
        if verb == "try":
            handled = len(list(catches_of(step)))
            caught = [course.ends for relative, course in inside.items() if relative[0] == "catch"]
            return Course(inside[("try",)].ends and len(caught) == handled and all(caught))
        return _OPEN

    def sleep(self, step: Mapping[str, Any], pointer: Pointer, spent: int | None) -> Course:
        written, life = step["sleep"], self.subject.life
        length = (duration(written) or 0) if isinstance(written, str) and is_literal(written) else 0
        if spent is not None and length <= life < spent + length and spent <= life:
            message = f"with the waits before it, {name_of(step, pointer)} ends after the run's timeout"
            taken, lives = format_duration(spent + length), format_duration(life)
            hint = f"they take {taken} together, and a run lives {lives}"
            self.report.warning("TooLong", (*pointer, "sleep"), message, hint=hint)
        return Course(least=length)

    def cases(self, step: Mapping[str, Any], pointer: Pointer, inside: Mapping[Pointer, Course]) -> Course:
        cases = step["switch"] if isinstance(step["switch"], list) else []
        before, always = set[str](), False
        for index, case in enumerate(cases):
            if not isinstance(case, dict) or "if" not in case:
                continue
            text, runs = str(case["if"]).strip(), self.decided(case["if"])
            why = (
                "one before it is always true"
                if always
                else "one before it has the same condition"
                if text in before
                else "its condition is always false"
            )
            if always or text in before or runs is False:
                place = (*pointer, "switch", index, "if")
                self.report.warning("Unreachable", place, f"this case can never run: {why}")
            before.add(text)
            always = always or runs is True
        complete = any(isinstance(case, dict) and "else" in case for case in cases)
        courses = list(inside.values())
        if not complete or len(courses) != len(cases):
            return _OPEN
        return Course(all(c.ends for c in courses), min(c.least for c in courses))

    # --- loops

    def loop(self, verb: str, step: Mapping[str, Any], pointer: Pointer, body: Course) -> Course:
        place, name, result = (*pointer, verb), name_of(step, pointer), self.decided(step[verb])
        if verb == "while" and result is False:
            message = f"the steps of {name} never run: its condition is always false"
            self.report.warning("Unreachable", place, message)
            return _OPEN
        if verb == "until" and result is True:
            message = f"{name} repeats nothing: its condition is always true"
            self.report.warning("NoEffect", place, message)
            return body
        fixed = result is not None or not self.changes(step[verb], step)
        if fixed and "max_iterations" not in step and not _leaves(step):
            self.endless(place, name, result)
        if result is not None:
            return Course(ends=True)
        return body if verb == "until" else _OPEN

    def endless(self, place: Pointer, name: str, result: bool | None) -> None:
        why = (
            "its condition is always the same"
            if result is not None
            else "nothing in it changes its condition"
        )
        message = f"{name} has no end of its own: {why}"
        hint = (
            "set a variable that it reads, look at loop.previous, or 'return' from inside; after "
            f"{DEFAULT_ITERATIONS:,} iterations it fails with IterationLimit"
        )
        self.report.warning("Endless", place, message, hint=hint)

    def changes(self, test: Any, step: Mapping[str, Any]) -> bool:
        """Whether an iteration can change what the condition of a loop reads; so it seems if nobody knows."""
        parsed = self.parsed(test)
        if parsed is None:
            return True
        assigned = {
            name
            for inner in _inside(step)
            for name in (inner["set"] if isinstance(inner.get("set"), dict) else ())
        }
        for root, *rest in parsed.references:
            if root in ("loop", "now") or (root == "run" and (not rest or rest[0] in _CHANGING)):
                return True
            if root == "vars" and (not rest or rest[0] in assigned):
                return True
        return False

    # --- conditions

    def parsed(self, written: Any) -> Expression | None:
        if not isinstance(written, str | bool):
            return None
        with contextlib.suppress(ExpressionError):  # reported by who looks at expressions
            return self.subject.texts.condition(written)
        return None

    def decided(self, written: Any) -> bool | None:
        """What a condition yields, if it has no name in it."""
        parsed = self.parsed(written)
        if parsed is None or parsed.references:
            return None
        with contextlib.suppress(ExpressionError):
            return parsed.test(_NoNames())
        return None


def _leaves(step: Mapping[str, Any]) -> bool:
    """Whether a step somewhere inside can end the loop by ending more than that."""
    return any((inner := verb_of(each)) is not None and VERBS[inner].ends for each in _inside(step))


def _inside(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All steps inside a step."""
    verb = verb_of(step)
    for _, steps in parts_of(step, verb) if verb is not None else ():
        for inner in steps if isinstance(steps, list) else ():
            if isinstance(inner, dict):
                yield inner
                yield from _inside(inner)
