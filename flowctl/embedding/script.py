"""``flowctl.run``: a run from a script, driven where it is called, like ``flowctl run``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from flowctl.backends import open_backend
from flowctl.backends.reins import Reins
from flowctl.embedding.endings import output_of
from flowctl.embedding.loading import Address, Documents, Folders, Setup, Source, milliseconds
from flowctl.errors import FlowctlError

FOR_EVER = 1 << 53
"""Milliseconds."""


def run(
    workflow: Source,
    input: Any = None,
    *,
    id: str | None = None,
    db: Address | None = None,
    plugins: Iterable[Any] = (),
    plugins_dir: Folders | None = None,
    wait: str | timedelta | None = "60s",
    principal: str | None = None,
) -> Any:
    """Start a run, drive it here until it ends, and return its output.

    ``workflow`` is a file, NAME[@V] of a deployed workflow, a document's text, or a ``Workflow``. With an
    ``id`` that exists, and the same document and input, it is that run: it is driven on, or, if it has ended,
    its output returned.

    ``db``, ``plugins`` and ``plugins_dir`` are those of ``Engine``. Timers and backoffs that are due within
    ``wait`` are waited for, with None however long; what only somebody else can bring is not.

    Raises ``RunFailed``, ``RunCompensated``, ``RunCompensationFailed``, ``RunCancelled`` or
    ``RunTerminated``, as the run ended, and ``RunUnfinished`` if it only waits. Before a run is accepted:
    ``InvalidDocument``, ``InvalidInput``, ``UnknownActivity``, ``UsageError``, ``NotFound``,
    ``RunIdConflict``. Ctrl-C leaves a run that can be resumed.
    """
    script = _Script()
    try:
        setup = Setup.of(db, plugins, plugins_dir)
        return script.run(setup, workflow, input, id, principal, _patience(wait))
    except KeyboardInterrupt as interrupt:
        if script.run_id is not None:
            interrupt.add_note(
                f"run {script.run_id} was interrupted; nothing durable is lost:"
                f" `flowctl resume {script.run_id}` goes on, or flowctl.run(…, id={script.run_id!r})"
            )
        raise interrupt.with_traceback(None) from None
    except FlowctlError as error:  # they say what is wrong; how deep inside it was noticed helps nobody
        raise error.with_traceback(None) from error.__cause__


class _Script:
    """One run. ``run_id`` is None until it was accepted."""

    def __init__(self) -> None:
        self.run_id: str | None = None

    def run(
        self, setup: Setup, workflow: Source, input: Any, id: str | None, principal: str | None, wait: int
    ) -> Any:
        """Its output; ``RunError``."""
        settings, plugins = setup.load()
        reins = Reins()

        def driven() -> Any:
            opened = open_backend(settings.database, plugins=plugins, settings=settings.defaults)
            with contextlib.closing(opened) as backend:
                request = Documents(backend, plugins).request(workflow, input, id, principal)
                self.run_id, _ = backend.start(request, claim=True)
                return output_of(backend.drive(self.run_id, wait=wait, reins=reins))

        return _elsewhere(driven, reins) if _in_a_loop() else driven()


def _patience(wait: str | timedelta | None) -> int:
    return FOR_EVER if wait is None else milliseconds(wait)


def _in_a_loop() -> bool:
    """Whether this thread runs an event loop already, as in a notebook: then it cannot run another."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _elsewhere(driven: Callable[[], Any], reins: Reins) -> Any:
    """The same in a thread of its own, awaited here."""
    with ThreadPoolExecutor(1, thread_name_prefix="flowctl run") as thread:
        driving = thread.submit(driven)
        try:
            return driving.result()
        except KeyboardInterrupt:
            reins.stop()  # leaving the block waits for it
            raise
