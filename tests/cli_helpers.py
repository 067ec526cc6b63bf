"""What the tests of the command line share: a way to call it, and a backend that only takes notes."""

from __future__ import annotations

import builtins
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from flowctl.backends import Observer, StartRequest
from flowctl.cli.entry import execute
from flowctl.errors import RunNotFound
from flowctl.journal import Where
from flowctl.model import Workflow

RUN: dict[str, Any] = {
    "id": "order-1",
    "workflow_id": "order-1",
    "workflow": "order",
    "version": 1,
    "digest": "sha256:0",
    "parent_id": None,
    "status": "completed",
    "input": {},
    "output": None,
    "error": None,
    "current_steps": [],
    "waiting_for": [],
    "blocked": None,
    "attributes": {},
    "memo": {},
    "principal": None,
    "trace_id": None,
    "saga": {"undone": [], "failed": [], "in_doubt": [], "not_undone": [], "skipped": []},
    "created_at": "2030-01-01T00:00:00.000Z",
    "started_at": "2030-01-01T00:00:00.000Z",
    "completed_at": "2030-01-01T00:00:01.000Z",
    "attempt": 1,
    "history_length": 1,
    "history_size": 1,
    "step_counts": {},
    "steps": [],
}


ORDER = """\
dsl: 1
name: order
version: 1
input:
  type: object
  required: [item]
  properties:
    item: {type: string}
    fail: {type: boolean, default: false}
    ask: {type: boolean, default: false}
signals:
  approve: {payload: {type: object, required: [by], properties: {by: {type: string}}}}
steps:
  - id: reserve
    activity: shop.reserve
    with: {item: "${{ input.item }}"}
    compensate: {activity: shop.release, with: {item: "${{ args.item }}"}}
  - id: approval
    if: input.ask
    wait_for_signal: approve
  - id: ship
    activity: shop.ship
    with: {fail: "${{ input.fail }}"}
    retry: false
output: {item: "${{ steps.reserve.output.item }}"}
"""

SHOP = """\
from flowctl import activity

@activity("shop.reserve")
def reserve(item: str) -> dict:
    return {"item": item}

@activity("shop.release")
def release(item: str) -> None:
    pass

@activity("shop.ship")
def ship(fail: bool) -> str:
    if fail:
        raise RuntimeError("no carrier")
    return "T-1"
"""


class NoteTaker:
    """A ``Backend`` with a run ``order-1``. ``calls`` is what it was asked; ``drive`` raises ``fails``.

    ``selected`` are the runs that fit any filter, newest first, with their states; ``coming`` is what
    happens while somebody follows the run, and ``ending`` the runs that end while a worker works.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.document_of_run = dict(RUN)
        self.live = False
        self.fails: BaseException | None = None
        self.selected: dict[str, str] = {}
        self.coming: list[dict[str, Any]] = []
        self.ending: list[dict[str, Any]] = []
        self.opened: dict[str, Any] = {}

    def open(self, url: str, **how: Any) -> NoteTaker:
        self.opened = {"url": url, **how}
        return self

    def start(self, request: StartRequest, *, claim: bool = False) -> tuple[str, bool]:
        self.calls.append(("start", request, claim))
        return "order-1", True

    def work(
        self,
        *,
        concurrency: int | None = None,
        drain: bool = False,
        observe: Observer,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        ready()
        self.calls.append(("work", concurrency, drain))
        for document in self.ending:
            observe(document)

    def drive(self, run_id: str, *, wait: int, observe: Observer | None = None) -> dict[str, Any]:
        self.calls.append(("drive", run_id, wait))
        if self.fails is not None:
            raise self.fails
        return self.document_of_run

    def known_document(self, source: str) -> Workflow | None:
        return None

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        raise NotImplementedError

    def resolve(self, reference: str) -> str:
        if reference not in ("order-1", "@last"):
            raise RunNotFound(f"there is no run {reference}")
        return "order-1"

    def status(
        self, run_id: str, *, first: int | None = None, count: int = 200, before: str | None = None
    ) -> dict[str, Any]:
        self.calls.append(("status", run_id, first, count, before))
        return self.document_of_run

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
    ) -> builtins.list[dict[str, Any]]:
        self.calls.append(("list", tuple(statuses), workflow, tuple(where), limit))
        return [{key: value for key, value in RUN.items() if key not in ("input", "output", "steps")}]

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        at = "2030-01-01T00:00:00.000Z"
        for seq, kind in enumerate(("started", "completed"), 1):
            yield {"seq": seq, "at": at, "path": "charge", "kind": kind, "attempt": 1}

    def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> builtins.list[dict[str, Any]]:
        self.calls.append(("select", tuple(statuses), workflow, tuple(where), limit))
        return [{"id": run_id, "status": status} for run_id, status in self.selected.items()]

    def follow(self, run_id: str, *, after: int = 0, rests: bool = False) -> Iterator[dict[str, Any]]:
        self.calls.append(("follow", run_id, after, rests))
        yield from (line for line in self.history(run_id) if line["seq"] > after)
        yield from self.coming

    def export(self, run_id: str) -> Iterator[dict[str, Any]]:
        yield {"flowctl": "run", "run": {"id": run_id}}
        yield from self.history(run_id)

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        self.calls.append(("signal", run_id, name, payload, dedup_id, principal))
        return {"id": run_id, "status": "waiting"}

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        self.calls.append(("cancel", run_id, reason, principal))
        return {"id": run_id, "status": "waiting"}

    def pause(self, run_id: str) -> dict[str, Any]:
        self.calls.append(("pause", run_id))
        return {"id": run_id, "status": "paused"}

    def unpause(self, run_id: str) -> dict[str, Any]:
        self.calls.append(("unpause", run_id))
        return {"id": run_id, "status": "paused" if self.document_of_run["error"] else "waiting"}

    def resume(self, run_id: str) -> dict[str, Any]:
        self.calls.append(("resume", run_id))
        return {"id": run_id, "status": self.document_of_run["status"]}

    def terminate(self, run_id: str) -> dict[str, Any]:
        self.calls.append(("terminate", run_id))
        return {"id": run_id, "status": "terminated"}

    def retry(self, run_id: str, *, skip: Sequence[str] = ()) -> dict[str, Any]:
        self.calls.append(("retry", run_id, tuple(skip)))
        return {"id": run_id, "status": "running"}

    def deploy(self, workflow: Workflow, source: str) -> bool:
        self.calls.append(("deploy", workflow.name, workflow.version))
        return True

    def workflows(self) -> builtins.list[dict[str, Any]]:
        return []

    def deprecate(self, name: str, version: int, message: str) -> None:
        self.calls.append(("deprecate", name, version, message))

    def is_live(self, run_id: str) -> bool:
        return self.live

    def is_taken(self, run_id: str) -> bool:
        return self.live

    def close(self) -> None:
        self.calls.append(("close",))

    def asked(self, name: str) -> builtins.list[tuple[Any, ...]]:
        """The requests of that name, without it."""
        return [call[1:] for call in self.calls if call[0] == name]


@dataclasses.dataclass(frozen=True)
class Said:
    """What a command said, and how it exited."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


Flowctl = Callable[..., Said]


def caller(capsys: pytest.CaptureFixture[str]) -> Flowctl:
    """``flowctl`` in this process."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = execute(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call
