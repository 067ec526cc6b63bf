"""What the command line, the API and Python programs talk to: one protocol, whatever executes the runs.

``open_backend(url)`` gives the one a URL names. Every method answers from durable state, and returns
plain JSON in the shapes of the command line's ``--json`` (docs/cli.md), so that whoever renders it needs
to know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from flowctl.model import Policy, Workflow
    from flowctl.plugins import Plugins

Observer = Callable[[Mapping[str, Any]], None]
"""Told of every fact as it becomes durable, in the shape of ``history --jsonl``, with ``run`` added: its
id.
"""


class StartRequest(msgspec.Struct, frozen=True):
    """A run to start: the document, its input as the caller gave it (defaults not filled in), and who asks.

    ``source`` is the document's text as its author wrote it. ``id`` is the workflow id, None for a new one.
    """

    workflow: Workflow
    source: str
    input: Mapping[str, Any]
    id: str | None = None
    principal: str | None = None


Documents = list[dict[str, Any]]
"""Several JSON documents."""


class Backend(Protocol):
    """Where runs live, and who executes them. Not thread-safe; ``close`` it."""

    def start(self, request: StartRequest) -> tuple[str, bool]:
        """Accept a run durably. Returns its run id and whether it is new. ``InvalidInput``,
        ``RunIdConflict``, ``UnknownActivity``.
        """

    def drive(self, run_id: str, *, wait: int, observe: Observer | None = None) -> dict[str, Any]:
        """Execute a run in this process until it ends or only waits for what is not due within ``wait``
        milliseconds.

        Returns its status document. A run that another live process drives is watched instead, for as
        long. Raises ``KeyboardInterrupt`` after having left the run in a resumable state.
        """

    def known_document(self, source: str) -> Workflow | None:
        """The document with exactly this text if it was pinned before, so that it need not be read and
        checked again.
        """

    def document(self, name: str, version: int | None) -> tuple[Workflow, str, str | None]:
        """A deployed workflow, its source, and a warning (deprecated) or None. ``NotFound``."""

    def resolve(self, reference: str) -> str:
        """The run id that RUN means: a run id, a workflow id, a unique prefix or ``@last``.
        ``RunNotFound``, ``AmbiguousRun``.
        """

    def status(self, run_id: str, *, first: int | None = None, count: int = 200) -> dict[str, Any]:
        """The status document. ``steps`` are the last ``count``, or ``count`` from number ``first`` on."""

    def list(
        self, *, statuses: Sequence[str] = (), workflow: str | None = None, limit: int = 50
    ) -> Documents:
        """Runs, newest first: status documents without ``input output steps``."""

    def history(self, run_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """The run's facts in order, as ``{seq, at, path, kind, attempt, …}``; ``after`` is a ``seq``."""

    def signal(
        self,
        run_id: str,
        name: str,
        payload: Any,
        *,
        dedup_id: str | None = None,
        principal: str | None = None,
    ) -> dict[str, Any]:
        """Deliver a signal. Returns ``{"id", "status"}``. ``UnknownSignal``, ``InvalidInput``,
        ``RunClosed``.
        """

    def cancel(self, run_id: str, reason: str, *, principal: str | None = None) -> dict[str, Any]:
        """Ask for cancellation, durably. Returns ``{"id", "status"}``. ``RunClosed``."""

    def deploy(self, workflow: Workflow, source: str) -> bool:
        """Register a version; False if it was there. ``VersionTaken``."""

    def workflows(self) -> Documents:
        """Deployed versions: ``{name, version, digest, deployed_at, deprecated}``."""

    def deprecate(self, name: str, version: int, message: str) -> None:
        """Mark a deployed version as deprecated. ``NotFound``."""

    def is_live(self, run_id: str) -> bool:
        """Whether some live process is driving the run."""

    def close(self) -> None:
        """Give everything back. Idempotent."""


def open_backend(
    url: str, *, plugins: Plugins | None = None, settings: Policy | None = None, read_only: bool = False
) -> Backend:
    """The backend that ``--db`` names: a path, ``sqlite:///path`` or ``memory:``. ``plugins`` and
    ``settings``, the defaults of this installation, are needed where runs are executed.
    """
    from flowctl.backends.local import LocalBackend
    from flowctl.journal.opening import connect

    return LocalBackend(connect(url, read_only=read_only), plugins, settings)
