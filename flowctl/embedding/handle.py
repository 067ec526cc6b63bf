"""A run in the hands of a program."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flowctl.embedding.endings import output_of
from flowctl.embedding.loading import check_texts, input_of, to_json
from flowctl.embedding.news import FIRST_LOOK, LAST_LOOK
from flowctl.errors import RunNotFound
from flowctl.state import RunStatus

if TYPE_CHECKING:
    from flowctl.backends import Backend
    from flowctl.embedding.engine import Engine

T = TypeVar("T")

_NUMBER_IN_CHAIN = re.compile(r"~[0-9]+\Z")

BATCH = 200
"""Events that are read at once, so that others can ask in between."""


class Handle:
    """A run of an ``Engine``, by its id: what it does and what comes of it can be asked, and it be told.

    ``id`` is a run id, or a workflow id, which means its latest run. A handle holds nothing: it may be thrown
    away, and made anew with ``engine.handle(id)``, in another process too. Everything is durable when it
    returns.
    """

    def __init__(self, engine: Engine, id: str, *, created: bool | None = None) -> None:
        self._engine = engine
        self.id = id
        self.created = created
        """Whether ``start`` has made it; None where nothing was started."""

    def __repr__(self) -> str:
        return f"<flowctl.Handle of {self.id}>"

    # --- looking

    async def result(self) -> Any:
        """Wait until the run has ended, and return its output. A run that continued as new is followed.

        Raises ``RunFailed``, ``RunCompensated``, ``RunCompensationFailed``, ``RunCancelled`` or
        ``RunTerminated``, as it ended, and ``RunUnfinished`` if it is blocked: something that it needs is
        missing here. To wait for some time only, use ``asyncio.timeout``: the run is not touched by that.
        """
        document = await self._rest(RunStatus.BLOCKED)
        return output_of(document)

    async def wait(self) -> dict[str, Any]:
        """Wait until the run has ended, however, and return its status document."""
        return await self._rest()

    async def _rest(self, *others: RunStatus) -> dict[str, Any]:
        pause = FIRST_LOOK
        news = self._engine._news
        run_id = await self._ask(lambda backend, run_id: run_id)
        workflow_id = _NUMBER_IN_CHAIN.sub("", run_id)
        while True:
            standing = await self._engine._ask(lambda backend: backend.standings([run_id]).get(run_id))
            if standing is None:
                raise RunNotFound(f"there is no run {run_id} any more")
            status = RunStatus(standing["status"])
            if status.ended or status in others:
                break
            await news.wait(workflow_id, pause)
            pause = min(pause * 1.5, LAST_LOOK)
        last: str = standing["id"]
        return await self._engine._ask(lambda backend: backend.status(last))

    async def status(self, *, before: str | None = None) -> dict[str, Any]:
        """Everything about the run: what ``flowctl status --json`` shows. With ``before``, a step's path,
        what the run knew just before that step began (``NotFound`` if it never did).
        """
        return await self._ask(lambda backend, run_id: backend.status(run_id, before=before))

    async def history(self) -> list[dict[str, Any]]:
        """All facts in order, as ``{seq, at, path, kind, attempt, …}``."""
        return await self._ask(lambda backend, run_id: list(backend.history(run_id)))

    async def events(self, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The facts of the run, as ``history`` has them: those there are, then each as it comes, until the
        run has ended. ``after`` is the ``seq`` of the last that is known already.
        """
        import asyncio

        tail = await self._ask(lambda backend, run_id: backend.tail(run_id, after=after))
        over = False
        while not over:
            lines, over = await self._engine._ask(lambda backend: _take(tail))
            for line in lines:
                yield line
            if not (lines or over):
                await asyncio.sleep(FIRST_LOOK)

    # --- telling

    async def signal(
        self, name: str, payload: Any = None, *, dedup_id: str | None = None, principal: str | None = None
    ) -> None:
        """Deliver a signal; with a ``dedup_id`` once, however often it is sent. ``UnknownSignal``,
        ``InvalidInput``, ``RunClosed``.
        """
        check_texts(name=name)
        data = to_json(payload)
        await self._tell(
            lambda backend, run_id: backend.signal(run_id, name, data, dedup_id=dedup_id, principal=principal)
        )

    async def cancel(self, reason: str = "cancelled", *, principal: str | None = None) -> None:
        """Ask the run to stop and undo what it did; ``result`` raises how that ended. ``RunClosed``."""
        await self._tell(lambda backend, run_id: backend.cancel(run_id, reason, principal=principal))

    async def terminate(self) -> None:
        """End the run at once, and undo nothing. ``RunClosed``."""
        await self._tell(lambda backend, run_id: backend.terminate(run_id))

    async def pause(self) -> None:
        """Let nothing new begin; no clock stops. ``RunClosed``."""
        await self._tell(lambda backend, run_id: backend.pause(run_id))

    async def unpause(self) -> None:
        """Take that back. ``RunClosed``."""
        await self._tell(lambda backend, run_id: backend.unpause(run_id))

    async def retry(self, *, skip: Sequence[str] = ()) -> None:
        """Let a run that failed, or is held, go on from what failed; ``skip`` are paths of steps that a
        person has undone. ``RunOpen``, ``RunClosed``.
        """
        await self._tell(lambda backend, run_id: backend.retry(run_id, skip=skip))

    async def replay(self, start: str, *, input: Any = None, principal: str | None = None) -> Handle:
        """A new run that repeats this one from the step ``start`` on, with its input or another.
        ``NotServed``, ``InvalidInput``, ``UsageError``.
        """
        check_texts(start=start)
        other = None if input is None else input_of(input)
        answer = await self._tell(
            lambda backend, run_id: backend.replay(run_id, start, input=other, principal=principal)
        )
        return Handle(self._engine, answer["id"], created=True)

    async def _tell(self, act: Callable[[Backend, str], dict[str, Any]]) -> dict[str, Any]:
        answer = await self._ask(act)
        self._engine._look()
        return answer

    async def _ask(self, question: Callable[[Backend, str], T]) -> T:
        return await self._engine._ask(lambda backend: question(backend, backend.resolve(self.id)))


def _take(tail: Iterator[dict[str, Any] | None]) -> tuple[list[dict[str, Any]], bool]:
    """What has come, and whether that was all there will be."""
    lines: list[dict[str, Any]] = []
    for line in tail:
        if line is None:
            return lines, False
        lines.append(line)
        if len(lines) >= BATCH:
            return lines, False
    return lines, True
