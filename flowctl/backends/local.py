"""The backend of one machine: the embedded engine on a journal, driven in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flowctl.backends import Documents, Observer, StartRequest, answers
from flowctl.backends.answers import answer
from flowctl.backends.reading import Readings, lines_before, lines_of
from flowctl.errors import NotFound, RunNotFound
from flowctl.journal import Change, Definition, Journal, Run, Where
from flowctl.state import RunStatus
from flowctl.status import folded, status_document, summary
from flowctl.wall_clock import wall_clock

if TYPE_CHECKING:
    from flowctl.backends.reins import Holds, Reins
    from flowctl.document.closure import Closure
    from flowctl.model import Policy, Workflow
    from flowctl.plugins import Plugins

ALL = sys.maxsize
PAGE = 1_000
"""Runs that are asked for at once where all are wanted."""


class LocalBackend:
    """See ``Backend``. ``plugins`` is None where nothing is executed (reading, signalling)."""

    def __init__(
        self,
        journal: Journal,
        plugins: Plugins | None,
        settings: Policy | None = None,
        shared: Readings | None = None,
    ) -> None:
        self._journal = journal
        self._plugins = plugins
        self._settings = settings
        self._shared = shared
        self._readings = shared if shared is not None else Readings(kept=0)
        self._readers = Readings()
        self._made: Any = None

    @property
    def _engine(self) -> Any:
        """The engine, made when first needed: reading needs none, and it brings asyncio."""
        if self._made is None:
            from flowctl.document import build
            from flowctl.engine import Engine, nobody_has
            from flowctl.model import NO_POLICY

            plugins = self._plugins
            if plugins is not None and plugins.telemetry is not None:
                plugins.telemetry.begin(self._journal.url)
            self._made = Engine(
                self._journal,
                plugins.activities if plugins is not None else {},
                secret=plugins.resolve_secret if plugins is not None else lambda name: None,
                sought=plugins.secrets.sought if plugins is not None else nobody_has,
                settings=self._settings or NO_POLICY,
                build_workflow=partial(build, functions=self._functions),
                listener=plugins.emit if plugins is not None and plugins.listens else None,
                telemetry=plugins.telemetry if plugins is not None else None,
            )
        return self._made

    @property
    def _functions(self) -> Any:
        """The functions that expressions may call: the language's, and those of the plugins."""
        from flowctl.expressions import FUNCTIONS

        return self._plugins.vocabulary if self._plugins is not None else FUNCTIONS

    def another(self, *, read_only: bool = False) -> LocalBackend:
        """See ``Backend``."""
        from flowctl.journal.opening import another

        journal = another(self._journal, read_only=read_only)
        return LocalBackend(journal, self._plugins, self._settings, self._readers if read_only else None)

    # --- runs

    def start(self, request: StartRequest, *, claim: bool = False) -> tuple[str, bool]:
        """See ``Backend``."""
        run, created = self._engine.start(
            request.workflow,
            request.source,
            request.input,
            id=request.id,
            principal=request.principal,
            children=request.children,
            claim=claim,
        )
        return run.id, created

    def drive(
        self, run_id: str, *, wait: int, observe: Observer | None = None, reins: Reins | None = None
    ) -> dict[str, Any]:
        """See ``Backend``."""
        import asyncio

        from flowctl.engine import calm_collector

        if reins is None:  # whoever holds them has other business in this process
            calm_collector()
        told = _changes_told(observe) if observe else None
        last = run_id

        async def driven() -> None:
            nonlocal last
            driving = asyncio.create_task(self._engine.drive(run_id, wait=wait, observe=told))
            loop = asyncio.get_running_loop()
            with contextlib.nullcontext() if reins is None else reins.held(loop, driving.cancel, _nothing):
                last = (await driving).id

        try:
            asyncio.run(driven())
        except asyncio.CancelledError:
            if reins is None or not reins.stopped:
                raise
        return self.status(last)  # the last of the chain, if it continued as new

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
        import asyncio

        from flowctl.engine import calm_collector, work

        if reins is None:  # as above
            calm_collector()
        told = _ends_told(observe)
        held = reins.held if reins is not None else None
        asyncio.run(
            work(self._engine, concurrency=concurrency, drain=drain, observe=told, ready=ready, held=held)
        )

    def resolve(self, reference: str) -> str:
        """See ``Backend``."""
        answers.check_reference(reference)
        if reference == answers.LAST:
            last = self._journal.last_started()
            if last is None:
                raise answers.nobody_started("on this database")
            return last.id
        exact = self._journal.run(reference.removesuffix(answers.FIRST))
        if exact is not None and (exact.id != exact.workflow_id or exact.id != reference):
            return exact.id
        latest = self._journal.latest_of(reference)
        if latest is not None:
            return latest.id
        found = self._journal.runs_with_prefix(reference)
        if not found:
            raise answers.not_found(reference, "this database")
        answers.only_one(reference, [run.id if "~" in reference else run.workflow_id for run in found])
        return found[0].id

    def status(
        self, run_id: str, *, first: int | None = None, count: int = 200, before: str | None = None
    ) -> dict[str, Any]:
        """See ``Backend``."""
        with self._readings.of(self._journal, run_id) as known:
            if before is None:
                return folded(known.run, known.fold, first=first, count=count)
            from flowctl.backends import moment

            run, entries = moment.before(known.run, known.entries, before)
            return status_document(run, entries, first=first, count=count)

    def standings(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        found = ((run_id, self._last_of(run_id)) for run_id in run_ids)
        return {run_id: answer(run) for run_id, run in found if run is not None}

    def _last_of(self, run_id: str) -> Run | None:
        run = self._journal.run(run_id)
        if run is None or run.status != RunStatus.CONTINUED:
            return run
        return self._journal.latest_of(run.workflow_id) or run

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
    ) -> Documents:
        """See ``Backend``."""
        runs = self._journal.list_runs(statuses=statuses, workflow=workflow, where=where, limit=limit)
        return [summary(run, self._journal.entries(run.id)) for run in runs]

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
        """See ``Backend``. A page is found by the key of the run before it."""
        runs = self._journal.list_runs(
            statuses=statuses,
            workflow=workflow,
            where=where,
            limit=limit + 1,
            before=answers.number_of(after),
        )
        shown = runs[:limit]
        documents = [summary(run, self._journal.entries(run.id) if counts else None) for run in shown]
        return documents, str(shown[-1].key) if len(runs) > limit else None

    def news(self, mark: Any) -> tuple[Any, Sequence[str]]:
        """See ``Backend``."""
        if mark is not None and not self._journal.changed():
            return mark, ()
        return self._journal.touched(mark, wall_clock())

    def glances(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """See ``Backend``."""
        runs = filter(None, map(self._journal.run, run_ids))
        return {run.id: summary(run) for run in runs}

    def statistics(self) -> dict[str, Any]:
        """See ``Backend``."""
        import msgspec

        return msgspec.structs.asdict(self._journal.statistics(wall_clock()))

    def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> Documents:
        """See ``Backend``."""
        found: Documents = []
        wanted, before = ALL if limit is None else limit, None
        while len(found) < wanted:
            size = min(PAGE, wanted - len(found))
            page = self._journal.list_runs(
                statuses=statuses, workflow=workflow, where=where, limit=size, before=before
            )
            found += map(answer, page)
            if len(page) < size:
                break
            before = page[-1].key
        return found

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        with self._readings.of(self._journal, run_id) as known:
            run, entries, secret = known.run, known.after(after), known.fold.secret
        return lines_of(run, entries, secret, begins=not after)

    def earlier(self, run_id: str, *, before: int | None = None, limit: int) -> tuple[Documents, int | None]:
        """See ``Backend``."""
        with self._readings.of(self._journal, run_id) as known:
            return lines_before(known.run, known.entries, known.fold.secret, before, limit)

    def follow(self, run_id: str, *, after: int = 0, rests: bool = False) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        from flowctl.backends.following import follow

        return follow(self._journal, self._run(run_id).id, after=after, rests=rests)

    def tail(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any] | None]:
        """See ``Backend``."""
        from flowctl.backends.following import tail

        return tail(self._journal, self._run(run_id).id, after=after, readings=self._shared)

    def export(self, run_id: str) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        from flowctl.backends.export import export

        return export(self._journal, self._run(run_id))

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
        run = self._engine.signal(run_id, name, payload, dedup_id=dedup_id, principal=principal)
        return answer(run)

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._engine.cancel(run_id, reason, principal=principal)
        return answer(run)

    def pause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._engine.operations.pause(run_id, principal=principal))

    def unpause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._engine.operations.unpause(run_id, principal=principal))

    def resume(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._engine.operations.resume(run_id, principal=principal))

    def terminate(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._engine.operations.terminate(run_id, principal=principal))

    def retry(self, run_id: str, *, skip: Sequence[str] = (), principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        return answer(self._engine.operations.retry(run_id, skip=skip, principal=principal))

    def reactions(self, run_id: str) -> dict[str, str]:
        """See ``Backend``."""
        from flowctl.runtimes.operations import reactions

        return reactions(self._run(run_id))

    def is_live(self, run_id: str) -> bool:
        """See ``Backend``."""
        return self._journal.attended(run_id) or self._journal.workers() > 0

    def is_taken(self, run_id: str) -> bool:
        """See ``Backend``: a run is driven by one process."""
        return self.is_live(run_id)

    def _run(self, run_id: str) -> Run:
        run = self._journal.run(run_id)
        if run is None:
            raise RunNotFound(f"there is no run {run_id}")
        return run

    # --- documents and the registry

    def known_document(self, source: str) -> Workflow | None:
        """See ``Backend``."""
        from flowctl.document import stored

        document = self._journal.document_of_source(source)
        return stored(document.body, document.digest, self._functions) if document is not None else None

    def pinned(self, run_id: str) -> tuple[Workflow, str]:
        """See ``Backend``."""
        from flowctl.document import stored

        run = self._run(run_id)
        document = self._journal.document(run.digest)
        if document is None:
            raise NotFound(f"the document of run {run_id} is missing from the database")
        return stored(document.body, document.digest, self._functions), document.source

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """See ``Backend``."""
        from flowctl.document import stored

        definition = _choose(self._journal.definitions(name), name, version)
        document = self._journal.document(definition.digest)
        if document is None:
            raise NotFound(f"the document of {name}@{definition.version} is missing from the database")
        workflow = stored(document.body, document.digest, self._functions)
        return workflow, document.source, definition.deprecated or workflow.deprecated

    def replay(
        self,
        run_id: str,
        start: str,
        *,
        input: Mapping[str, Any] | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._engine.replay(run_id, start, input=input, principal=principal)
        return answer(run)

    def migrate(
        self, run_id: str, workflow: Workflow, source: str, children: Closure | None
    ) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._engine.migrate(run_id, workflow, source, children=children)
        return answer(run)

    def verdict(self, run_id: str, workflow: Workflow) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._engine.live(run_id)
        return answers.verdict(run, self._engine.versions.misfit(run, workflow))

    def verdicts(self, workflow: Workflow) -> Documents:
        """See ``Backend``."""
        return [answers.verdict(run, misfit) for run, misfit in self._engine.versions.verdicts(workflow)]

    def deploy(self, workflow: Workflow, source: str) -> bool:
        """See ``Backend``."""
        self._engine.pin(workflow, source)
        return bool(self._engine.deploy(workflow))

    def workflows(self) -> Documents:
        """See ``Backend``."""
        return [definition_json(definition) for definition in self._journal.definitions()]

    def deprecate(self, name: str, version: int, message: str) -> None:
        """See ``Backend``."""
        self._journal.deprecate(name, version, message)

    def close(self) -> None:
        """See ``Backend``."""
        if self._made is not None:
            self._made.close()
            if self._plugins is not None and self._plugins.telemetry is not None:
                self._plugins.telemetry.end()
        self._journal.close()


def definition_json(definition: Definition) -> dict[str, Any]:
    """A deployed version, as ``workflows --json`` shows it."""
    from flowctl.clock import format_timestamp

    return {
        "name": definition.name,
        "version": definition.version,
        "digest": definition.digest,
        "deployed_at": format_timestamp(definition.deployed_at),
        "deprecated": definition.deprecated,
    }


def _nothing() -> None:
    pass


def _choose(definitions: Sequence[Definition], name: str, version: int | None) -> Definition:
    """The version asked for; without one the latest that is not deprecated, or, if all are, the latest."""
    if not definitions:
        raise NotFound(
            f"no workflow {name} is deployed", hint="`flowctl workflows` lists what is; or run a file"
        )
    if version is None:
        return next((found for found in definitions if found.deprecated is None), definitions[0])
    for found in definitions:
        if found.version == version:
            return found
    versions = ", ".join(str(found.version) for found in definitions)
    raise NotFound(f"{name} has no version {version}", hint=f"deployed are: {versions}")


def _changes_told(observe: Observer) -> Any:
    tell = answers.facts_told(observe)
    return lambda change: tell(change.run, change.entries)


def _ends_told(observe: Observer) -> Any:
    """Only once the run has been given back, with all that it did."""

    def tell(change: Change) -> None:
        if change.release and answers.is_over(change.run):
            observe(summary(change.run))

    return tell
