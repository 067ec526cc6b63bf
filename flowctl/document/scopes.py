"""Scopes: what is seen at one place of a document, and of which type it is (language.md, section 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from flowctl.document.structure import VERBS, mapping, parts_of, verb_of
from flowctl.document.types import UNKNOWN, Type

_ID_SCOPES = frozenset(verb for verb in VERBS if VERBS[verb].scope)
_VARIABLE_SCOPES = frozenset({"parallel", "foreach"})
"""Verbs whose steps have ids, and variables, of their own."""


class Seen:
    """The ids seen at one place, and the outputs of their steps: those of its own scope that came before, and
    of the scopes around it as far as they had come. ``declared`` are all ids of its own, which hide those
    around from the start.

    The scopes around are not copied but cut off by count, so that a scope costs the same in a document of any
    length.
    """

    def __init__(self, around: Seen | None = None, declared: Collection[str] = ()) -> None:
        self.declared = declared
        self._own: dict[str, tuple[int, Type]] = {}
        self._around = around
        self._limit = len(around._own) if around is not None else 0

    def add(self, name: str, output: Type = UNKNOWN) -> None:
        self._own.setdefault(name, (len(self._own), output))

    def before_in_own(self, name: str) -> bool:
        """Whether a step of this very scope came before."""
        return name in self._own

    def output(self, name: str) -> Type | None:
        """The type of a step's output; None if the step is not seen."""
        return self._before(name, len(self._own))

    def __contains__(self, name: str) -> bool:
        return self.output(name) is not None

    def _before(self, name: str, limit: int) -> Type | None:
        if name in self.declared:
            number, output = self._own.get(name, (limit, UNKNOWN))
            return output if number < limit else None
        return self._around._before(name, self._limit) if self._around is not None else None

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        if self._around is not None:
            yield from (name for name in self._around if name in self)


Names = Mapping[str, Type]
"""Names besides ``steps`` and ``vars``."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """What expressions see at one place: ids of steps that came before, variables, and other names, of which
    the ``doubtful`` may be null.
    """

    ids: Seen
    variables: frozenset[str] = frozenset()
    names: Names = dataclasses.field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()

    def inner(self, steps: Any = (), names: Names | None = None, *, variables: bool = True) -> Scope:
        """A scope of its own for ``steps``. Without ``variables``, it has none of its own."""
        declared = {step["id"] for step in _through(steps, _ID_SCOPES) if isinstance(step.get("id"), str)}
        own = assigned(_through(steps, _VARIABLE_SCOPES)) if variables else frozenset[str]()
        return Scope(
            Seen(self.ids, declared),
            self.variables | own if own else self.variables,
            {**self.names, **(names or {})},
            self.doubtful,
        )

    def seeing(self, names: Names) -> Scope:
        """The same scope where more names are seen."""
        return dataclasses.replace(self, names={**self.names, **names})

    def doubting(self, names: Collection[str]) -> Scope:
        """The same scope where these names may be null."""
        return dataclasses.replace(self, doubtful=self.doubtful | set(names))


def _through(steps: Any, closed: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """The steps of a list and of those inside them, but not inside verbs that are ``closed``."""
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            yield step
            verb = verb_of(step)
            for _, inner in parts_of(step, verb) if verb is not None and verb not in closed else ():
                yield from _through(inner, closed)


def assigned(steps: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The variables that steps set."""
    return frozenset(name for step in steps for name in mapping(step.get("set")))
