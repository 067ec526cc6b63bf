"""What goes wrong at a step: written by an author under ``failures``, or made by ``every_failure``.

Whether the effect was there before things went wrong is said, because that is what a saga stands or falls
with: a call that timed out has charged the card, or it has not. Whoever executes runs, in virtual time or for
real, does what a ``Fault`` says at the moment at which the attempt is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

KINDS = ("raise", "time_out", "lose_worker", "cancel")


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong at ``step`` (see ``label``). ``how`` is the error's type, or ``before``,
    ``after`` the effect, or ``completed``. At that ``attempt`` only, or at the first so many ``attempts``, or
    at all of them.
    """

    step: str
    kind: str
    how: str
    attempt: int | None = None
    attempts: int | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Fault:
        """From its mapping in a test file."""
        [kind] = data.keys() & set(KINDS)
        return cls(data["step"], kind, data[kind], data.get("attempt"), data.get("attempts"))

    def to_json(self) -> dict[str, Any]:
        """The mapping that ``parse`` reads."""
        found: dict[str, Any] = {"step": self.step}
        if self.attempt is not None:
            found["attempt"] = self.attempt
        if self.attempts is not None:
            found["attempts"] = self.attempts
        return found | {self.kind: self.how}

    def strikes(self, step: str, attempt: int) -> bool:
        """Whether it goes wrong there."""
        if step != self.step:
            return False
        if self.attempt is not None:
            return attempt == self.attempt
        return self.attempts is None or attempt <= self.attempts

    def __str__(self) -> str:
        said = _SAY[self.kind, "" if self.kind == "raise" else self.how]
        return f"{self.step} {said.format(self.how)}{self._when()}"

    def _when(self) -> str:
        if self.attempt is not None:
            return f" (attempt {self.attempt})"
        if self.attempts is not None:
            return f" ({self.attempts} time{'s' if self.attempts > 1 else ''})"
        return " (every time)" if self.kind in ("raise", "time_out") else ""


_SAY: Mapping[tuple[str, str], str] = {
    ("raise", ""): "fails with {}",
    ("time_out", "before"): "times out before its effect",
    ("time_out", "after"): "times out after its effect",
    ("lose_worker", "before"): "loses its worker before its effect",
    ("lose_worker", "after"): "loses its worker after its effect",
    ("cancel", "before"): "is cancelled before its effect",
    ("cancel", "after"): "is cancelled after its effect, without an answer",
    ("cancel", "completed"): "is cancelled and completes all the same",
}


def label(root: str, run_id: str, path: str) -> str:
    """What a test calls a step: its path; in a child of the run ``root``, after the path of the child, with
    what ids have behind it: ``#2`` for an attempt, ``~2`` for a successor, ``~undo`` for what undoes it.
    """
    inside = run_id.removeprefix(root).removeprefix("/")
    return f"{inside}/{path}" if inside else str(path)
