"""Patterns of JSON Schemas: RE2 with little memory, so that neither compiling nor searching takes long."""

from __future__ import annotations

import functools
from typing import Any

_MEMORY = 1 << 20
"""Bytes for one compiled pattern. What needs more compiles for as long as a whole document may take."""


@functools.lru_cache(maxsize=1_000)
def compiled(pattern: str) -> Any:
    """An RE2 pattern; ``ValueError`` for what RE2 does not have or cannot hold."""
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(str(error)) from None
