"""What a runtime must do, as cases: a workflow, what its activities answer, what happens to it from
outside, and what comes of it.

A case is a mapping (``tests/conformance/cases/*.yaml`` holds ours)::

    case: a sentence about what holds
    covers: [retry, …]          the words of the language it is about
    workflow: {steps: …}        a document; ``dsl`` and ``name`` may be left out
    children: {NAME: {steps: …}}                the documents that references to children stand for
    input: {}
    activities: {NAME: ACT or [ACT, …]}         see ``script``
    declares: {NAME: {timeout: 5s, retry: …}}   the activities' own policies
    missing: [NAME, …]
    secrets: {NAME: VALUE}
    events: [{at: 5s, signal: approve, payload: {…}}, {at: 1s, cancel: why}, {at: 2s, lose_worker: 3s},
             {at: 1s, pause: true}, {at: 2s, unpause: true}, {at: 3s, terminate: true},
             {at: 4s, retry: true}, {at: 5s, retry: {skip: [PATH, …]}}]
    until: 10s                  look at it then; without it, at the end
    expect: {…}
    if_it_dies: [{…}, …]
    on_temporal: {…}

``expect`` may hold ``status output error saga attributes memo blocked elapsed``, ``steps outputs errors
attempts args keys made`` by path, and ``calls waiting_for reached``, which are lists. Of an error only the
keys given are compared; ``calls`` are the attempts, as ``PATH#ATTEMPT``, in the order in which they were
made, ``made`` how often a step was, ``resumed`` the details of heartbeats that an attempt (``PATH#ATTEMPT``)
was told of when it was made last. ``says`` are texts that the run's error has in its message, ``hidden``
texts that nothing in the status document may show.

``lose_worker`` kills the worker at ``at`` and lets another one find the run that much later. Times are
after the start. ``if_it_dies`` lists other expectations, one of which may hold instead when a worker dies
at some commit: where the answer of an attempt is lost while the run is being cancelled, say. ``on_temporal``
are expectations that replace those of the same name there: docs/temporal.md says where it differs, and why.

A third runtime needs one function, from ``Case`` to ``Observed``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowctl import values
from flowctl.activities import activity, declared
from flowctl.clock import parse_duration
from flowctl.document import load, stored
from flowctl.model import Policy, Workflow
from flowctl.testing.events import Event
from flowctl.testing.script import Asked, ScriptedActivities

EVERY_STEP = sys.maxsize
"""How many steps of a run are looked at."""

RUN_ID = "case"
"""The id of every case's run, so that keys can be written down."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case, read. ``until`` is when to look, in milliseconds after the start, or None for the end."""

    name: str
    covers: tuple[str, ...]
    workflow: Workflow
    children: Mapping[str, Workflow]
    source: str
    input: Mapping[str, Any]
    acts: Mapping[str, Any]
    policies: Mapping[str, Policy]
    missing: tuple[str, ...]
    secrets: Mapping[str, str]
    events: tuple[Event, ...]
    until: int | None
    expect: Mapping[str, Any]
    if_it_dies: tuple[Mapping[str, Any], ...]
    on_temporal: Mapping[str, Any]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Case:
        """A case from its mapping. ``InvalidDocument`` if its workflow is not one, ``ValueError`` for
        other mistakes.
        """
        known = {
            "case", "covers", "workflow", "input", "activities", "declares", "missing", "secrets", "events",
            "until", "expect", "if_it_dies", "children", "on_temporal",
        }  # fmt: skip
        if unknown := set(data) - known:
            raise ValueError(f"unknown words in the case {data.get('case')!r}: {sorted(unknown)}")
        source = _written("case", data["workflow"])
        return cls(
            name=data["case"],
            covers=tuple(data.get("covers", ())),
            workflow=load(source, "case.json").workflow,
            children={
                name: load(_written(name, child), f"{name}.json").workflow
                for name, child in data.get("children", {}).items()
            },
            source=source,
            input=data.get("input", {}),
            acts=data.get("activities", {}),
            policies={name: _policy(options) for name, options in data.get("declares", {}).items()},
            missing=tuple(data.get("missing", ())),
            secrets=data.get("secrets", {}),
            events=tuple(
                sorted((Event.parse(event) for event in data.get("events", ())), key=lambda event: event.at)
            ),
            until=parse_duration(data["until"]) if "until" in data else None,
            expect=data["expect"],
            if_it_dies=tuple(data.get("if_it_dies", ())),
            on_temporal=data.get("on_temporal", {}),
        )

    @property
    def pins(self) -> dict[str, dict[str, str]]:
        """As ``Run.pins``: every document of the case knows all children by their names."""
        digests = {name: child.digest for name, child in self.children.items()}
        return {each.digest: digests for each in (self.workflow, *self.children.values())} if digests else {}

    def document(self, digest: str) -> Workflow:
        """One of the documents."""
        return next(each for each in (self.workflow, *self.children.values()) if each.digest == digest)

    def pinned(self, digest: str) -> Workflow:
        """The same, as whoever takes a run over reads it from the journal."""
        return stored(values.encode(self.document(digest).body), digest)

    def script(self) -> ScriptedActivities:
        """Fresh activities with an empty ledger."""
        return ScriptedActivities(
            self.acts, policies=self.policies, missing=self.missing, secrets=self.secrets
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    """What came of a case: the status document, the ledger, and how long it took in milliseconds."""

    status: Mapping[str, Any]
    asked: Sequence[Asked]
    elapsed: int

    @property
    def calls(self) -> list[str]:
        """``PATH#ATTEMPT`` in order, an attempt that was made again after a loss counted once."""
        return list(dict.fromkeys(f"{asked.path}#{asked.attempt}" for asked in self.asked))


def differences(case: Case, observed: Observed, *, slack: int = 0) -> list[str]:
    """What was expected and is not so, a line each; empty if the case holds.

    ``slack`` is how many milliseconds later a run may hear of what happens outside of it.
    """
    return unlike(case.expect, observed, slack=slack)


def unlike(expect: Mapping[str, Any], observed: Observed, *, slack: int = 0) -> list[str]:
    """The same for one set of expectations."""
    checks: dict[str, Callable[[], Any]] = {
        "status": lambda: observed.status["status"],
        "output": lambda: observed.status["output"],
        "attributes": lambda: observed.status["attributes"],
        "memo": lambda: observed.status["memo"],
        "error": lambda: _only(observed.status["error"], expect.get("error")),
        "saga": lambda: {name: observed.status["saga"][name] for name in expect["saga"]},
        "steps": lambda: {path: _step(observed, path).get("status") for path in expect["steps"]},
        "outputs": lambda: {path: _step(observed, path).get("output") for path in expect["outputs"]},
        "errors": lambda: {
            path: _only(_step(observed, path).get("error"), error) for path, error in expect["errors"].items()
        },
        "attempts": lambda: {path: _step(observed, path).get("attempt") for path in expect["attempts"]},
        "calls": lambda: observed.calls,
        "made": lambda: {path: _made(observed, path) for path in expect["made"]},
        "resumed": lambda: {call: _resumed(observed, call) for call in expect["resumed"]},
        "args": lambda: {path: _asked(observed, path, "args") for path in expect["args"]},
        "keys": lambda: {path: _asked(observed, path, "key") for path in expect["keys"]},
        "says": lambda: [text for text in expect["says"] if text in _message(observed)],
        "hidden": lambda: [text for text in expect["hidden"] if text not in repr(observed.status)],
        "waiting_for": lambda: [waiting["path"] for waiting in observed.status["waiting_for"]],
        "blocked": lambda: (observed.status["blocked"] or {}).get("code"),
        "elapsed": lambda: observed.elapsed,
        "reached": lambda: [step["path"] for step in observed.status["steps"]],
    }
    found = []
    for name, expected in expect.items():
        wanted = parse_duration(expected) if name == "elapsed" else expected
        actual = checks[name]()
        if name == "elapsed" and wanted <= actual <= wanted + slack:
            continue
        if not values.equal(wanted, actual):
            found.append(f"{name}: expected {wanted!r}, got {actual!r}")
    return found


def _only(actual: Any, expected: Any) -> Any:
    if not isinstance(actual, Mapping) or not isinstance(expected, Mapping):
        return actual
    return {key: _only(actual.get(key), value) for key, value in expected.items()}


def _message(observed: Observed) -> str:
    return str((observed.status["error"] or {"message": ""})["message"])


def _step(observed: Observed, path: str) -> Mapping[str, Any]:
    return next((step for step in observed.status["steps"] if step["path"] == path), {})


def _asked(observed: Observed, path: str, what: str) -> Any:
    return next((getattr(asked, what) for asked in observed.asked if asked.path == path), None)


def _resumed(observed: Observed, call: str) -> Any:
    made = [asked for asked in observed.asked if f"{asked.path}#{asked.attempt}" == call]
    return made[-1].heartbeat if made else "it was never made"


def _written(name: str, document: Mapping[str, Any]) -> str:
    """The text of a document, its keys in the order in which they were written."""
    return json.dumps({"dsl": 1, "name": name, **document}, ensure_ascii=False)


def _made(observed: Observed, path: str) -> int:
    return sum(asked.path == path for asked in observed.asked)


def _policy(options: Mapping[str, Any]) -> Policy:
    def nothing() -> None: ...

    declare: Any = activity("declares", **options)
    made = declared(declare(nothing))
    assert made is not None
    return made.policy
