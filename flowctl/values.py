"""The one gate for data: what a value is, how large it may be, how it becomes bytes.

A value is strict JSON: ``None``, ``bool``, ``int`` within signed 64 bits, finite ``float``, ``str`` that is
valid Unicode, ``list``, and ``dict`` with ``str`` keys, nested at most ``MAX_DEPTH`` deep. Exactly these
types: a subclass, a tuple or an enum would come back from the journal as something else, so a run would see
one thing before a crash and another after it. Everything that enters a run (input, signal, result, plugin)
passes here once, and what does not fit is refused by name and place. Nothing is ever changed on the way.

Bytes are canonical: compact UTF-8, keys in code point order. Equal bytes are equal values, so digests can be
compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec.json

from flowctl.errors import InvalidInput, PayloadTooLarge

MAX_BYTES = 1 << 20
"""The language's one limit: encoded bytes of a run input, a call, a result or a signal."""

MAX_DEPTH = 100
"""How many levels below the top an element may lie. Deeper is a mistake, a cycle or an attack."""

CEILING = 8 * MAX_BYTES
"""Elements plus characters looked at before a value is refused unseen: lists that share their elements are
small in memory and endless when written out."""

MIN_INT, MAX_INT = -(2**63), 2**63 - 1

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder()
_INFINITY = float("inf")
_NOT_JSON = -1
_FEW = 16


class NotJson(InvalidInput, ValueError):
    """A value that is not JSON, or text that is none. ``path`` is the place, ``$.items[3].price``.

    An ``InvalidInput`` by name and code; whoever checks a *result* catches it and says ``InvalidOutput``.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message, details={"path": path})
        self.path = path


NotJson.code = InvalidInput.code  # the language knows no error of this name


def check(value: Any, what: str) -> None:
    """Refuse what is not JSON: ``NotJson`` with its place, or ``PayloadTooLarge`` if it can never fit.

    ``what`` names the value in messages: "the input", "the result of charge".
    """
    weight = weigh(value)
    if weight > CEILING:
        raise _too_large(value, what)
    if weight < 0:
        raise _not_json(value, what)


def check_text(text: Any, what: str) -> None:
    """Refuse what is neither a text nor null: ``InvalidInput``."""
    if text is not None and type(text) is not str:
        raise InvalidInput(f"{what} must be a text, not {_KINDS.get(type(text), type(text).__name__)}")
    check(text, what)


def encode(value: Any, what: str = "the value") -> bytes:
    """The canonical bytes of a value; errors as ``check``."""
    check(value, what)
    return _ENCODER.encode(value)


def sized(value: Any, what: str) -> bytes:
    """``encode``, and ``PayloadTooLarge`` over ``MAX_BYTES``, naming the largest key."""
    if not 0 <= weigh(value) <= CEILING:
        check(value, what)  # which says what is wrong
    data = _ENCODER.encode(value)
    if len(data) > MAX_BYTES:
        raise _too_large(value, what)
    return data


def decode(data: bytes | str, what: str = "the data") -> Any:
    """The value of JSON text. ``NotJson`` for anything else, repeated keys and huge numbers included."""
    try:
        value = _DECODER.decode(data)
    except ValueError as error:  # msgspec's own errors, bad UTF-8, numbers of a thousand digits
        raise NotJson(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise NotJson(f"{what} is nested more than {MAX_DEPTH} deep") from None
    check(value, what)
    if _may_repeat_keys(data.encode() if isinstance(data, str) else data, value):
        json.loads(data, object_pairs_hook=lambda pairs: _unique(pairs, what), parse_int=str, parse_float=str)
    return value


def digest(value: Any) -> str:
    """The sha256 of a value's canonical bytes, or of bytes as they are, in hexadecimal."""
    return hashlib.sha256(value if type(value) is bytes else encode(value)).hexdigest()


def equal(one: Any, other: Any) -> bool:
    """JSON equality: ``1`` equals ``1.0`` but not ``true``; lists in order, mappings in any order."""
    if one != other:  # Python is never stricter than JSON, only laxer: it takes true for 1
        return False
    kind = type(one)
    if kind is list:
        return all(map(equal, one, other))
    if kind is dict:
        return all(equal(item, other[key]) for key, item in one.items())
    return (kind is bool) == (type(other) is bool)


def _weigh_plain(value: dict[Any, Any]) -> int | None:
    """``weigh`` of what most calls and results are: a few names with plain values. None if it is not that."""
    weight = 1 + len(value)
    for key, item in value.items():
        kind = type(item)
        if kind is str:
            if not item.isascii():
                return None
            weight += len(item)
        elif not (kind is int and MIN_INT <= item <= MAX_INT) and item is not None and kind is not bool:
            return None
        if type(key) is not str or not key.isascii():
            return None
        weight += len(key)
    return weight


