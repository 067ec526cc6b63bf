"""The backend of one machine: the embedded engine on a journal, driven in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flowctl.backends import Documents, Observer, StartRequest
from flowctl.errors import AmbiguousRun, NotFound, RunNotFound, UsageError
from flowctl.journal import Definition, Journal, Run
from flowctl.status import SecretPaths, fact_line, history_lines, status_document, summary

if TYPE_CHECKING:
    from flowctl.model import Policy, Workflow
    from flowctl.plugins import Plugins

LAST = "@last"


class LocalBackend:
    """See ``Backend``. ``plugins`` is None where nothing is executed (reading, signalling)."""

    def __init__(self, journal: Journal, plugins: Plugins | None, settings: Policy | None = None) -> None:
        self._journal = journal
        self._plugins = plugins
        self._settings = settings
        self._made: Any = None

    @property
    def _engine(self) -> Any:
        """The engine, made when first needed: reading needs none, and it brings asyncio."""
        if self._made is None:
            from flowctl.document import build
            from flowctl.engine import Engine
            from flowctl.model import NO_POLICY

            plugins = self._plugins
            self._made = Engine(
                self._journal,
                plugins.activities if plugins is not None else {},
                secret=plugins.resolve_secret if plugins is not None else lambda name: None,
                settings=self._settings or NO_POLICY,
                build_workflow=partial(build, functions=self._functions),
            )
        return self._made

    @property
    def _functions(self) -> Any:
        """The functions that expressions may call: the language's, and those of the plugins."""
        from flowctl.expressions import FUNCTIONS

        return self._plugins.vocabulary if self._plugins is not None else FUNCTIONS

    # --- runs

    def start(self, request: StartRequest) -> tuple[str, bool]:
        """See ``Backend``."""
        run, created = self._engine.start(
            request.workflow, request.source, request.input, id=request.id, principal=request.principal
        )
        return run.id, created

    def drive(self, run_id: str, *, wait: int, observe: Observer | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        import asyncio

        from flowctl.engine import calm_collector

        calm_collector()
        asyncio.run(self._engine.drive(run_id, wait=wait, observe=_tell(observe) if observe else None))
        return self.status(run_id)

    def resolve(self, reference: str) -> str:
        """See ``Backend``."""
        if not reference:
            raise UsageError("RUN is empty", hint="give a run id, a workflow id, a prefix or @last")
        if reference == LAST:
            last = self._journal.last_started()
            if last is None:
                raise RunNotFound(
                    "no run was started on this database yet", hint="start one with `flowctl run FILE`"
                )
            return last.id
        exact = self._journal.run(reference)
        if exact is not None and exact.id != exact.workflow_id:
            return exact.id
        latest = self._journal.latest_of(reference)
        if latest is not None:
            return latest.id
        found = {run.workflow_id: run for run in self._journal.runs_with_prefix(reference)}
        if not found:
            raise RunNotFound(
                f"there is no run {reference}", hint="`flowctl list` shows the runs of this database"
            )
        if len(found) > 1:
            names = ", ".join(list(found)[:5])
            raise AmbiguousRun(
                f"{reference} is the beginning of several runs: {names}", hint="type more of it"
            )
        [run] = found.values()
        return run.id

    def status(self, run_id: str, *, first: int | None = None, count: int = 200) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._run(run_id)
        return status_document(run, self._journal.entries(run_id), first=first, count=count)

    def list(
        self, *, statuses: Sequence[str] = (), workflow: str | None = None, limit: int = 50
    ) -> Documents:
        """See ``Backend``."""
        runs = self._journal.list_runs(statuses=statuses, workflow=workflow, limit=limit)
        return [summary(run, self._journal.entries(run.id)) for run in runs]

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Backend``."""
        run = self._run(run_id)
        return (
            line
            for line in history_lines(run, self._journal.entries(run_id))
            if line["seq"] > after or not after
        )

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
        return {"id": run.id, "status": run.status}

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """See ``Backend``."""
        run = self._engine.cancel(run_id, reason, principal=principal)
        return {"id": run.id, "status": run.status}

    def is_live(self, run_id: str) -> bool:
        """See ``Backend``."""
        return self._journal.attended(run_id)

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

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """See ``Backend``."""
        from flowctl.document import stored

        definition = _choose(self._journal.definitions(name), name, version)
        document = self._journal.document(definition.digest)
        if document is None:
            raise NotFound(f"the document of {name}@{definition.version} is missing from the database")
        workflow = stored(document.body, document.digest, self._functions)
        return workflow, document.source, definition.deprecated or workflow.deprecated

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


def _tell(observe: Observer) -> Any:
    """Pass each fact of a commit on, as history shows it."""
    secret = SecretPaths()

    def commit(change: Any) -> None:
        for entry in change.entries:
            for fact in entry.facts():
                line: Mapping[str, Any] = fact_line(change.run, fact, entry.seq, secret)
                observe({"run": change.run.id, "status": change.run.status, **line})

    return commit
