"""``flowctl.Engine``: runs on one database, for programs with an event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flowctl.backends import open_backend
from flowctl.embedding.desk import Desk
from flowctl.embedding.handle import Handle
from flowctl.embedding.loading import Address, Documents, Filters, Folders, Setup, Source, check_texts
from flowctl.embedding.news import News
from flowctl.embedding.worker import WorkerThread
from flowctl.errors import UsageError

if TYPE_CHECKING:
    from flowctl.backends import Backend

T = TypeVar("T")


class Engine:
    """Runs on one database: started, looked at, told, and, unless ``worker`` is false, executed here.

    ``db`` is a path, ``sqlite:///path``, ``memory:`` or ``temporal://host:port/namespace?task_queue=NAME``.
    ``plugins`` are modules, names of modules, functions with ``@activity`` or objects with hooks,
    ``plugins_dir`` folders of plugin files; installed plugins come by themselves. What is not given is what
    the command line would take: ``FLOWCTL_DB``, ``flowctl.toml``, ….

    The worker executes all runs that are due on the database, ``concurrency`` at once, whoever started them,
    in a thread and on a loop of its own, which is where ``async def`` activities run. Any number of engines
    and of ``flowctl worker`` may share a database.

    Nothing is opened before it is needed. Leaving the context (or ``close``) lets attempts that are under way
    end, for ten seconds, and gives all runs back: whoever opens the database next goes on with them. May be
    used from several loops, one after the other or in several threads.
    """

    def __init__(
        self,
        db: Address | None = None,
        *,
        plugins: Iterable[Any] = (),
        plugins_dir: Folders | None = None,
        worker: bool = True,
        concurrency: int | None = None,
    ) -> None:
        self._setup = Setup.of(db, plugins, plugins_dir)
        self._works = worker
        self._concurrency = concurrency
        self._desk = Desk()
        self._news = News()
        self._backend: Backend | None = None
        self._documents: Documents | None = None
        self._workers: set[WorkerThread] = set()
        self._closed = False

    # --- its life

    async def __aenter__(self) -> Self:
        await self._ask(lambda backend: None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    if not TYPE_CHECKING:  # which says it by itself

        def __enter__(self) -> None:
            raise UsageError(
                "an engine is entered with `async with`", hint="for scripts there is flowctl.run"
            )

        def __exit__(self, *error: object) -> None:
            """Never: it cannot be entered."""

    async def close(self) -> None:
        """Let what is under way end, give all runs back, and close the database. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._news.fail(UsageError("the engine was closed", hint="the run goes on with the next worker"))
        try:
            workers = await self._desk.ask(lambda: list(self._workers))  # after all that is being asked
            for worker in workers:
                worker.stop()
            for worker in workers:
                with contextlib.suppress(Exception):  # whoever waited for something has been told
                    await worker.ended()
            if self._backend is not None:
                await self._desk.ask(self._backend.close)
        finally:
            self._desk.close()

    # --- runs

    async def start(
        self, workflow: Source, input: Any = None, *, id: str | None = None, principal: str | None = None
    ) -> Handle:
        """Accept a run durably. ``workflow`` is a file, NAME[@V] of a deployed workflow, a document's text,
        or a ``Workflow``; ``input`` is a mapping, or data that is one in JSON, such as a dataclass.

        An ``id`` that exists, with the same document and input, is that run (``handle.created`` is false): so
        a start that may or may not have happened is simply repeated.

        Raises ``InvalidDocument``, ``InvalidInput``, ``PayloadTooLarge``, ``UnknownActivity``,
        ``RunIdConflict``, ``NotFound``, ``UsageError``.
        """

        def start(backend: Backend) -> tuple[str, bool]:
            assert self._documents is not None
            return backend.start(self._documents.request(workflow, input, id, principal))

        run_id, created = await self._ask(start)
        self._look()
        return Handle(self, run_id, created=created)

    async def run(
        self, workflow: Source, input: Any = None, *, id: str | None = None, principal: str | None = None
    ) -> Any:
        """Start a run and wait for its output: ``start``, then ``result``."""
        return await (await self.start(workflow, input, id=id, principal=principal)).result()

    def handle(self, id: str) -> Handle:
        """The run with this run id, workflow id or unique prefix; whether it exists shows when it is asked
        (``RunNotFound``).
        """
        check_texts(id=id)
        return Handle(self, id)

    async def runs(
        self,
        *,
        status: str | Sequence[str] = (),
        workflow: str | None = None,
        where: dict[str, Any] | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Runs, newest first, as ``flowctl list --json`` shows them: in one of these states, of this
        workflow, with these search attributes. ``InvalidInput``.
        """
        filters = Filters.of(status, workflow, where, limit)
        conditions = [
            (name, value if isinstance(value, list) else [value]) for name, value in filters.where.items()
        ]
        return await self._ask(
            lambda backend: backend.list(
                statuses=filters.status, workflow=filters.workflow, where=conditions, limit=filters.limit
            )
        )

    # --- the registry

    async def deploy(self, workflow: Source) -> bool:
        """Register a document under its name and version, to be started by them; False if it was there. The
        children that a ``Workflow`` was given are registered with it.
        ``VersionTaken`` if that version has other content, ``InvalidDocument``, also for children in files.
        """

        def deploy(backend: Backend) -> bool:
            assert self._documents is not None
            read, text, _ = self._documents.read(workflow, to_deploy=True)
            for child in self._documents.children(workflow, to_deploy=True).values():
                backend.deploy(child.workflow, child.source)
            return backend.deploy(read, text)

        return await self._ask(deploy)

    async def workflows(self) -> list[dict[str, Any]]:
        """Deployed versions: ``{name, version, digest, deployed_at, deprecated}``."""
        return await self._ask(lambda backend: backend.workflows())

    # --- executing

    async def worker(self, *, drain: bool = False, concurrency: int | None = None) -> None:
        """Execute all runs that are due, until cancelled, or, with ``drain``, until nothing is due. For
        engines that do not by themselves (``worker=False``).
        """
        backend = await self._ask(lambda backend: backend.another())
        worker = WorkerThread(backend, self._news, concurrency=concurrency or self._concurrency, drain=drain)
        self._workers.add(worker)
        try:
            await worker.ended()
        finally:
            if worker.over:  # else it still gives its runs back, and ``close`` waits for that
                self._workers.discard(worker)

    def _look(self) -> None:
        for worker in self._workers:
            worker.look()

    async def _ask(self, question: Callable[[Backend], T]) -> T:
        if self._closed:
            raise UsageError("the engine was closed", hint="make another one")
        return await self._desk.ask(lambda: question(self._open()))

    def _open(self) -> Backend:
        """The backend; in the desk's thread, as all that is asked of it."""
        if self._backend is None:
            settings, plugins = self._setup.load()
            self._backend = open_backend(settings.database, plugins=plugins, settings=settings.defaults)
            self._documents = Documents(self._backend, plugins)
            if self._works:
                another = self._backend.another()
                self._workers.add(WorkerThread(another, self._news, concurrency=self._concurrency))
        return self._backend