def weigh(value: Any, ceiling: int = CEILING) -> int:
    """Elements plus characters of a value: never more than its encoded size. Negative if it is not JSON.

    Stops soon after ``ceiling``, so cycles and shared elements cannot keep it busy. It goes by levels rather
    than by recursion, because this is the hot path of every step, and a deep value must not meet Python's
    stack.
    """
    if value is None or value is True or value is False:
        return 1
    kind = type(value)
    if kind is int:
        return 1 if MIN_INT <= value <= MAX_INT else _NOT_JSON
    if kind is dict and len(value) < _FEW:
        weight = _weigh_plain(value)
        if weight is not None:
            return weight
    weight, level = 1, [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                weight += len(item)
                if not (item.isascii() or _is_unicode(item)):
                    return _NOT_JSON
            elif kind is dict:
                weight += len(item)
                if weight > ceiling:
                    return weight
                for key in item:
                    if type(key) is not str or not (key.isascii() or _is_unicode(key)):
                        return _NOT_JSON
                    weight += len(key)
                below += item.values()
            elif kind is list:
                weight += len(item)
                if weight > ceiling:
                    return weight
                below += item
            elif kind is int:
                if not MIN_INT <= item <= MAX_INT:
                    return _NOT_JSON
            elif kind is float:
                if not -_INFINITY < item < _INFINITY:  # false for NaN as well
                    return _NOT_JSON
            elif item is not None and kind is not bool:
                return _NOT_JSON
        if not below:
            return weight
        level = below
    return _NOT_JSON


def kind_of(value: Any) -> str:
    """What people call a value in an error: "a string", "a list", "null"."""
    return _KINDS.get(type(value)) or f"a Python {type(value).__name__}"


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping",
}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: passes JSON and YAML, then breaks the database
        return False
    return True


def _may_repeat_keys(text: bytes, value: Any) -> bool:
    """Whether msgspec, which keeps the last of two equal keys without a word, may have dropped one.

    Every key brings a colon, so text that has no more colons than its value written out again has lost none;
    only an escaped colon could hide a loss. So the slow parse that can name the key hardly ever runs.
    """
    colons = text.count(b":")
    return colons > 0 and (colons != _ENCODER.encode(value).count(b":") or b"\\u003" in text)


def _unique(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise NotJson(f"{what} has the key {_shown(next(n for n in names if names.count(n) > 1))} twice")
    return mapping


def _too_large(value: Any, what: str) -> PayloadTooLarge:
    largest = _largest_key(value)
    named = "" if largest is None else f"; its largest part is {_shown(largest)}"
    return PayloadTooLarge(
        f"{what} is over the limit of {MAX_BYTES:,} bytes{named}",
        hint="store large data elsewhere and pass a reference to it",
        details={"limit": MAX_BYTES, "largest": largest},
    )


def _largest_key(value: Any) -> str | int | None:
    """Key or index of the heaviest element, None if there are none. One ceiling bounds the whole search."""
    left, most, largest = CEILING, -1, None
    for key, item in _children(value):
        weight = weigh(item, left)
        if weight > most:
            most, largest = weight, key
        left -= weight
        if left <= 0:
            break
    return largest


def _not_json(value: Any, what: str) -> NotJson:
    for path, problem in _mistakes(value, "$", set()):
        where = "" if path == "$" else f" at {path}"
        return NotJson(f"{what} is not JSON{where}: {problem}", path)
    return NotJson(f"{what} is nested more than {MAX_DEPTH} deep, or contains itself")


def _mistakes(value: Any, path: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, str]]:
    """Places that ``weigh`` refused, but for depth. Each container is walked once, so cycles end."""
    if (problem := _mistake(value)) is not None:
        yield path, problem
    elif type(value) in (list, dict) and depth <= MAX_DEPTH and id(value) not in seen:
        seen.add(id(value))
        for key, item in _children(value):
            if type(value) is list:
                yield from _mistakes(item, f"{path}[{key}]", seen, depth + 1)
            elif (problem := _bad_key(key)) is not None:
                yield path, problem
            else:
                yield from _mistakes(item, f"{path}.{key[:80]}", seen, depth + 1)


def _mistake(value: Any) -> str | None:
    """What is wrong with this one value, elements aside."""
    kind = type(value)
    if kind not in _KINDS:
        return f"a {kind.__name__} is not a JSON type"
    if kind is int and not MIN_INT <= value <= MAX_INT:
        return "an integer beyond 64 bits"
    if kind is float and not -_INFINITY < value < _INFINITY:
        return f"{value} is not a JSON number"
    if kind is str and not _is_unicode(value):
        return "a lone surrogate, which is not text"
    return None


def _bad_key(key: Any) -> str | None:
    if type(key) is not str:
        return f"the key {_shown(key)} is not a string"
    return None if _is_unicode(key) else "a key with a lone surrogate, which is not text"


def _children(value: Any) -> list[tuple[Any, Any]]:
    if type(value) is dict:
        return list(value.items())
    return list(enumerate(value)) if type(value) is list else []


def _shown(key: object) -> str:
    text = ascii(key) if not isinstance(key, str) or not key.isprintable() else repr(key)
    return text if len(text) <= 80 else text[:79] + "…"
