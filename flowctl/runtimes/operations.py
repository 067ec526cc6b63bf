"""Operations: what people ask of a run, made effective at once, whoever is there.

A request is a message in the run's inbox, so it is durable before anything comes of it. A live process that
has the run hears of it within moments. If nobody has the run, it is claimed, what was asked is recorded, and
it is given back (``machine.requests``); nothing of the run's own is executed for that. An ended run has no
inbox any more: its retry is recorded in the same way, directly.

What a command does to a run in which state, ``state.COMMANDS`` says, and ``reaction`` of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flowctl.errors import InvalidInput, RunBusy, RunClosed, RunNotFound, RunOpen
from flowctl.journal import Change, Entry, Journal, Message, MessageKind, Run, end_of_child
from flowctl.machine import requests
from flowctl.path import Path
from flowctl.state import CLOSED, COMMANDS, DO, ENDED, OPEN, RunStatus


class Operations:
    """Operations on the runs of one journal. Each returns the run's row as it is then. ``clock`` is in
    milliseconds since the epoch.

    All raise ``RunNotFound``, and ``RunClosed`` for a run that has ended.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int],
        committed: Callable[[Change], None] | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._committed = committed

    def pause(self, run_id: str, *, principal: str | None = None) -> Run:
        """Let nothing new begin in a run. What is under way ends, and no clock stops."""
        return self._ask("pause", self.permitted("pause", run_id), principal)

    def unpause(self, run_id: str, *, principal: str | None = None) -> Run:
        """Take that back."""
        return self._ask("unpause", self.permitted("unpause", run_id), principal)

    def resume(self, run_id: str, *, principal: str | None = None) -> Run:
        """Lift a pause, if there is one, before a run is driven on. An ended run is left as it is."""
        run = self.permitted("resume", run_id)
        return self._ask("unpause", run, principal) if run.status == RunStatus.PAUSED else run

    def terminate(self, run_id: str, *, principal: str | None = None) -> Run:
        """End a run at once, and the children that it waits for. Nothing is undone. Detached children that
        are to end with it are cancelled.
        """
        terminated = self._ask("terminate", self.permitted("terminate", run_id), principal)
        awaited, closing = children_of(terminated, self._journal.entries(run_id))
        for child in self._live(awaited):
            self.terminate(child.id, principal=principal)
        for child in self._live(closing):
            self._ask("cancel", child, principal, {"reason": f"its parent {run_id} was terminated"})
        return terminated

    def retry(self, run_id: str, *, skip: Sequence[str] = (), principal: str | None = None) -> Run:
        """Let a failed or held run go on from its failed step, or one that was not undone completely from
        what is left. Steps to ``skip`` a person has undone. ``RunOpen`` if nothing has failed;
        ``InvalidInput`` for a step that needs no skipping; ``RunBusy``.
        """
        run = self.permitted("retry", run_id)
        _check_skipped(run, skip)
        if run.status in ENDED:
            return self._reopen(run, {"skip": list(skip), "principal": principal})
        return self._ask("retry", run, principal, {"generation": run.generation})

    def permitted(self, command: str, run_id: str) -> Run:
        """The row of a run that a command may be used on, whether or not there is something to do."""
        run = self._journal.run(run_id)
        if run is None:
            raise RunNotFound(
                f"there is no run {run_id}", hint="`flowctl list` shows the runs of this database"
            )
        coming = reaction(command, run)
        if coming == CLOSED:
            raise RunClosed(f"run {run.id} is {run.status}", hint=_CLOSED_HINT)
        if coming == OPEN and run.status == RunStatus.PAUSED:
            raise RunOpen(
                f"run {run.id} is paused, and nothing of it has failed",
                hint="`flowctl unpause` lets it go on",
            )
        if coming == OPEN:
            raise RunOpen(
                f"run {run.id} is {run.status}", hint="only what has failed, or is held, is retried"
            )
        return run

    # --- making it effective

    def _ask(
        self, kind: MessageKind, run: Run, principal: str | None = None, data: dict[str, Any] | None = None
    ) -> Run:
        """Leave a request where it has something to do, and see to it if nobody else does."""
        if COMMANDS[kind][RunStatus(run.status)] != DO:
            return run
        self._journal.deliver(Message(run.id, kind, kind, data or {}, self._clock(), principal=principal))
        if not self._journal.attended(run.id):
            claimed = self._journal.claim(run.id)
            if claimed is not None:
                return self._apply(claimed)
        return self._journal.run(run.id) or run

    def _apply(self, run: Run) -> Run:
        change = Change(run, [], release=True)
        if run.status not in ENDED:
            entries, messages = self._journal.entries(run.id), self._journal.inbox(run.id)
            change = requests.apply(run, entries, messages, self._clock)
            change.tell = end_of_child(change.run, self._clock())
        self._commit(change)
        return change.run

    def _reopen(self, run: Run, about: dict[str, Any]) -> Run:
        claimed = self._journal.claim(run.id)
        if claimed is None:
            raise RunBusy(f"another process has run {run.id} already")
        change = Change(claimed, [], release=True)
        if claimed.status in ENDED:
            entries, messages = self._journal.entries(run.id), self._journal.inbox(run.id)
            change = requests.reopen(claimed, entries, messages, self._clock, about)
        self._commit(change)
        return change.run

    def _commit(self, change: Change) -> None:
        self._journal.commit([change])
        if self._committed is not None:
            self._committed(change)

    def _live(self, children: list[str]) -> Iterator[Run]:
        """The latest of the chain of each, if that has not ended."""
        for child in children:
            latest = self._journal.latest_of(child)
            if latest is not None and latest.status not in ENDED:
                yield latest


def reaction(command: str, run: Run) -> str:
    """What a command would come to with a run as it stands, as ``COMMANDS`` has it: of those that are paused,
    only those that are held have something to retry.
    """
    if command == "retry" and run.status == RunStatus.PAUSED and run.error is None:
        return OPEN
    return COMMANDS[command][RunStatus(run.status)]


def reactions(run: Run) -> dict[str, str]:
    """The same of every command."""
    return {command: reaction(command, run) for command in COMMANDS}


def children_of(run: Run, entries: Iterable[Entry]) -> tuple[list[str], list[str]]:
    """The children that a run waits for, those whose step has not ended; and those that end with it."""
    called: dict[str, str] = {}
    begun: dict[str, int] = {}
    closing: list[str] = [*((run.inherited or {}).get("left") or {}).get("closing", ())]
    for entry in entries:
        for fact in entry.facts():
            if fact.data.get("verb") == "workflow" and "name" in fact.data:
                called[fact.path] = fact.data["name"]
            if "closes" in fact.data and "served" not in fact.data:
                closing.append(Path(fact.path).child_id(run.id, fact.attempt))
            elif fact.kind == "started" and fact.path in called:
                begun[fact.path] = fact.attempt
            elif fact.kind in ("completed", "failed", "cancelled"):
                begun.pop(fact.path, None)
    awaited = [
        called[path] if called[path].endswith("~undo") else Path(path).child_id(run.id, attempt)
        for path, attempt in begun.items()
    ]
    return awaited, closing


_CLOSED_HINT = "`flowctl status` shows how; start a new one, or `flowctl replay` it, to do it again"


def _check_skipped(run: Run, skip: Sequence[str]) -> None:
    saga = run.saga or {}
    left = [*saga.get("failed", ()), *saga.get("in_doubt", ())]
    for path in skip:
        if path not in left:
            known = f"these are: {', '.join(left)}" if left else "nothing of it is"
            raise InvalidInput(f"{path} of run {run.id} is not left to be undone", hint=known)
