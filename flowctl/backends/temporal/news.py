"""What is told of runs on Temporal while this process is a worker: to plugins, and to whoever drives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowctl.backends import Observer
from flowctl.backends.answers import is_over
from flowctl.engine.events import Telling
from flowctl.journal import Change, Entry, Journal
from flowctl.runtimes.temporal.working import Listener
from flowctl.status import summary

if TYPE_CHECKING:
    from flowctl.plugins import Plugins


class News:
    """What events are made of is in many journals here, one for each run: that of the run that is told of."""

    def __init__(self, plugins: Plugins) -> None:
        self._telling = Telling(plugins.emit, self) if plugins.listens else None
        self._journal: Journal | None = None

    def entries(self, run_id: str) -> Sequence[Entry]:
        """See ``Recorded``."""
        assert self._journal is not None
        return self._journal.entries(run_id)

    def listener(self, observe: Observer | None) -> Listener | None:
        """Tells plugins everything, and ``observe`` that a run has ended, or that somebody has to see to it.
        None if there is nobody.
        """
        telling = self._telling
        if telling is None and observe is None:
            return None

        def told(change: Change, journal: Journal) -> None:
            if observe is not None and _is_over(change):
                observe(summary(change.run))
            if telling is not None:
                self._journal = journal
                telling.tell(change)

        return Listener(told, lambda change: telling is not None or _is_over(change))

    def close(self) -> None:
        """Let plugins hear the last."""
        if self._telling is not None:
            self._telling.close()


def _is_over(change: Change) -> bool:
    return change.state_changed and is_over(change.run)
