"""What the language says a program does, told a second time: small, naive, and without the engine.

Everything is recursion over the document as plain data. There is neither journal nor scheduler: branches
that run at once are walked one after the other, each with its own clock (``world``). What one of them does to
the others is then known, and they are walked again with that knowledge. Of flowctl only arithmetic is used:
expressions, durations, retries.

Rules of what is written down:

1. A walk keeps what it learned in itself. Only the walks that stand are merged into the one around them, in
   the order of their times.
2. What is registered to be undone is a list of plain records; where a part of it is meant (a block, a
   ``try``, a branch), it is the part whose paths begin like that.
3. A child, the run that undoes it, and a successor are walkers of their own; of what they do only calls are
   seen.
4. Where the language leaves something open, the prediction says so (``open``) and predicts nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flowctl.clock import format_timestamp, parse_duration, parse_timestamp
from flowctl.errors import ExpressionError, Failure
from flowctl.expressions import condition, template
from flowctl.retry import COMPENSATION, ONCE, RetryPolicy
from flowctl.testing.conformance import RUN_ID
from tests.programs.records import (
    PENDING,
    Called,
    Data,
    Decision,
    Noted,
    Registered,
    Scope,
    catches_of,
    ids_in,
    inside,
    matches,
    related,
    retry_policy,
    shortened,
    verb_of,
)
from tests.programs.world import (
    NEVER,
    Continued,
    Cut,
    Error,
    Failed,
    Interrupted,
    Leaving,
    Loss,
    Returned,
    Signal,
    Traveller,
    World,
    error,
)

T = TypeVar("T")

START = parse_timestamp("2026-01-01T00:00:00Z")
"""When every case begins."""

NOT_ABSORBED = ("ExpressionError", "InvalidInput")

UNDONE = {"undone": "compensated", "failed": "compensation_failed"}
"""The state of a step by what became of it; one that cannot be undone stays what it was."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What comes of a program. ``closest`` is how many milliseconds apart the two moments were whose order
    was the closest call, 0 is a guess; ``closest_calls`` the same for the order of ``calls``. ``open`` lists
    what the language does not say. ``containers`` are paths that may be listed as steps or not, ``unasked``
    calls that may have been made or not, because the worker was killed when they were due. ``moments`` are
    the times at which something happened.
    """

    expect: dict[str, Any]
    closest: int
    closest_calls: int
    open: tuple[str, ...]
    containers: frozenset[str]
    moments: frozenset[int]
    unasked: frozenset[str]


def predict(case: Data, kill: Loss | None = None) -> Prediction:
    """What comes of a case (``flowctl.testing.conformance``), also if its worker is killed once more."""
    world = World(case, kill)
    document = case["workflow"]
    ids = dict.fromkeys(ids_in(document["steps"]), PENDING)
    scope = Scope(ids, {}, {"input": case.get("input", {})})
    life = Cut(parse_duration(document.get("timeout", "24h")), error("Timeout"))
    cuts = [life] if world.cancelled is None else [life, world.cancelled]
    walker = Walker(world, case, scope, cuts)
    status, output, why = walker.run()
    while status == "continued":
        walker = walker.successor(output)
        status, output, why = walker.run()
    return Prediction(
        walker.expectation(status, output, why),
        min(world.closest, walker.closest_notes("undone", "failed", "in_doubt", "not_undone")),
        walker.closest_notes("call"),
        tuple(walker.open),
        frozenset(walker.containers),
        frozenset(world.moments),
        frozenset(walker.unasked),
    )


class Walker(Traveller):
    """One branch of a run: what it sees, and what it has learned so far. ``end`` says how it ended."""

    def __init__(self, world: World, case: Data, scope: Scope, cuts: Iterable[Cut]) -> None:
        super().__init__(world, 0, 0, cuts, ())
        self.case = case
        self.document: Data = case["workflow"]
        self.run_id, self.name, self.began = RUN_ID, "case", 0
        self.parent: Walker | None = None
        self.scope = scope
        self.whole = list(self.cuts)
        self.registered: list[Registered] = []
        self.notes: list[Noted] = []
        self.states: dict[str, str] = {}
        self.outputs: dict[str, Any] = {}
        self.containers: set[str] = set()
        self.open: list[str] = []
        self.unasked: set[str] = set()
        self.left: set[str] = set()
        self.inherited: frozenset[int] = frozenset()
        self.pivoted = False
        self.kept: dict[str, list[Registered]] = {}
        self.args: Any = None
        self.end: tuple[str, Any] = ("completed", None)
        self.leaving: Leaving | None = None

    # --- a run

    def run(self) -> tuple[str, Any, Error | None]:
        """The whole document: status, output and error at the end."""
        try:
            output = self._steps_and_output()
            self._heed_all()
        except Continued as continued:
            return self._continue(continued)
        except Interrupted as interrupted:
            why = interrupted.cut.error
        except Failed as failed:
            why = self._failed_run(failed)
        else:
            return "completed", output, None
        self.undo(self.registered, why)
        return self._status_after(why), None, why

    def _heed_all(self) -> None:
        """What has ended well is over all the same, if something around it took effect before."""
        for cut in sorted(self.whole, key=lambda cut: cut.at):
            if self.passed(cut):
                raise Interrupted(cut)

    def _continue(self, continued: Continued) -> tuple[str, Any, Error | None]:
        try:
            self._heed_all()
        except Interrupted as interrupted:
            why = interrupted.cut.error
            self.undo(self.registered, why)
            return self._status_after(why), None, why
        return "continued", continued.value, None

    def successor(self, input: Any) -> Walker:
        """The run that begins where this one ends. What is registered goes on, and so do signals."""
        number = int(self.run_id.partition("~")[2] or 1)
        run_id = f"{RUN_ID}~{number + 1}"
        walker = self._relative(run_id, self.document, self.name, input, self.whole[1:])
        walker.received, walker.signals = self.received, self.signals
        walker.notes = [note for note in self.notes if note.kind == "call"]
        walker.open, walker.unasked = self.open, self.unasked
        walker.registered = [
            item
            if item.path.startswith("_run")
            else dataclasses.replace(item, path=f"_run{number}.{item.path}")
            for item in self.registered
        ]
        return walker

    def _steps_and_output(self) -> Any:
        try:
            output = self.steps(self.document["steps"], "")
            if "output" in self.document:
                output = self.value(self.document["output"], None)
        except Returned as returned:
            self.overtaken(returned, self.cuts)
            if isinstance(returned, Continued):
                raise
            output = returned.value
        return output

    def _failed_run(self, failed: Failed) -> Error:
        """Why the run is undone: its failure, unless it is held, and then cancelled or over."""
        if self.document.get("on_failure") == "hold" and not failed.undo:
            try:
                self.wait(NEVER)
            except Interrupted as interrupted:
                return interrupted.cut.error
        return failed.error

    def _status_after(self, why: Error) -> str:
        kinds = {note.kind for note in self.notes}
        if kinds & {"failed", "in_doubt"}:
            return "compensation_failed"
        if "undone" in kinds:
            return "compensated"
        return "cancelled" if why["type"] == "Cancelled" else "failed"

    def expectation(self, status: str, output: Any, why: Error | None) -> dict[str, Any]:
        """As in a case's ``expect``."""
        if status != "completed":  # what a ``return`` left has completed only if the run has
            self.states |= dict.fromkeys(self.left, "cancelled")
        notes = sorted(self.notes, key=lambda note: note.at)
        calls = [note for note in notes if note.kind == "call"]
        saga = {
            kind: [note.path for note in notes if note.kind == kind]
            for kind in ("undone", "failed", "in_doubt", "not_undone")
        }
        first = {note.path.rpartition("#")[0]: note.data for note in reversed(calls)}
        return {
            "status": status,
            "output": output,
            "error": why,
            "saga": saga,
            "steps": dict(sorted(self.states.items())),
            "outputs": dict(sorted(self.outputs.items())),
            "calls": list(dict.fromkeys(note.path for note in calls)),
            "args": {path: data["args"] for path, data in first.items()},
            "keys": {path: data["key"] for path, data in first.items()},
            "elapsed": f"{self.now}ms",
        }

    def closest_notes(self, *kinds: str) -> int:
        """How many milliseconds apart the two are whose order is the closest call."""
        notes = sorted((n for n in self.notes if n.kind in kinds), key=lambda note: note.at)
        pairs = itertools.pairwise(notes)
        return min((b.at - a.at for a, b in pairs if not related(a.lane, b.lane)), default=NEVER)

    def label(self, call: str) -> str:
        """A call's path and attempt, with the run if it is another than the first."""
        return call if self.run_id == RUN_ID else f"{self.run_id}/{call}"

    def note(self, kind: str, path: str, data: Any = None) -> None:
        """Something happened now."""
        self.notes.append(Noted(self.now, self.lane, kind, path, data))

    # --- steps

    def steps(self, steps: Sequence[Data], path: str) -> Any:
        """A list of steps: the output of the last one that ran."""
        counts: dict[str, int] = {}
        result = None
        for step in steps:
            verb = verb_of(step)
            counts[verb] = counts.get(verb, 0) + 1
            segment = step.get("id", f"_{verb}{counts[verb]}")
            try:
                ran, value = self.step(step, f"{path}.{segment}" if path else segment)
            finally:
                self.kept[segment] = list(self.registered)
            result = value if ran else result
        return result

    def step(self, step: Data, path: str) -> tuple[bool, Any]:
        """One step with all its attributes: whether it ran, and its output."""
        self.at_step(step, path, f"{self.run_id}/{path}")
        try:
            if "if" in step and not self.test(step["if"], path):
                self.show(step, path, "skipped")
                return False, None
            value = self.work(step, path)
        except Failed as failed:
            self.step_failed(step, path, failed)
            return True, None
        except Interrupted:
            self.show(step, path, "cancelled")
            raise
        except Returned:
            self.states[path] = "completed"  # which nobody is left to see but those who clean up
            self.left |= {path} - self.outputs.keys()
            raise
        self.outputs[path] = value
        self.show(step, path, "completed", value)
        return True, value

    def work(self, step: Data, path: str) -> Any:
        """The verb, with its timeout; what undoes it; and its output as reshaped."""
        verb = verb_of(step)
        before, self.args = self.scope.inner(), None

        def body() -> Any:
            return getattr(self, f"_{verb}")(step, path)

        calls = {"activity": self._activity, "workflow": self._workflow}.get(verb)
        if calls is not None and (verb == "activity" or "timeout" not in step):
            value = calls(step, path, before)
        elif calls is not None:
            over = error("Timeout", step=path)
            value = self.within(parse_duration(step["timeout"]), over, lambda: calls(step, path, before))
        elif "timeout" in step and verb != "wait_for_signal":
            value = self.within(parse_duration(step["timeout"]), error("Timeout", step=path), body)
        else:
            value = body()
        if calls is None:
            self.at_step(step, path, f"{self.run_id}/{path}")
            self.args = None
            self.completed(step, path, step.get("compensate", "none"), before, value)
        return self.value(step["output"], path, result=value, args=self.args) if "output" in step else value

    def completed(self, step: Data, path: str, undo: Any, before: Scope, value: Any) -> None:
        """The verb has its result: register what undoes it, in place of what its parts registered."""
        if step.get("pivot"):
            self.registered, self.pivoted = [], True
        if undo != "none" or step.get("irreversible"):
            self.registered = [item for item in self.registered if not inside(item.path, path)]
            self.register(step, path, undo, before, value, self.now)

    def register(self, step: Data, path: str, undo: Any, before: Scope, value: Any, at: int) -> None:
        """Something to undo from now on."""
        what = undo if isinstance(undo, dict) else None
        key = self.scope.extra["step"]["idempotency_key"]
        item = Registered(at, self.lane, path, step.get("id"), what, before, self.args, value, key)
        self.registered.append(item)

    def step_failed(self, step: Data, path: str, failed: Failed) -> None:
        """A step failed: that is absorbed, or held, or goes on to whoever is around."""
        if failed.error["step"] is None:
            failed.error = failed.error | {"step": path}
        self.show(step, path, "failed", None, failed.error)
        if step.get("optional") and failed.error["type"] not in NOT_ABSORBED:
            return
        if step.get("on_failure") == "hold":
            self.hold()
        raise Failed(failed.error, undo=failed.undo or step.get("on_failure") == "compensate") from None

    def hold(self) -> None:
        """Wait for whatever ends the run: that is heard of in ``finally`` as well."""
        around, self.cuts = self.cuts, list(dict.fromkeys([*self.whole, *self.cuts]))
        try:
            self.wait(NEVER)
        finally:
            self.cuts = around

    def at_step(self, step: Data, path: str, key: str) -> None:
        """From here on ``step`` is this one, unless something is being undone."""
        if "undoing" not in self.scope.extra:
            told = {"id": step.get("id"), "path": path, "idempotency_key": shortened(key)}
            self.scope.extra = self.scope.extra | {"step": told}

    def show(self, step: Data, path: str, status: str, output: Any = None, why: Error | None = None) -> None:
        """Let later steps, and those who look at the run, see what became of this one."""
        self.states[path] = status
        self.heard = self.heard if status == "skipped" else self.now
        if "id" in step:
            self.scope.steps[step["id"]] = {"status": status, "output": output, "error": why}

    # --- expressions

    def names(self, more: Data) -> Scope:
        """What expressions see now."""
        run = {"id": self.run_id, "workflow": self.name, "version": 1}
        run |= {"elapsed": (self.now - self.began) / 1000, "parent_id": self.parent and self.parent.run_id}
        told = {"now": format_timestamp(START + self.heard), "run": run}
        return Scope(self.scope.steps, self.scope.vars, told | self.scope.extra | dict(more))

    def value(self, written: Any, path: str | None, **names: Any) -> Any:
        """A value with its expressions evaluated."""
        try:
            return template(written).render(self.names(names)).value
        except ExpressionError as problem:
            raise Failed(error("ExpressionError", str(problem), step=path)) from None

    def test(self, written: str, path: str, **names: Any) -> bool:
        """A condition."""
        try:
            return condition(written).test(self.names(names))
        except ExpressionError as problem:
            raise Failed(error("ExpressionError", str(problem), step=path)) from None

    # --- calls

    def _activity(self, step: Data, path: str, before: Scope) -> Any:
        entry = self.entry(step["activity"])
        key = f"{self.run_id}/{path}"
        if "idempotency_key" in step:
            key = self.value(step["idempotency_key"], path)
            self.at_step(step, path, self._must_be(str, key, path))
        self.args = args = self._must_be(dict, self.value(step.get("with", {}), path), path)
        undo = step.get("compensate", entry.get("compensate", "none"))
        places = [step, entry, self.declared(step["activity"]), self.document.get("defaults", {})]
        called = self.call(path, step["activity"], args, shortened(key), places, ONCE)
        if called.failed is None and called.cut is None:
            self.completed(step, path, undo, before, called.value)
            return called.value
        raise self.unfinished(step, path, undo, before, called)

    def unfinished(self, step: Data, path: str, undo: Any, before: Scope, called: Called) -> Leaving:
        """A call that did not complete may have had an effect: undo that, or own up to the doubt."""
        if called.attempted:
            if isinstance(undo, dict) and undo.get("after") == "attempted":
                self.register(step, path, undo, before, None, called.at)
            elif called.uncertain and (undo != "none" or step.get("irreversible")):
                self.note("in_doubt", path)
        if called.cut is not None:
            return Interrupted(called.cut)
        assert called.failed is not None
        return Failed(called.failed)

    def _must_be(self, kind: type[T], value: Any, path: str) -> T:
        if not isinstance(value, kind):
            raise Failed(error("ExpressionError", step=path))
        return value

    def call(
        self, path: str, name: str, args: Any, key: str, places: Sequence[Data], otherwise: RetryPolicy
    ) -> Called:
        """All attempts of one call. Its policy comes from ``places``, each attribute from the first that
        has it.
        """
        policy = {
            what: next((place[what] for place in places if what in place), None)
            for what in ("timeout", "total_timeout", "heartbeat_timeout", "retry")
        }
        retry = retry_policy(policy["retry"]) if policy["retry"] is not None else otherwise
        limit = parse_duration(policy["timeout"] or "5m")
        total = parse_duration(policy["total_timeout"]) if policy["total_timeout"] else NEVER
        silence = parse_duration(policy["heartbeat_timeout"]) if policy["heartbeat_timeout"] else None
        registered = self.entry(name).get("uses", name)
        over, begun, uncertain = NEVER, None, False
        for number in range(1, retry.attempts + 1):
            try:
                self.heed()
            except Interrupted as interrupted:
                return Called(self.due, cut=interrupted.cut, attempted=number > 1, uncertain=uncertain)
            if begun is None:
                begun = self.now
                over = begun + total
            elif self.now >= over:
                self.open.append("'total_timeout' was over before an attempt began")
            self.note("call", self.label(f"{path}#{number}"), {"args": args, "key": key})
            started = self.now
            outcome = self.attempt(
                self.world.act(registered, number),
                lambda over=over: min(limit, over - self.now),  # type: ignore[misc]
                silence,
                once=retry.on_worker_lost == "fail",
            )
            ended = self.now
            if outcome.kind == "completed":
                return Called(ended, outcome.value)
            uncertain = uncertain or outcome.uncertain
            if self.world.kill is not None and self.world.kill.at == started:
                self.unasked.add(self.label(f"{path}#{number}"))
            if outcome.kind == "cancelled":
                return Called(ended, cut=self.next_cut(), uncertain=uncertain)
            assert outcome.error is not None
            failed: Error = outcome.error | {"step": path, "attempt": number}
            if failed["type"] == "WorkerLost" or not retry.again(number, Failure.from_json(failed)):
                return Called(ended, failed=failed, uncertain=uncertain)
            again = ended + retry.wait(number, 0.5)
            if not self.world.sooner(again, over):
                failed = error("Timeout", step=path, attempt=number, cause=failed)
                return Called(ended, failed=failed, uncertain=uncertain)
            try:
                self.wait(again)
            except Interrupted as interrupted:
                return Called(ended, cut=interrupted.cut, uncertain=uncertain)
        raise AssertionError("the last attempt is not followed by another")

    # --- children

    def _workflow(self, step: Data, path: str, before: Scope) -> Any:
        self.args = args = self._must_be(dict, self.value(step.get("with", {}), path), path)
        undo = step.get("compensate", "rollback")
        called, child = self.call_child(step, path, args)
        if called.failed is not None or called.cut is not None:
            raise self.unfinished(step, path, undo, before, called)
        undo = {"rollback": child} if undo == "rollback" else undo
        self.completed(step, path, undo, before, called.value)
        return called.value

    def call_child(
        self, step: Data, path: str, args: Any, otherwise: RetryPolicy = ONCE
    ) -> tuple[Called, Walker | None]:
        """Run a child, again if it fails and that is asked for; and the one that completed."""
        retry = retry_policy(step["retry"]) if "retry" in step else otherwise
        uncertain = False
        for number in range(1, retry.attempts + 1):
            try:
                self.heed()
            except Interrupted as interrupted:
                attempted = number > 1
                return Called(self.due, cut=interrupted.cut, attempted=attempted, uncertain=uncertain), None
            child = self.child(step["workflow"], path, number, args)
            status, output, why = child.run()
            self.take_over(child)
            if status == "completed":
                return Called(self.now, output), child
            uncertain = uncertain or status == "compensation_failed"
            ended, cut = self.now, self.next_cut()
            if cut is not None and (child.was_told(why) or self.world.before(cut.at, self.now)):
                self._guess_among_passed(cut)
                return Called(ended, cut=cut, uncertain=uncertain), None
            failed = error("ChildFailed", step=path, attempt=number, cause=why)
            if not retry.again(number, Failure.from_json(failed)):
                return Called(ended, failed=failed, uncertain=uncertain), None
            try:
                self.wait(ended + retry.wait(number, 0.5))
            except Interrupted as interrupted:
                return Called(ended, cut=interrupted.cut, uncertain=uncertain), None
        raise AssertionError("the last attempt is not followed by another")

    def child(self, name: str, path: str, number: int, args: Any) -> Walker:
        """A run of its own. What reaches its parent is passed on to it."""
        run_id = f"{self.run_id}/{path}" + (f"#{number}" if number > 1 else "")
        told = error("Cancelled", f"its parent {self.run_id} called it off")
        cuts = [Cut(cut.at, told, message=True, relayed=True) for cut in self.cuts]
        child = self._relative(run_id, self.case["children"][name], name, args, cuts)
        child.lane, child.survived, child.signals, child.parent = self.lane, list(self.survived), [], self
        return child

    def _relative(self, run_id: str, document: Data, name: str, args: Any, cuts: Sequence[Cut]) -> Walker:
        life = Cut(self.now + parse_duration(document.get("timeout", "24h")), error("Timeout"))
        scope = Scope(dict.fromkeys(ids_in(document["steps"]), PENDING), {}, {"input": args})
        walker = Walker(self.world, self.case, scope, [life, *cuts])
        walker.document, walker.run_id, walker.name = document, run_id, name
        walker.now = walker.due = walker.heard = walker.began = self.now
        walker.survived, walker.has_waited = list(self.survived), self.has_waited
        return walker

    def was_told(self, why: Error | None) -> bool:
        """Whether a run ended because its parent was cancelled."""
        return any(cut.relayed and cut.error is why for cut in self.whole)

    def take_over(self, relative: Walker) -> None:
        """Another run has ended, for which this one waited. Of what it did only the calls are seen."""
        self.notes += [note for note in relative.notes if note.kind == "call"]
        self.open += relative.open
        self.unasked |= relative.unasked
        self.survived = relative.survived
        self.has_waited = True
        self.now = self.heard = max(self.now, relative.now)
        self.due = max(self.due, relative.due)
        self.world.moments.add(self.now)
        if any(self._in_one_gap(cut.at, self.due) for cut in self.cuts):
            self.world.closest = 0

    def undo_child(self, child: Walker, why: Error | None) -> str:
        """Undo what a child left, by a run of its own."""
        if child.registered:
            run = self._relative(f"{child.run_id}~undo", child.document, child.name, {}, ())
            run.scope, run.lane = child.scope, self.lane
            run.undo(child.registered, why)
            self.take_over(run)
            kinds = {note.kind for note in run.notes}
            if kinds & {"failed", "in_doubt"}:
                return "failed"
            if "not_undone" in kinds:
                return "not_undone"
        return "not_undone" if child.pivoted else "undone"

    def _send_signal(self, step: Data, path: str) -> Any:
        message = self.value(step["send_signal"], path)
        self.heed()
        target: Walker | None = self
        while target is not None and target.run_id != message["run"]:
            target = target.parent
        if target is None:
            raise Failed(error("RunNotFound", step=path, attempt=1))
        self.world.sent += 1
        signal = Signal(-self.world.sent, self.now, message["signal"], message.get("payload"), None)
        target.signals.append(signal)
        return {"run": target.run_id}

    # --- what a document says of activities

    def entry(self, name: str) -> Data:
        """The activity entry of that name, if it is one."""
        found: Data = self.document.get("activities", {}).get(name, {})
        return found

    def declared(self, name: str) -> Data:
        """What the activity declares for itself."""
        found: Data = self.case.get("declares", {}).get(self.entry(name).get("uses", name), {})
        return found

    # --- verbs

    def _sleep(self, step: Data, path: str) -> None:
        self.heed()
        written = step["sleep"]
        moment = self.value(written["until"] if isinstance(written, dict) else written, path)
        try:
            if isinstance(written, dict):
                until = parse_timestamp(moment) - START
            else:
                until = self.now + parse_duration(moment)
        except (ValueError, AttributeError):
            raise Failed(error("ExpressionError", step=path)) from None
        self.wait(until)

    def _wait_for_signal(self, step: Data, path: str) -> Any:
        self.heed()
        names = step["wait_for_signal"]
        until = self.now + parse_duration(step["timeout"]) if "timeout" in step else NEVER
        signal = self.receive([names] if isinstance(names, str) else names, until)
        if signal is None:
            if step.get("on_timeout") == "continue":
                return None
            raise Failed(error("Timeout", step=path))
        return {
            "signal": signal.name,
            "payload": signal.payload,
            "received_at": format_timestamp(START + signal.at),
            "principal": signal.principal,
        }

    def _steps(self, step: Data, path: str) -> Any:
        return self.steps(step["steps"], path)

    def _switch(self, step: Data, path: str) -> Any:
        for number, case in enumerate(step["switch"], 1):
            if "else" in case:
                return self.steps(case["else"], f"{path}.else")
            if self.test(case["if"], path):
                return self.steps(case["steps"], f"{path}.case_{number}")
        return None

    def _set(self, step: Data, path: str) -> Any:
        assigned = self.value(step["set"], path)
        self.scope.vars = self.scope.vars | assigned
        return assigned

    def _patch(self, step: Data, path: str) -> Any:
        return step["patch"].get("max", 2)  # nothing here is older than its document

    def _attributes(self, step: Data, path: str) -> Any:
        attributes = self.value(step["attributes"], path)
        if any(isinstance(value, list | dict) for value in attributes.get("search", {}).values()):
            raise Failed(error("ExpressionError", step=path))
        return attributes

    def _fail(self, step: Data, path: str) -> None:
        told = self.value(step["fail"], path)
        raise Failed(error(told["type"], told.get("message", ""), details=told.get("details"), step=path))

    def _return(self, step: Data, path: str) -> None:
        value = self.outputs[path] = self.value(step["return"], path)
        raise Returned(value, self.due)

    def _continue_as_new(self, step: Data, path: str) -> None:
        value = self.outputs[path] = self.value(step["continue_as_new"]["input"], path)
        raise Continued(value, self.due)

    def _try(self, step: Data, path: str) -> Any:
        self.heed()  # what has not begun needs no ``finally``
        try:
            try:
                value = self.steps(step["try"], f"{path}.try")
            except Failed as failed:
                value = self._caught(step, path, failed)
        except Leaving as leaving:
            self._finally(step, path, leaving)
            raise
        self._finally(step, path, None)
        return value

    def _caught(self, step: Data, path: str, failed: Failed) -> Any:
        for number, catch in enumerate(catches_of(step), 1):
            name = {catch.get("as", "error"): failed.error}
            if not matches(failed.error, catch.get("errors")):
                continue
            if "if" in catch and not self.test(catch["if"], path, **name):
                continue
            if catch.get("rollback"):
                self.roll_back(path, lambda item: inside(item.path, f"{path}.try"), failed.error)
            around = self.scope.extra
            self.scope.extra = around | name
            try:
                return self.steps(catch.get("steps", ()), f"{path}.catch_{number}")
            finally:
                self.scope.extra = around
        raise failed

    def _finally(self, step: Data, path: str, leaving: Leaving | None) -> None:
        with self.shielded():
            try:
                self.steps(step.get("finally", ()), f"{path}.finally")
            except Failed:
                if not isinstance(leaving, Interrupted):
                    raise

    def _while(self, step: Data, path: str) -> Any:
        return self._loop(step, path, tested_before=True)

    def _until(self, step: Data, path: str) -> Any:
        return self._loop(step, path, tested_before=False)

    def _loop(self, step: Data, path: str, *, tested_before: bool) -> Any:
        outer, previous, index = self.scope, None, 0
        test = step["while"] if tested_before else step["until"]
        while True:
            loop = {"loop": {"index": index, "previous": previous}}
            if tested_before and not self.test(test, path, **loop):
                return previous
            if index == step.get("max_iterations", 1000):
                raise Failed(error("IterationLimit", step=path))
            self.heed()
            self.containers.add(f"{path}[{index}]")
            self.scope = outer.inner(step["steps"], **loop)
            try:
                previous = self.steps(step["steps"], f"{path}[{index}]")
            finally:
                outer.vars, self.scope = self.scope.vars, outer
            if not tested_before and self.test(test, path, loop={"index": index, "previous": previous}):
                return previous
            index += 1

    def _rollback(self, step: Data, path: str) -> None:
        self.heed()
        if step["rollback"] == "all":
            own = [item for item in self.registered if not item.path.startswith("_run")]
            self.roll_back(path, lambda item: item in own, None)
            return
        kept = self.kept.get(step["rollback"]["to"])
        if kept is None:
            raise Failed(error("ExpressionError", step=path))
        self.roll_back(path, lambda item: item not in kept, None)

    # --- at once

    def _parallel(self, step: Data, path: str) -> Any:
        branches = {
            name: branch if isinstance(branch, dict) else {"steps": branch}
            for name, branch in sorted(step["parallel"].items())
        }
        thunks = {f"{path}.{name}": self._branch(f"{path}.{name}", b) for name, b in branches.items()}
        return self._at_once(step, path, thunks, list(branches))

    def _branch(self, path: str, branch: Data) -> Callable[[Walker], Any]:
        def walk(walker: Walker) -> Any:
            walker.scope = walker.scope.inner(branch["steps"])
            value = walker.steps(branch["steps"], path)
            return walker.value(branch["output"], path) if "output" in branch else value

        return walk

    def _foreach(self, step: Data, path: str) -> Any:
        elements = self.value("${{ " + step["foreach"] + " }}", path)
        if not isinstance(elements, list | dict):
            raise Failed(error("ExpressionError", step=path))
        if isinstance(elements, dict):
            elements = [{"key": key, "value": elements[key]} for key in sorted(elements)]
        thunks = {
            f"{path}[{index}]": self._iteration(step, f"{path}[{index}]", index, elements)
            for index in range(len(elements))
        }
        return self._at_once({"concurrency": 1} | dict(step), path, thunks, None)

    def _iteration(
        self, step: Data, path: str, index: int, elements: Sequence[Any]
    ) -> Callable[[Walker], Any]:
        loop = {"index": index, "first": index == 0, "last": index == len(elements) - 1}
        names = {step.get("as", "item"): elements[index], "loop": loop}

        def walk(walker: Walker) -> Any:
            walker.scope = walker.scope.inner(step["steps"], **names)
            return walker.steps(step["steps"], path)

        return walk

    def _at_once(
        self, step: Data, path: str, thunks: Mapping[str, Callable[[Walker], Any]], names: list[str] | None
    ) -> Any:
        """Branches, or iterations, with the ``wait`` and the ``concurrency`` of their step."""
        if thunks:
            self.heed()
        wait, limit = step.get("wait", "all"), step.get("concurrency") or len(thunks)
        deciding = {"all": ("failed", "returned"), "any": ("completed", "returned"), "settled": ("returned",)}
        walkers, decided = self._walk_all(thunks, limit, deciding[wait])
        self._join(walkers, turns=limit != 1 or wait == "any")
        for walker in walkers:
            around = [*self.cuts, *self.whole]
            if walker is not None and walker.end[0] == "interrupted" and walker.end[1] in around:
                raise Interrupted(walker.end[1])
        if decided is not None:
            if any(cut.at <= decided.now for cut in self.cuts):
                self.open.append("a branch decides in a part of the run that is over")
            if decided.leaving is not None:
                raise decided.leaving
            index, what = walkers.index(decided), decided.end[1]
            self._undo_losers(path, list(thunks), index)
            return {"branch": names[index], "output": what} if names else {"index": index, "output": what}
        ends = [walker.end for walker in walkers if walker is not None]
        if len(ends) < len(walkers):  # a cut was reached by none of those that began, and the others did not
            self.heed()
        if wait == "any":
            raise Failed(error("BranchesFailed", step=path, details=[what for _, what in ends]))
        results = [_settled(*end) if wait == "settled" else end[1] for end in ends]
        return dict(zip(names, results, strict=True)) if names is not None else results

    def _undo_losers(self, path: str, paths: Sequence[str], winner: int) -> None:
        losers = [loser for index, loser in enumerate(paths) if index != winner]
        why = error("Cancelled", "another branch decided", step=path)
        self.roll_back(path, lambda item: any(inside(item.path, loser) for loser in losers), why)

    def _walk_all(
        self, thunks: Mapping[str, Callable[[Walker], Any]], limit: int, deciding: Sequence[str]
    ) -> tuple[list[Walker | None], Walker | None]:
        """Walk them all; once more, if one decides for the others. None are those that never began."""
        walkers = self._walk_each(thunks, limit)
        candidates = [walker for walker in walkers if walker is not None and walker.end[0] in deciding]
        if not candidates:
            return walkers, None
        first = min(candidates, key=lambda walker: walker.now)
        for other in candidates:
            if other is not first and first.has_waited:
                self.world.before(first.now, other.now)
        by = walkers.index(first)
        stop = Cut(first.now, error("Cancelled", "another branch decided"))
        decision = Decision(stop, by, not first.has_waited)
        kept = [
            walker if self._stands(index, walker, decision, limit) else None
            for index, walker in enumerate(walkers)
        ]
        walkers = self._walk_each(thunks, limit, decision, kept)
        return walkers, walkers[by]

    def _stands(self, index: int, walker: Walker | None, decision: Decision, limit: int) -> bool:
        """Whether a walk is over before the decision stops it."""
        if walker is None or walker.now > decision.stop.at:
            return False
        if walker.now < decision.stop.at or index == decision.by:
            return True
        return index < decision.by and (limit == 1 or not walker.has_waited)

    def _walk_each(
        self,
        thunks: Mapping[str, Callable[[Walker], Any]],
        limit: int,
        decision: Decision | None = None,
        kept: Sequence[Walker | None] = (),
    ) -> list[Walker | None]:
        """Walk each on its own, at most ``limit`` together. Once there is a decision, those that are
        ``kept`` have ended, and the others are stopped.
        """
        walkers: list[Walker | None] = []
        running: list[int] = []
        for index, (path, thunk) in enumerate(thunks.items()):
            start = self.now
            if len(running) == limit:
                start = min(running)
                running.remove(start)
            walker = kept[index] if kept else None
            if walker is None and self._begins(index, start, decision):
                stops = [decision.stop] if decision is not None else []
                walker = self._fork(path, start, [*self.cuts, *stops], walkers, alone=limit == 1)
                walker.go(thunk)
            running.append(walker.now if walker is not None else start)
            walkers.append(walker)
        return walkers

    def _begins(self, index: int, start: int, decision: Decision | None) -> bool:
        """Whether a branch begins at all: not if it is its turn when everything is over already."""
        if decision is not None and decision.immediate and index > decision.by:
            return False
        cuts = [*self.cuts, *([decision.stop] if decision is not None else [])]
        return start == self.now or not any(self._over(start, cut) for cut in cuts)

    def _over(self, start: int, cut: Cut) -> bool:
        """Whether nothing begins at ``start``, because of the cut. That a place was free at that very moment
        is no coincidence.
        """
        return start == cut.at or not self.world.before(start, cut.at)

    def _fork(
        self, path: str, start: int, cuts: Iterable[Cut], before: Iterable[Walker | None], *, alone: bool
    ) -> Walker:
        walker = Walker(self.world, self.case, self.scope.inner(), cuts)
        walker.document, walker.run_id, walker.name = self.document, self.run_id, self.name
        walker.began, walker.signals, walker.parent = self.began, self.signals, self.parent
        walker.now, walker.due = start, self.due if start == self.now else start
        walker.heard = self.heard
        if alone and path.endswith("]"):  # one after the other is no fork
            walker.heard = max([self.heard, *(other.heard for other in before if other is not None)])
        walker.lane = self.lane if alone else f"{self.lane}{path}/"
        walker.containers.add(path)
        ended = [other for other in before if other is not None and other.now <= start]
        walker.received = self.received.union(*(other.received for other in ended))
        walker.inherited = frozenset(walker.received)
        walker.survived, walker.whole = list(self.survived), self.whole
        return walker

    def go(self, thunk: Callable[[Walker], Any]) -> None:
        """Walk to the end, whatever that is."""
        try:
            self.end = ("completed", thunk(self))
        except Failed as failed:
            self.end, self.leaving = ("failed", failed.error), failed
        except Interrupted as interrupted:
            self.end = ("interrupted", interrupted.cut)
        except Returned as returned:
            self.end, self.leaving = ("returned", returned.value), returned

    def _join(self, walkers: Iterable[Walker | None], *, turns: bool) -> None:
        """Take over what those that stand have done. ``turns``: they waited for each other's."""
        merged = list(self.registered)
        for walker in walkers:
            if walker is None:
                continue
            if self.received & (walker.received - walker.inherited):
                self.world.closest = 0  # two of them received the same signal
            self.received |= walker.received
            if walker.pivoted:
                merged, self.pivoted = [], True
            merged += walker.registered
            self.notes += walker.notes
            self.states |= walker.states
            self.outputs |= walker.outputs
            self.containers |= walker.containers
            self.open += walker.open
            self.unasked |= walker.unasked
            self.left |= walker.left
            self.has_waited = self.has_waited or turns or walker.has_waited
            self.now, self.due = max(self.now, walker.now), max(self.due, walker.due)
            self.heard = max(self.heard, walker.heard)
        self.registered = sorted(merged, key=lambda item: item.at)

    # --- undoing

    def roll_back(self, path: str, chosen: Callable[[Registered], bool], why: Error | None) -> None:
        """Undo a part of what is registered, and go on. ``CompensationFailed`` if that fails."""
        left = self.undo([item for item in self.registered if chosen(item)], why)
        if left:
            raise Failed(error("CompensationFailed", step=path, details={"steps": left}))

    def undo(self, items: Sequence[Registered], why: Error | None) -> list[str]:
        """Undo these, the latest completion first, out of reach of everything. Returns what is left."""
        ordered = sorted(items, key=lambda item: item.at)[::-1]
        for one, other in itertools.pairwise(ordered):
            if not related(one.lane, other.lane):
                self.world.before(one.at, other.at)
        self.registered = [item for item in self.registered if item not in items]
        left, stopped = [], False
        with self.shielded():
            for item in ordered:
                became = "not_undone" if item.undo is None else "failed"
                if item.undo is not None and not stopped:
                    became = self._undo_one(item, item.undo, why)
                    self.states |= {item.path: UNDONE[became]} if became in UNDONE else {}
                if became == "not_undone":  # of a predecessor that is all there is to see of it
                    self.states.setdefault(item.path, "completed")
                self.note(became, item.path)
                if item.undo is not None and became == "failed":
                    left.append(item.path)
                    stopped = stopped or item.undo.get("on_failure") == "stop"
        return left

    def _undo_one(self, item: Registered, undo: Data, why: Error | None) -> str:
        if "rollback" in undo:
            return self.undo_child(undo["rollback"], why)
        around, path = self.scope, f"{item.path}.undo"
        step = {"id": item.id, "path": item.path, "idempotency_key": item.key}
        self.scope = item.scope.inner(
            undo.get("steps", ()), result=item.result, args=item.args, error=why, step=step, undoing=True
        )
        try:
            if "workflow" in undo:
                args = self._must_be(dict, self.value(undo.get("with", {}), path), path)
                called, _ = self.call_child(undo, path, args, COMPENSATION)
                return "undone" if called.failed is None else "failed"
            if "activity" in undo:
                return "undone" if self._undo_by_call(undo, path) else "failed"
            if "timeout" in undo:
                over = error("Timeout", step=path)
                self.within(parse_duration(undo["timeout"]), over, lambda: self.steps(undo["steps"], path))
            else:
                self.steps(undo["steps"], path)
        except Failed:
            return "failed"
        finally:
            self.scope = around
        return "undone"

    def _undo_by_call(self, undo: Data, path: str) -> bool:
        name = undo["activity"]
        args = self.value(undo.get("with", {}), path)
        defaults = {k: v for k, v in self.document.get("defaults", {}).items() if k == "timeout"}
        places = [undo, self.entry(name), self.declared(name), defaults]
        called = self.call(path, name, args, shortened(f"{self.run_id}/{path}"), places, COMPENSATION)
        return called.failed is None


def _settled(kind: str, what: Any) -> Data:
    if kind == "completed":
        return {"status": "completed", "output": what, "error": None}
    return {"status": "failed", "output": None, "error": what}
