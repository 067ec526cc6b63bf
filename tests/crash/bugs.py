"""Bugs, to be seeded into the processes of a harness: does it find them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

BUGS: Mapping[str, Callable[[], None]] = {}
