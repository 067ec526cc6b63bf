"""Python's collector of circles, which goes through all that was made lately, told when there are none."""

from __future__ import annotations

import gc


class resting:  # noqa: N801  (read as a statement; a generator would cost each run more than a microsecond)
    """While much is made at once, none of which forms a circle: a document, the record of a long run."""

    __slots__ = ("_enabled",)

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._enabled:
            gc.enable()
