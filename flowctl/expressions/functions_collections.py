"""Functions of lists and mappings. Where Python has the function, it means what it means there."""

from __future__ import annotations

import functools
import re
from typing import Any

from flowctl.expressions.frame import Frame, Problem
from flowctl.expressions.function import Function, need
from flowctl.expressions.operators import NUMBERS, add, contains, elements, finite, less, truth
from flowctl.values import kind_of

MAX_PATH = 1_000
"""Characters of the path that ``get`` takes."""

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d{1,18})\]")


def _len(value: Any) -> int:
    if type(value) not in (str, list, dict):
        raise Problem(f"{kind_of(value)} has no length")
    return len(value)


def _sum(frame: Frame, iterable: Any, start: Any = 0) -> Any:
    need(iterable, list, "sum")
    if type(start) not in NUMBERS:
        raise Problem(f"sum adds numbers, not {kind_of(start)}")
    total = start
    for number in iterable:  # one by one: newer versions of Python round floats differently in their own sum
        total = add(frame, total, number)
    return total


def _least(name: str, first_wins: bool) -> Any:
    def pick(frame: Frame, value: Any, *more: Any) -> Any:
        candidates = [value, *more] if more else value
        need(candidates, list, name)
        if not candidates:
            raise Problem(f"{name} of an empty list", f"write {name}(xs) if len(xs) > 0 else …")
        frame.spend_walk(candidates)
        best = candidates[0]
        less(frame, best, best)  # a single element must be orderable as well
        for candidate in candidates[1:]:
            one, other = (candidate, best) if first_wins else (best, candidate)
            if less(frame, one, other):
                best = candidate
        return best

    return pick


def _any(iterable: Any) -> bool:
    need(iterable, list, "any")
    return any(truth(element, "an element of any") for element in iterable)


def _all(iterable: Any) -> bool:
    need(iterable, list, "all")
    return all(truth(element, "an element of all") for element in iterable)


def _sorted(frame: Frame, iterable: Any, key: Any = None, reverse: Any = False) -> Any:
    items = list(elements(frame, iterable))
    keys = items if key is None else [_get(item, key) for item in items]
    frame.spend_walk(keys, times=1 + len(keys).bit_length() // 4)
    kinds = {type(k) for k in keys}
    if kinds <= NUMBERS or kinds == {str}:
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=truth(reverse, "reverse"))
    else:

        def compare(one: int, other: int) -> int:
            return less(frame, keys[other], keys[one]) - less(frame, keys[one], keys[other])

        order = sorted(range(len(keys)), key=functools.cmp_to_key(compare), reverse=truth(reverse, "reverse"))
    return [items[at] for at in order]


def _reversed(sequence: Any) -> Any:
    need(sequence, list, "reversed")
    return sequence[::-1]


