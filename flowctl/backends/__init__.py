"""What the command line, the API and Python programs talk to: one protocol, whatever executes the runs.

``open_backend(url)`` gives the one a URL names. Every method answers from durable state, and returns
plain JSON in the shapes of the command line's ``--json`` (docs/cli.md), so that whoever renders it needs
to know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowctl.errors import UsageError
from flowctl.journal import Where

if TYPE_CHECKING:
    from flowctl.backends.reins import Holds, Reins
    from flowctl.document.closure import Closure
    from flowctl.model import Policy, Workflow
    from flowctl.plugins import Plugins

Observer = Callable[[Mapping[str, Any]], None]
"""Told of every fact as it becomes durable, in the shape of ``history --jsonl``, with ``run`` added: its
id.
"""


class StartRequest(msgspec.Struct, frozen=True):
    """A run to start: the document, its input as the caller gave it (defaults not filled in), and who asks.

    ``source`` is the document's text as its author wrote it. ``id`` is the workflow id, None for a new one.
    ``children`` are the documents that it can need besides its own, None if there are none.
    """

    workflow: Workflow
    source: str
    input: Mapping[str, Any]
    id: str | None = None
    principal: str | None = None
    children: Closure | None = None


Documents = list[dict[str, Any]]
"""Several JSON documents."""


class Backend(Protocol):
    """Where runs live, and who executes them. Not thread-safe; ``close`` it."""

    def another(self, *, read_only: bool = False) -> Backend:
        """One more on the same runs, for another thread; ``read_only`` if nothing is written with it: such
        ones may share what they have read.
        """

    def start(self, request: StartRequest, *, claim: bool = False) -> tuple[str, bool]:
        """Accept a run durably. Returns its run id and whether it is new. With ``claim`` a new one is not
        left to workers: ``drive`` follows. ``InvalidInput``, ``RunIdConflict``, ``UnknownActivity``.
        """

    def drive(
        self, run_id: str, *, wait: int, observe: Observer | None = None, reins: Reins | None = None
    ) -> dict[str, Any]:
        """Execute a run in this process until it ends or only waits for what is not due within ``wait``
        milliseconds.

        Returns its status document. A run that another live process drives is watched instead, for as
        long. Raises ``KeyboardInterrupt`` after having left the run in a resumable state, as it also is after
        it was stopped by the ``reins``.
        """

    def work(
        self,
        *,
        concurrency: int | None = None,
        drain: bool = False,
        observe: Observer,
        ready: Callable[[], None] = lambda: None,
        reins: Holds | None = None,
    ) -> None:
        """Execute all runs that are due, ``concurrency`` at once, until the process is told to stop (SIGTERM,
        Ctrl-C), or, with ``drain``, until nothing is due. With ``reins`` they alone stop it, and any thread
        can do this.

        ``observe`` is told of each run that has ended, is blocked or is held, as ``list`` has it; ``ready``
        is called when it has begun.
        """

    def known_document(self, source: str) -> Workflow | None:
        """The document with exactly this text if it was pinned before, so that it need not be read and
        checked again.
        """

    def pinned(self, run_id: str) -> tuple[Workflow, str]:
        """The document that a run goes on with, and its source. ``RunNotFound``, ``NotFound``."""

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """A deployed workflow, its source, and a warning (deprecated) or None. ``NotFound``."""

    def resolve(self, reference: str) -> str:
        """The run id that RUN means: a run id, a workflow id, a unique prefix or ``@last``.
        ``RunNotFound``, ``AmbiguousRun``.
        """

    def status(
        self, run_id: str, *, first: int | None = None, count: int = 200, before: str | None = None
    ) -> dict[str, Any]:
        """The status document. ``steps`` are the last ``count``, or ``count`` from number ``first`` on.

        With ``before``, a step's path, it is what the run knew just before that step began; ``NotFound`` if
        it never did.
        """

    def standings(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """How runs stand, at little cost: by each of these ids, ``{"id", "status"}`` of the run, or, if that
        continued as new, of the last of its chain. Ids of no run are left out.
        """

    def list(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
    ) -> Documents:
        """Runs, newest first: status documents without ``input output steps``.

        Those in one of these states, of this workflow, with these search attributes.
        """

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
        """The same a page at a time: ``after`` is where the page before said that the next one begins, None
        for the first page, as it is for the last. Without ``counts``, which cost reading every run's history,
        ``step_counts`` is null and ``current_steps`` is what a run waits for. ``UsageError``.
        """

    def news(self, mark: Any) -> tuple[Any, Sequence[str]]:
        """The ids of the runs that may have changed since ``mark``, and a mark of now; None, and of none, if
        nothing has. ``mark`` is what the last call returned; the first call has None. Cheap enough to be
        called all the time.
        """

    def glances(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Runs by their ids as ``page`` without ``counts`` has them, at the cost of one row each."""

    def statistics(self) -> dict[str, Any]:
        """Figures for whoever supervises: ``{"runs": [[workflow, status, count], …], "due", "workers",
        "size"}``: runs that wait for a worker, live workers, and bytes.
        """

    def select(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int | None = None,
    ) -> Documents:
        """The same runs as ``{"id", "status"}``, all of them unless there is a ``limit``."""

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """The run's facts in order, as ``{seq, at, path, kind, attempt, …}``; ``after`` is a ``seq``."""

    def earlier(self, run_id: str, *, before: int | None = None, limit: int) -> tuple[Documents, int | None]:
        """The last lines of the history before the entry ``before``, or of all, in order: whole entries, as
        many as ``limit`` or a little more; and the entry that those before them are before, None at the
        beginning.
        """

    def follow(self, run_id: str, *, after: int = 0, rests: bool = False) -> Iterator[dict[str, Any]]:
        """The same, then what comes, as it comes, until the run has ended.

        With ``rests``, also until nothing more happens unless somebody acts: no live process has the run.
        """

    def tail(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any] | None]:
        """The same for whoever waits in his own way: None each time nothing has come yet."""

    def export(self, run_id: str) -> Iterator[dict[str, Any]]:
        """The run as a file: a header, then an entry a line; see ``backends.export``."""

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """Deliver a signal, with a ``dedup_id`` once: its repetition is a no-op, also when the run has ended.
        Returns ``{"id", "status"}``. ``UnknownSignal``, ``InvalidInput``, ``RunClosed``.
        """

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """Ask for cancellation, durably. Returns ``{"id", "status"}``. ``RunClosed``."""

    def pause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """Let nothing new begin in a run, durably. Returns ``{"id", "status"}``. ``RunClosed``."""

    def unpause(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """Take that back. Returns ``{"id", "status"}``. ``RunClosed``."""

    def resume(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """The same for a run that is to be driven on: nothing happens to one that is not paused, or has
        ended. Returns ``{"id", "status"}``.
        """

    def terminate(self, run_id: str, *, principal: str | None = None) -> dict[str, Any]:
        """End a run, and children that it waits for, durably. Returns ``{"id", "status"}``. ``RunClosed``."""

    def retry(self, run_id: str, *, skip: Sequence[str] = (), principal: str | None = None) -> dict[str, Any]:
        """Let a run go on from what failed, durably; ``skip`` are steps that a person has undone. Returns
        ``{"id", "status"}``. ``RunClosed``, ``RunOpen``, ``InvalidInput``.
        """

    def replay(
        self,
        run_id: str,
        start: str,
        *,
        input: Mapping[str, Any] | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """Accept a new run that repeats this one from the step ``start`` on, with its input or another.

        Returns ``{"id", "status"}`` of the new one. ``UsageError``, ``NotServed``, ``InvalidInput``,
        ``UnknownActivity``.
        """

    def migrate(
        self, run_id: str, workflow: Workflow, source: str, children: Closure | None
    ) -> dict[str, Any]:
        """Let a live run go on with another document, whose children are in ``children``. Returns ``{"id",
        "status"}``. ``DoesNotFit``, ``RunBusy``, ``RunClosed``, ``UnknownActivity``.
        """

    def verdict(self, run_id: str, workflow: Workflow) -> dict[str, Any]:
        """Whether a live run could go on with a document: ``{"id", "fits", "path", "reason"}``.
        ``RunClosed``.
        """

    def verdicts(self, workflow: Workflow) -> Documents:
        """The same for all live runs of the workflow of that name, newest first."""

    def deploy(self, workflow: Workflow, source: str) -> bool:
        """Register a version; False if it was there. ``VersionTaken``."""

    def workflows(self) -> Documents:
        """Deployed versions: ``{name, version, digest, deployed_at, deprecated}``."""

    def deprecate(self, name: str, version: int, message: str) -> None:
        """Mark a deployed version as deprecated. ``NotFound``."""

    def reactions(self, run_id: str) -> dict[str, str]:
        """What each command would come to with a run as it stands: ``do``, ``no-op``, or the code of the
        error that would refuse it. ``RunNotFound``.
        """

    def is_live(self, run_id: str) -> bool:
        """Whether some live process sees to the run: drives it, or is a worker, who will when it is due."""

    def is_taken(self, run_id: str) -> bool:
        """Whether to drive it here would only be to watch others who see to it."""

    def close(self) -> None:
        """Give everything back. Idempotent."""


def replays(url: str) -> bool:
    """Whether runs there are replayed to be read, for which the functions of plugins are needed."""
    return url.startswith("temporal://")


def open_backend(
    url: str, *, plugins: Plugins | None = None, settings: Policy | None = None, read_only: bool = False
) -> Backend:
    """The backend that ``--db`` names: a path, ``sqlite:///path``, ``memory:`` or
    ``temporal://host:port/namespace?task_queue=Q``. ``plugins`` and ``settings``, the defaults of this
    installation, are needed where runs are executed, and ``plugins`` also where they are replayed.
    """
    if replays(url):
        try:
            from flowctl.backends.temporal.backend import TemporalBackend
        except ImportError as error:
            raise UsageError(
                f"{url} needs a package that is not installed: {error.name}",
                hint="pip install 'flowctl[temporal]'",
            ) from error
        return TemporalBackend(url, plugins, settings)
    from flowctl.backends.local import LocalBackend
    from flowctl.journal.opening import connect

    return LocalBackend(connect(url, read_only=read_only), plugins, settings)
