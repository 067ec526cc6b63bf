"""What is told of runs on Temporal while this process is a worker: to plugins, and to whoever drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowctl.engine.events import Telling
from flowctl.journal import Change, Entry, Journal
from flowctl.runtimes.temporal.working import Listener

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

    def listener(self, observe: Callable[[Change], None] | None) -> Listener | None:
        """Tells ``observe`` and the plugins; None if there is nobody."""
        telling = self._telling
        if telling is None and observe is None:
            return None

        def told(change: Change, journal: Journal) -> None:
            if observe is not None:
                observe(change)
            if telling is not None:
                self._journal = journal
                telling.tell(change)

        return Listener(told, lambda change: telling is not None or change.state_changed)

    def close(self) -> None:
        """Let plugins hear the last."""
        if self._telling is not None:
            self._telling.close()