def _range(frame: Frame, start: Any, stop: Any = None, step: Any = 1) -> Any:
    if stop is None:
        start, stop = 0, start
    for bound in (start, stop, step):
        need(bound, int, "range")
    if step == 0:
        raise Problem("the step of range cannot be 0")
    numbers = range(start, stop, step)
    frame.spend(max(0, (numbers[-1] - numbers[0]) // step + 1) if numbers else 0)  # len() ends at 63 bits
    return list(numbers)


def _enumerate(iterable: Any, start: Any = 0) -> Any:
    need(iterable, list, "enumerate")
    need(start, int, "enumerate", "start")
    return [[finite(at), item] for at, item in enumerate(iterable, start)]


def _zip(*lists: Any) -> Any:
    for one in lists:
        need(one, list, "zip")
    return [list(row) for row in zip(*lists, strict=False)]


def _keys(mapping: Any) -> Any:
    need(mapping, dict, "keys")
    return sorted(mapping)


def _values(mapping: Any) -> Any:
    need(mapping, dict, "values")
    return [mapping[key] for key in sorted(mapping)]


def _items(mapping: Any) -> Any:
    need(mapping, dict, "items")
    return [[key, mapping[key]] for key in sorted(mapping)]


def _contains(frame: Frame, container: Any, item: Any) -> bool:
    return contains(frame, container, item)


def _get(value: Any, path: Any, default: Any = None) -> Any:
    if type(path) is not int:
        need(path, str, "get", "path")
    for step in _steps(path) if type(path) is str else (path,):
        if type(value) is list:
            found = type(step) is int and -len(value) <= step < len(value)
        else:
            found = type(value) is dict and step in value
        if not found:
            return default
        value = value[step]
    return value


def _reach(frame: Frame, value: Any, path: Any, default: Any = None) -> Any:
    frame.spend(len(path) >> 1 if type(path) is str else 0)
    return _get(value, path, default)


@functools.lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str | int, ...]:
    """The keys and indexes of ``a.b[0]``."""
    if len(path) > MAX_PATH:
        raise Problem(f"the path is over {MAX_PATH:,} characters")
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (match[1] is not None and (at == 0) == path.startswith(".", at)):
            raise Problem(f"{path[:80]!r} is not a path", "write for example 'customer.orders[0].id'")
        steps.append(match[1] if match[1] is not None else int(match[2]))
        at = match.end()
    return tuple(steps)


def _first(sequence: Any) -> Any:
    need(sequence, list, "first")
    return sequence[0] if sequence else None


def _last(sequence: Any) -> Any:
    need(sequence, list, "last")
    return sequence[-1] if sequence else None


def _unique(frame: Frame, sequence: Any) -> Any:
    need(sequence, list, "unique")
    frame.spend_walk(sequence, times=2)
    first: dict[Any, Any] = {}
    for item in sequence:
        first.setdefault(_frozen(item), item)
    return list(first.values())


def _frozen(value: Any) -> Any:
    """Something hashable that is equal exactly where two values are equal as JSON."""
    if type(value) is list:
        return tuple(_frozen(item) for item in value)
    if type(value) is dict:
        return frozenset((key, _frozen(item)) for key, item in value.items())
    return (bool, value) if type(value) is bool else value


def _flatten(frame: Frame, sequence: Any) -> Any:
    need(sequence, list, "flatten")
    frame.spend(sum(len(item) if type(item) is list else 1 for item in sequence))
    flat: list[Any] = []
    for item in sequence:
        flat.extend(item if type(item) is list else [item])
    return flat


def _merge(*mappings: Any) -> Any:
    merged: dict[str, Any] = {}
    for mapping in mappings:
        need(mapping, dict, "merge")
        merged.update(mapping)
    return merged


def _pick(mapping: Any, *keys: Any) -> Any:
    wanted = _wanted(mapping, keys, "pick")
    return {key: value for key, value in mapping.items() if key in wanted}


def _omit(mapping: Any, *keys: Any) -> Any:
    unwanted = _wanted(mapping, keys, "omit")
    return {key: value for key, value in mapping.items() if key not in unwanted}


def _wanted(mapping: Any, keys: tuple[Any, ...], function: str) -> set[str]:
    """Keys one by one, or as lists."""
    need(mapping, dict, function)
    names = [name for key in keys for name in (key if type(key) is list else [key])]
    for name in names:
        need(name, str, function, "key")
    return set(names)


COLLECTIONS = (
    Function.of("len", _len, instant=True),
    Function.of("sum", _sum, framed=True),
    Function.of("min", _least("min", first_wins=True), framed=True),
    Function.of("max", _least("max", first_wins=False), framed=True),
    Function.of("any", _any),
    Function.of("all", _all),
    Function.of("sorted", _sorted, framed=True),
    Function.of("reversed", _reversed),
    Function.of("range", _range, framed=True),
    Function.of("enumerate", _enumerate),
    Function.of("zip", _zip),
    Function.of("keys", _keys),
    Function.of("values", _values),
    Function.of("items", _items),
    Function.of("contains", _contains, framed=True),
    Function.of("get", _reach, framed=True, instant=True),
    Function.of("first", _first, instant=True),
    Function.of("last", _last, instant=True),
    Function.of("unique", _unique, framed=True),
    Function.of("flatten", _flatten, framed=True),
    Function.of("merge", _merge),
    Function.of("pick", _pick),
    Function.of("omit", _omit),
)
