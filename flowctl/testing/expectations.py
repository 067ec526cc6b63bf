"""What a test expects of a run, held against what came of it.

``EXPECTATIONS`` has a row for every word under ``expect``: what it looks at, and how it compares. A
``Mismatch`` says what differs, and where in the test file the expectation stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowctl import values
from flowctl.clock import format_duration, parse_duration
from flowctl.document.places import Pointer
from flowctl.errors import ExpressionError
from flowctl.expressions import Expression
from flowctl.testing.names import Roots

if TYPE_CHECKING:
    from flowctl.testing.running import Came

UNREACHED = "unreached"
"""The state of a step that the run did not come to."""

ABSENT: Any = object()
"""Stands for what is not there at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mismatch:
    """``what`` is the part that differs, or a sentence if there is nothing to compare. ``pointer`` is
    relative to the case.
    """

    what: str
    pointer: Pointer = ()
    expected: Any = ABSENT
    actual: Any = ABSENT

    def to_json(self) -> dict[str, Any]:
        """``{what, expected, actual}``, without what there is not."""
        found = {"what": self.what}
        for name in ("expected", "actual"):
            if getattr(self, name) is not ABSENT:
                found[name] = getattr(self, name)
        return found


def missing(what: str, expected: Any, actual: Any, *, pointer: Pointer) -> list[Mismatch]:
    """Where ``actual`` lacks what ``expected`` names: mappings may have more, lists not."""
    return list(_differences(what, expected, actual, pointer, exact=False))


def unlike(what: str, expected: Any, actual: Any, *, pointer: Pointer) -> list[Mismatch]:
    """Where two values differ, each at the innermost place."""
    return list(_differences(what, expected, actual, pointer, exact=True))


def _differences(
    what: str, expected: Any, actual: Any, pointer: Pointer, *, exact: bool
) -> Iterator[Mismatch]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        others = [key for key in actual if key not in expected] if exact else []
        for key in [*expected, *others]:
            inner = f"{what}.{key}" if str(key).isidentifier() else f"{what}[{key!r}]"
            at = (*pointer, key) if key in expected else pointer
            yield from _differences(
                inner, expected.get(key, ABSENT), actual.get(key, ABSENT), at, exact=exact
            )
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from _differences(f"{what}[{index}]", one, other, (*pointer, index), exact=exact)
    elif expected is ABSENT or actual is ABSENT or not values.equal(expected, actual):
        yield Mismatch(what, pointer, expected, actual)


# --- the words under ``expect``

Look = Callable[["Came", Any], Any]


def _by_path(look: Callable[[Came, str], Any]) -> Look:
    return lambda came, expected: {path: look(came, path) for path in expected}


def _step(came: Came, path: str, key: str, otherwise: Any) -> Any:
    step = came.steps.get(path)
    return otherwise if step is None else step[key]


def _arguments(came: Came, path: str) -> Any:
    return next((called.args for called in came.called if called.step == path), ABSENT)


def _order(came: Came, expected: Sequence[str]) -> list[str]:
    """Those of the steps that were reached, in the order in which they began."""
    wanted = set(expected)
    return [path for path in came.order if path in wanted]


EXPECTATIONS: Mapping[str, tuple[Look, bool]] = {
    "status": (lambda came, _: came.status["status"], True),
    "output": (lambda came, _: came.status["output"], True),
    "output_includes": (lambda came, _: came.status["output"], False),
    "error": (lambda came, _: came.status["error"], False),
    "steps": (_by_path(lambda came, path: _step(came, path, "status", UNREACHED)), True),
    "outputs": (_by_path(lambda came, path: _step(came, path, "output", ABSENT)), True),
    "order": (_order, True),
    "calls": (lambda came, _: [called.shown for called in came.calls], True),
    "attempts": (_by_path(lambda came, path: _step(came, path, "attempt", 0)), True),
    "args": (_by_path(_arguments), True),
    "args_include": (_by_path(_arguments), False),
    "compensations": (lambda came, _: came.status["saga"]["undone"], True),
    "saga": (lambda came, _: came.status["saga"], False),
    "left": (lambda came, _: came.roots["left"], False),
    "attributes": (lambda came, _: came.status["attributes"], True),
    "memo": (lambda came, _: came.status["memo"], True),
    "waiting_for": (lambda came, _: [waiting["path"] for waiting in came.status["waiting_for"]], True),
}
"""What each word looks at, and whether all of it must be as expected or only what is named. ``elapsed`` and
``that`` are not values that are compared like these.
"""

_NAMES = {"compensations": "saga.undone", "output_includes": "output", "args_include": "args"}


def mismatches(expect: Mapping[str, Any], came: Came) -> Iterator[Mismatch]:
    """All that is not as expected."""
    for word, expected in expect.items():
        if word == "elapsed":
            if parse_duration(expected) != came.elapsed:
                took = format_duration(came.elapsed)
                yield Mismatch("elapsed", ("expect", "elapsed"), expected, took)
        elif word in EXPECTATIONS:
            look, exact = EXPECTATIONS[word]
            actual, what = look(came, expected), _NAMES.get(word, word)
            yield from _differences(what, expected, actual, ("expect", word), exact=exact)


def broken(
    sentences: Mapping[str, Expression], roots: Mapping[str, Any], pointer: Pointer
) -> Iterator[Mismatch]:
    """The sentences that do not hold, each with the values of what its expression names."""
    for sentence, expression in sentences.items():
        here = (*pointer, sentence)
        try:
            if not expression.test(Roots(roots)):
                yield Mismatch(f"{sentence}: {expression.source} is false{_values(expression, roots)}", here)
        except ExpressionError as error:
            yield Mismatch(f"{sentence}: {expression.source} fails: {error.message}", here)


def _values(expression: Expression, roots: Mapping[str, Any]) -> str:
    """`` (left.charge is 1, status is "failed")``: what the names in an expression stand for, if short."""
    found = []
    for reference in sorted(expression.references):
        value: Any = roots
        for key in reference:
            value = value.get(key, ABSENT) if isinstance(value, dict) else ABSENT
        if value is not ABSENT and len(text := values.encode(value).decode()) <= 60:
            found.append(f"{'.'.join(reference)} is {text}")
    return f" ({', '.join(found)})" if found else ""
