"""Where two runs differ: in what they were asked, which way they went, what came of it, and how long it took.

Made from two status documents with all their steps. Pure.

1. Steps are held against each other by path, and listed in the order in which they began. Where only one run
   went, the outermost path of that part is listed, once: ``each[3]``, ``route.case_2``.
2. Data is compared leaf by leaf; ``where`` is a JSON pointer. What is missing counts as null.
3. Each run's own id is no difference, wherever it stands: every idempotency key has it.
4. An error is listed where it happened, not at every block around it.
5. Times always differ; they are listed apart, and whoever shows them judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from flowctl import values
from flowctl.clock import parse_timestamp
from flowctl.status import outwards

Json = Mapping[str, Any]

_RUN = ("workflow", "version", "digest", "status")
_STEP = ("kind", "name", "status", "attempt")
_DATA = ("input", "output")


def difference(left: Json, right: Json) -> dict[str, Any]:
    """The document of ``diff --json``: ``{runs, differences: [{path, what, where, values}], times: [{path,
    milliseconds}]}``; of each pair, the first is of ``left``.
    """
    pair = _Pair(left, right)
    return {
        "runs": [
            {key: run[key] for key in ("id", *_RUN, "started_at", "completed_at")} for run in (left, right)
        ],
        "differences": [*pair.of_runs(), *pair.of_steps()],
        "times": list(pair.times()),
    }


class _Pair:
    """Two runs beside each other."""

    def __init__(self, left: Json, right: Json) -> None:
        self._runs = left, right
        self._steps: tuple[dict[str, Json], dict[str, Json]] = (_by_path(left), _by_path(right))
        self._reached = tuple({*steps, *chain(*map(outwards, steps))} for steps in self._steps)

    def of_runs(self) -> Iterator[dict[str, Any]]:
        """What differs of the runs as wholes; their path is empty."""
        yield from self._compared("", _RUN, *self._runs)
        yield from self._data("", *self._runs)
        yield from self._error("", *(run["error"] for run in self._runs))

    def of_steps(self) -> Iterator[dict[str, Any]]:
        """What differs of the steps, in their order."""
        left, right = self._steps
        listed: set[str] = set()
        for path in merged(list(left), list(right)):
            if path in left and path in right:
                yield from self._of_step(path, left[path], right[path])
            else:
                there = self._reached[0 if path in right else 1]
                outermost = next((outer for outer in reversed([*outwards(path)]) if outer not in there), path)
                if outermost not in listed and outermost not in there:
                    listed.add(outermost)
                    yield _entry(outermost, "reached", "", path in left, path in right)

    def _of_step(self, path: str, left: Json, right: Json) -> Iterator[dict[str, Any]]:
        yield from self._compared(path, _STEP, left, right)
        yield from self._data(path, left, right)
        yield from self._error(path, *(_own_error(step) for step in (left, right)))
        if left["compensation"] and right["compensation"]:  # else their states differ, and say it all
            yield from self._error(f"{path}.undo", *(s["compensation"]["error"] for s in (left, right)))

    def times(self) -> Iterator[dict[str, Any]]:
        """How long the runs, and the steps of both, took. Null for what is not over."""
        yield {"path": "", "milliseconds": [_took(run) for run in self._runs]}
        left, right = self._steps
        for path in left:
            if path in right:
                yield {"path": path, "milliseconds": [_took(left[path]), _took(right[path])]}

    def _compared(self, path: str, keys: Iterable[str], left: Json, right: Json) -> Iterator[dict[str, Any]]:
        return (_entry(path, key, "", left[key], right[key]) for key in keys if left[key] != right[key])

    def _data(self, path: str, left: Json, right: Json) -> Iterator[dict[str, Any]]:
        for key in _DATA:
            for where, one, other in self._leaves(left[key], right[key]):
                yield _entry(path, key, where, one, other)

    def _error(self, path: str, left: Json | None, right: Json | None) -> Iterator[dict[str, Any]]:
        if any(True for _ in self._leaves(left, right)):
            yield _entry(path, "error", "", left, right)

    def _leaves(self, left: Any, right: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
        """The leaves that differ: JSON pointer and both values."""
        if isinstance(left, dict) and isinstance(right, dict):
            for key in left | right:
                yield from self._leaves(left.get(key), right.get(key), f"{where}/{_token(key)}")
        elif isinstance(left, list) and isinstance(right, list):
            for index, (one, other) in enumerate(zip_longest(left, right)):
                yield from self._leaves(one, other, f"{where}/{index}")
        elif not self._alike(left, right):
            yield where, left, right

    def _alike(self, left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str) and left != right:
            return left.replace(self._runs[0]["id"], "") == right.replace(self._runs[1]["id"], "")
        return values.equal(left, right)


def merged(left: Sequence[str], right: Sequence[str]) -> Iterator[str]:
    """All paths: those of ``left`` in order, and what only ``right`` has after its predecessor there."""
    known, after = set(left), dict[str, list[str]]()
    last = ""
    for path in right:
        if path in known:
            last = path
        else:
            after.setdefault(last, []).append(path)
    yield from after.get("", ())
    for path in left:
        yield path
        yield from after.get(path, ())


def _by_path(run: Json) -> dict[str, Json]:
    return {step["path"]: step for step in run["steps"]}


def _entry(path: str, what: str, where: str, left: Any, right: Any) -> dict[str, Any]:
    return {"path": path, "what": what, "where": where, "values": [left, right]}


def _own_error(step: Json) -> Json | None:
    error: Json | None = step["error"]
    return error if error and error["step"] in (step["path"], None) else None


def _took(what: Json) -> int | None:
    if what["started_at"] is None or what["completed_at"] is None:
        return None
    return parse_timestamp(what["completed_at"]) - parse_timestamp(what["started_at"])


def _token(key: str) -> str:
    """A key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
