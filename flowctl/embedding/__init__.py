"""What Python programs use: ``Engine``, the handles of its runs, and ``run`` for scripts.

Everything here stands on a ``Backend``, as the command line does, and says the same. A backend is used by one
thread at a time and may have to wait for the disk. So an engine has threads of its own: one that is asked
(``desk``), and one in which a worker drives runs (``worker``). The loop of the program waits for neither, and
whatever the program does with its loop holds up no run.
"""

from flowctl.embedding.engine import Engine
from flowctl.embedding.handle import Handle
from flowctl.embedding.script import run

__all__ = ["Engine", "Handle", "run"]
