"""The whole: each question is asked of the part that knows, on the backend's loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from flowctl.backends import Documents, Observer, StartRequest, answers
from flowctl.backends.answers import answer
from flowctl.backends.reading import lines_before
from flowctl.backends.temporal import last
from flowctl.backends.temporal.driving import LOOK_AFAR, Driving, held
from flowctl.backends.temporal.listing import Listing
from flowctl.backends.temporal.sending import Sending, is_indexed
from flowctl.errors import RunNotFound, UsageError
from flowctl.expressions import FUNCTIONS
from flowctl.journal import Message, Where
from flowctl.model import NO_POLICY, Policy
from flowctl.runtimes.kin import check_sender, payload_of
from flowctl.runtimes.operations import Operations, reactions
from flowctl.runtimes.temporal.asking import Asking
from flowctl.runtimes.temporal.connection import Address, connect
from flowctl.runtimes.temporal.host import equip
from flowctl.runtimes.temporal.refusals import refused, refused_by_text
from flowctl.runtimes.temporal.remote import Seen, begin_of, begun, seen, signal, workflow_id_of
from flowctl.runtimes.versions import Versions
from flowctl.state import ENDED, LIVE, RunStatus
from flowctl.status import Fold, SecretPaths, history_lines, status_document
from flowctl.wall_clock import wall_clock

if TYPE_CHECKING:
    from flowctl.backends.reins import Holds
    from flowctl.document.closure import Closure
    from flowctl.model import Workflow
    from flowctl.plugins import Plugins

T = TypeVar("T")


class TemporalBackend:
    """See ``Backend``. Without ``plugins`` nothing is executed, and no run is read that calls a function of
    one.
    """

    def __init__(self, url: str, plugins: Plugins | None, settings: Policy | None) -> None:
        self._url = url
        self._plugins = plugins
        self._settings = settings or NO_POLICY
        self._functions: Mapping[str, Any] = plugins.vocabulary if plugins is not None else FUNCTIONS
        if plugins is not None:
            equip(plugins.vocabulary)
        address = Address.parse(url)
        self._runner = asyncio.Runner()
        try:
            self._client: Client = self._runner.run(connect(address))
        except BaseException:
            self._runner.close()
            raise
        client, queue = self._client, address.task_queue
        self._sending = Sending(client, queue, plugins, self._functions, self._settings)
        self._listing = Listing(client, queue, partial(is_indexed, client))
        self._driving = Driving(url, client, queue, plugins, self._listing)
        self._asking = Asking(client, self._look, self._sending.restart, wall_clock)

    def another(self, *, read_only: bool = False) -> TemporalBackend:
        """See ``Backend``."""
        return TemporalBackend(self._url, self._plugins, self._settings)

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Have it answered, on this backend's loop."""
        try:
            return self._runner.run(question)
        except RPCError as error:
            raise refused(error, self._client.namespace) from error
        except RuntimeError as error:  # a worker that may not work any more
            refusal = refused_by_text(error, self._client.namespace)
            if refusal is None:
                raise
            raise refusal from error

    # --- accepting and executing

    def start(self, request: StartRequest, *, claim: bool = False) -> tuple[str, bool]:
        """See ``Backend``. ``claim`` means nothing: whoever listens to the queue takes part."""
        run, created = self._ask(self._sending.start(request))
        if created:
            last.note(self._url, run.id)
        return run.id, created

    def drive(
        self, run_id: str, *, wait: int, observe: Observer | None = None, reins: Holds | None = None
    ) -> dict[str, Any]:
        """See ``Backend``. This process is a worker for as long; others may do some of the work."""
        until = wall_clock() + wait
        tell = answers.facts_told(observe) if observe is not None else lambda run, entries: None
        self._ask(held(lambda stop: self._driving.drive(run_id, until, tell, stop), reins))
        return self.status(self._latest(run_id))

    def work(
        self,
        *,
        concurrency: int | None = None,
        drain: bool = False,
        observe: Observer,
        ready: Callable[[], None] = lambda: None,
        reins: Holds | None = None,
    ) -> None:
        """See ``Backend``."""

        async def work(stop: asyncio.Event) -> None:
            loop = asyncio.get_running_loop()
            for number in (signals.SIGTERM, signals.SIGINT) if reins is None else ():
                loop.add_signal_handler(number, stop.set)
            async with self._driving.working(concurrency, observe):
                ready()
                if drain:
                    await self._driving.until_drained(stop)
                else:
                    await stop.wait()

        self._ask(held(work, reins))

    def is_live(self, run_id: str) -> bool:
        """See ``Backend``: whether a worker listens to the queue, or did until a moment ago."""
        return self._ask(self._driving.has_workers())

    def is_taken(self, run_id: str) -> bool:
        """See ``Backend``: whoever listens to the queue takes part."""
        return False

    # --- finding and reading

    def known_document(self, source: str) -> Workflow | None:
        """See ``Backend``. Nothing is kept from which to know it."""
        return None

    def resolve(self, reference: str) -> str:
        """See ``Backend``."""
        answers.check_reference(reference)
        if reference != answers.LAST:
            return self._ask(self._listing.resolve(reference))
        noted = last.noted(self._url)
        if noted is None:
            raise answers.nobody_started("from this folder")
        return self._latest(noted)

    def _latest(self, run_id: str) -> str:
        return self._ask(begin_of(self._client, workflow_id_of(run_id))).run_id

    async def _look(self, run_id: str) -> Seen:
        return await seen(self._client, run_id)

    def _seen(self, run_id: str) -> Seen:
        return self._ask(self._look(run_id))

    def status(
        self, run_id: str, *, first: int | None = None, count: int = 200, before: str | None = None
    ) -> dict[str, Any]:
        """See ``Backend``."""
        found = self._seen(run_id)
        run, entries = found.run, found.journal.entries(run_id)
        if before is not None:
            from flowctl.backends import moment

            run, entries = moment.before(run, entries, before)
        return status_document(run, entries, first=first, count=count)

    def standings(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        found = self._found(run_ids, self._listing.latest)
        return {run_id: {"id": run["id"], "status": run["status"]} for run_id, run in found.items()}

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
    ) -> Documents:
        """See ``Backend``."""

        async def list_() -> Documents:
            rows = self._listing.select(statuses=statuses, workflow=workflow, where=where, limit=limit)
            return await self._listing.documents(await rows)

        return self._ask(list_())

    def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> Documents:
        """See ``Backend``."""
        rows = self._ask(self._listing.select(statuses=statuses, workflow=workflow, where=where, limit=limit))
        return [{key: row.document[key] for key in ("id", "status")} for row in rows]

    def page(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
        after: str | None = None,
        counts: bool = True,
    ) -> tuple[Documents, str | None]:
        """See ``Backend``. A page is found by the number of runs before it."""
        first = answers.number_of(after) or 0
        end = first + limit

        async def page() -> tuple[Documents, str | None]:
            rows = await self._listing.select(
                statuses=statuses, workflow=workflow, where=where, limit=end + 1
            )
            documents = await self._listing.documents(rows[first:end], counts=counts)
            return documents, str(end) if len(rows) > end else None

        return self._ask(page())

    def glances(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        return self._found(run_ids, self._listing.glance)

    def _found(self, run_ids: Iterable[str], ask: Callable[[str], Coroutine[Any, Any, T]]) -> dict[str, T]:
        found = {}
        for run_id in run_ids:
            with contextlib.suppress(RunNotFound):
                found[run_id] = self._ask(ask(run_id))
        return found

    def news(self, mark: Any) -> tuple[Any, Sequence[str]]:
        """See ``Backend``. Temporal is asked once a second; it tells of the latest thousand runs."""
        at, before = mark if mark is not None else (0.0, {})
        if time.monotonic() < at + LOOK_AFAR:
            return mark, ()
        now = self._ask(self._listing.lengths())
        changed = [run_id for run_id, length in now.items() if mark and before.get(run_id) != length]
        return (time.monotonic(), now), changed

    def statistics(self) -> dict[str, Any]:
        """See ``Backend``. What is due and how much there is, the server's own metrics tell."""
        counts = self._ask(self._listing.counts())
        runs = [[workflow, status, count] for (workflow, status), count in sorted(counts.items())]
        return {"runs": runs, "due": 0, "workers": int(self.is_live("")), "size": 0}

    def pinned(self, run_id: str) -> tuple[Workflow, str]:
        """See ``Backend``."""
        from flowctl.document import stored

        found = self._seen(run_id)
        document = found.journal.document(found.run.digest)
        assert document is not None
        return stored(document.body, document.digest, self._functions), document.source

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        found = self._seen(run_id)
        lines = history_lines(found.run, found.journal.entries(run_id))
        return (line for line in lines if line["seq"] > after or not after)

    def earlier(self, run_id: str, *, before: int | None = None, limit: int) -> tuple[Documents, int | None]:
        """See ``Backend``."""
        found = self._seen(run_id)
        entries = found.journal.entries(run_id)
        secret = Fold.of(entries, SecretPaths.of(found.run)).secret
        return lines_before(found.run, entries, secret, before, limit)

    def follow(self, run_id: str, *, after: int = 0, rests: bool = False) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        for line in self._tail(run_id, after, rests=rests):
            if line is None:
                time.sleep(LOOK_AFAR)
            else:
                yield line

    def tail(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any] | None]:
        """See ``Backend``."""
        return self._tail(run_id, after, rests=False)

    def _tail(self, run_id: str, after: int, *, rests: bool) -> Iterator[dict[str, Any] | None]:
        while True:
            found = self._seen(run_id)
            for line in history_lines(found.run, found.journal.entries(run_id)):
                if line["seq"] > after or (not after and line["seq"] == 0):
                    yield line
            after = max([after, *(entry.seq for entry in found.journal.entries(run_id))])
            if found.run.status in ENDED or (rests and not self.is_live(run_id)):
                return
            yield None

    def export(self, run_id: str) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        from flowctl.backends.export import export

        found = self._seen(run_id)
        return export(found.journal, found.run)

    # --- asking

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """See ``Backend``."""
        check_sender(principal, dedup_id)
        found, at = self._seen(run_id), wall_clock()
        _, document = begun(self._ask(begin_of(self._client, workflow_id_of(run_id))))
        given = payload_of(document, name, payload)
        # what a journal would make of it, tried on one of which nobody knows
        _, new = found.journal.deliver(Message(run_id, "signal", name, given, at, principal, dedup_id))
        if new:
            about = {"flowctl": 1, "payload": given, "principal": principal, "dedup_id": dedup_id, "at": at}
            self._ask(signal(self._client, workflow_id_of(run_id), name, about))
        return answer(found.run)

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.cancel(run_id, reason, principal=principal)))

    def pause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.pause(run_id, principal=principal)))

    def unpause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.unpause(run_id, principal=principal)))

    def resume(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.resume(run_id, principal=principal)))

    def terminate(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.terminate(run_id, principal=principal))) | {
            "status": RunStatus.TERMINATED.value
        }

    def retry(self, run_id: str, *, skip: Sequence[str] = (), principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._ask(self._asking.retry(run_id, skip=skip, principal=principal)))

    def reactions(self, run_id: str) -> dict[str, str]:
        """See ``Backend``."""
        return reactions(self._seen(run_id).run)

    def replay(
        self,
        run_id: str,
        start: str,
        *,
        input: Mapping[str, Any] | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._ask(self._sending.replay(self._seen(run_id), start, input, principal))
        last.note(self._url, run.id)
        return answer(run)

    # --- documents

    def verdict(self, run_id: str, workflow: Workflow) -> dict[str, Any]:
        """See ``Backend``."""
        found = self._seen(run_id)
        run = Operations(found.journal, wall_clock).permitted("migrate", run_id)
        return answers.verdict(run, Versions(found.journal, wall_clock).misfit(run, workflow))

    def verdicts(self, workflow: Workflow) -> Documents:
        """See ``Backend``."""
        live = self.select(statuses=sorted(LIVE), workflow=workflow.name)
        return [self.verdict(run["id"], workflow) for run in live]

    def migrate(
        self, run_id: str, workflow: Workflow, source: str, children: Closure | None
    ) -> dict[str, Any]:
        """See ``Backend``. Temporal replays what a run did with the document that it did it with."""
        raise UsageError(
            "a run on Temporal stays with its document",
            hint="say in the document what changes, with a `patch` step; or cancel the run and start it anew",
        )

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """See ``Backend``."""
        _no_registry()

    def deploy(self, workflow: Workflow, source: str) -> bool:
        """See ``Backend``."""
        _no_registry()

    def workflows(self) -> Documents:
        """See ``Backend``."""
        _no_registry()

    def deprecate(self, name: str, version: int, message: str) -> None:
        """See ``Backend``."""
        _no_registry()

    def close(self) -> None:
        """See ``Backend``."""
        self._driving.close()
        self._runner.close()


def _no_registry() -> NoReturn:
    raise UsageError(
        "workflows are not deployed to Temporal: a run takes its documents along",
        hint="name the file instead of the workflow; children too can be files",
    )
