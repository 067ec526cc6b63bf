"""Functions of numbers, texts and times. Where Python has the function, it means what it means there."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import math
import re
from typing import Any

from flowctl import clock, values
from flowctl.expressions.frame import CHARACTERS, Frame, Problem
from flowctl.expressions.function import Function, need
from flowctl.expressions.operators import NUMBERS, finite
from flowctl.values import NotJson, kind_of

MAX_PATTERN = 1_000
"""Characters of a regular expression."""

PATTERN_COST = 2_000
"""Units for a pattern that this evaluation has not used before: compiling it is what takes time."""

_PATTERN_MEMORY = 1 << 18
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_DIGITS = 300
_TIME_CODE = re.compile(r"%(.)", re.DOTALL)
_TIME_FORMATS = {
    "Y": "{0.year:04}", "m": "{0.month:02}", "d": "{0.day:02}", "H": "{0.hour:02}", "M": "{0.minute:02}",
    "S": "{0.second:02}", "f": "{0.microsecond:06}", "%": "%",
}  # fmt: skip
"""The codes of Python's ``strftime`` that mean the same in every language and on every machine."""

_TYPES = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict:
    "object",
}  # fmt: skip


def _number(value: Any, function: str) -> None:
    if type(value) not in NUMBERS:
        raise Problem(f"{function} takes a number, not {kind_of(value)}")


def _abs(x: Any) -> Any:
    _number(x, "abs")
    return finite(abs(x))


def _round(number: Any, ndigits: Any = None) -> Any:
    _number(number, "round")
    if ndigits is not None:
        need(ndigits, int, "round", "ndigits")
        ndigits = max(
            -_MAX_DIGITS, min(_MAX_DIGITS, ndigits)
        )  # beyond, nothing changes but the time it takes
    return finite(round(number, ndigits))


def _int(x: Any = 0) -> Any:
    if type(x) is str:
        if not _INTEGER.fullmatch(x.strip()):
            raise Problem(f"{x[:40]!r} is not a whole number")
    elif type(x) not in (int, float, bool):
        raise Problem(f"int cannot convert {kind_of(x)}")
    return finite(int(x))


def _float(x: Any = 0.0) -> Any:
    if type(x) is str:
        if not _FLOAT.fullmatch(x.strip()):
            raise Problem(f"{x[:40]!r} is not a number")
    elif type(x) not in (int, float, bool):
        raise Problem(f"float cannot convert {kind_of(x)}")
    return finite(float(x))


def _bool(x: Any = False) -> bool:
    return bool(x)


def _str(frame: Frame, value: Any = "") -> str:
    return value if type(value) is str else _json(frame, value)


def _type(value: Any) -> str:
    return _TYPES[type(value)]


def _lower(s: Any) -> str:
    need(s, str, "lower")
    return str(s.lower())


def _upper(s: Any) -> str:
    need(s, str, "upper")
    return str(s.upper())


def _strip(frame: Frame, s: Any, chars: Any = None) -> str:
    need(s, str, "strip")
    if chars is not None:
        need(chars, str, "strip", "chars")
        frame.spend((len(s) >> CHARACTERS) * (len(chars) >> CHARACTERS))
    return str(s.strip(chars))


def _split(frame: Frame, s: Any, sep: Any = None, maxsplit: Any = -1) -> Any:
    need(s, str, "split")
    need(maxsplit, int, "split", "maxsplit")
    if sep is not None:
        need(sep, str, "split", "separator")
        if not sep:
            raise Problem(
                "split needs a separator that is not empty", "for the characters, write [c for c in …]"
            )
        frame.spend(s.count(sep))
    return s.split(sep, maxsplit)


def _join(frame: Frame, sequence: Any, separator: Any = "") -> str:
    need(sequence, list, "join")
    need(separator, str, "join", "separator")
    for part in sequence:
        if type(part) is not str:
            raise Problem(
                f"join takes a list of strings, not of {kind_of(part)}", "write [str(x) for x in …]"
            )
    frame.spend_text(sum(map(len, sequence)) + len(separator) * max(0, len(sequence) - 1))
    return str(separator.join(sequence))


def _replace(frame: Frame, s: Any, old: Any, new: Any) -> str:
    for value in (s, old, new):
        need(value, str, "replace")
    frame.spend_text(len(s) + s.count(old) * max(0, len(new) - len(old)))
    return str(s.replace(old, new))


def _startswith(s: Any, prefix: Any) -> bool:
    need(s, str, "startswith")
    need(prefix, str, "startswith", "prefix")
    return bool(s.startswith(prefix))


def _endswith(s: Any, suffix: Any) -> bool:
    need(s, str, "endswith")
    need(suffix, str, "endswith", "suffix")
    return bool(s.endswith(suffix))


def _matches(frame: Frame, s: Any, pattern: Any) -> bool:
    need(s, str, "matches")
    need(pattern, str, "matches", "pattern")
    if len(pattern) > MAX_PATTERN:
        raise Problem(f"the pattern is over {MAX_PATTERN:,} characters")
    frame.patterns = frame.patterns or set()
    if pattern not in frame.patterns:
        frame.patterns.add(pattern)
        frame.spend(PATTERN_COST + 10 * len(pattern))
    frame.spend(len(s) >> 2)
    return _pattern(pattern).search(s) is not None


@functools.lru_cache(maxsize=128)
def _pattern(pattern: str) -> Any:
    import re2  # linear in the text whatever the pattern; 10 ms to import

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = (
            error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error.args[0]
        )
        raise Problem(f"{pattern[:80]!r} is not a pattern: {reason}", "patterns are in RE2 syntax") from None


def _json(frame: Frame, value: Any) -> str:
    frame.spend_walk(value, times=2)
    try:
        text = values.encode(value).decode()
    except NotJson as error:
        raise Problem(error.message) from None
    frame.spend_text(len(text))
    return text


def _from_json(frame: Frame, s: Any) -> Any:
    need(s, str, "from_json")
    frame.spend(len(s) >> 3)
    try:
        return values.decode(s, "the text")
    except NotJson as error:
        raise Problem(error.message) from None


def _base64(frame: Frame, s: Any) -> str:
    need(s, str, "base64")
    data = s.encode()
    frame.spend_text(len(data) * 4 // 3 + 4)
    return base64.b64encode(data).decode()


def _from_base64(s: Any) -> str:
    need(s, str, "from_base64")
    try:
        return base64.b64decode(s, validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise Problem("the text is not base64 of UTF-8 text") from None


def _sha256(s: Any) -> str:
    need(s, str, "sha256")
    return hashlib.sha256(s.encode()).hexdigest()


def _uuid(frame: Frame, name: Any) -> str:
    need(name, str, "uuid")
    import uuid

    try:
        run_id = frame.names.resolve("run")["id"]
    except KeyError:
        raise Problem("uuid is derived from the run, and there is none here") from None
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, f"flowctl:run:{run_id}"), name))


def _timestamp(x: Any) -> Any:
    need(x, str, "timestamp")
    return _seconds(_clock(clock.parse_timestamp, x))


def _duration(x: Any) -> Any:
    need(x, str, "duration")
    return _seconds(_clock(clock.parse_duration, x))


def _format_time(frame: Frame, time: Any, format: Any = None) -> str:
    if type(time) in NUMBERS:
        time = math.floor(finite(time * 1_000) + 0.5)
    else:
        need(time, str, "format_time")
        time = _clock(clock.parse_timestamp, time)
    if format is None:
        return str(_clock(clock.format_timestamp, time))
    need(format, str, "format_time", "format")
    frame.spend(2 * len(format))
    fields = _clock(clock.instant, time)
    return _TIME_CODE.sub(lambda code: _time_field(code[1]).format(fields), format)


def _time_field(code: str) -> str:
    if code not in _TIME_FORMATS:
        known = " ".join(f"%{known}" for known in _TIME_FORMATS)
        raise Problem(f"format_time does not know '%{code}'", f"it knows {known}")
    return _TIME_FORMATS[code]


def _seconds(milliseconds: int) -> int | float:
    return milliseconds / 1_000 if milliseconds % 1_000 else milliseconds // 1_000


def _clock(convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise Problem(str(error)) from None


SCALARS = (
    Function.of("abs", _abs),
    Function.of("round", _round),
    Function.of("int", _int),
    Function.of("float", _float),
    Function.of("bool", _bool, instant=True),
    Function.of("str", _str, framed=True, price=10),
    Function.of("type", _type, instant=True),
    Function.of("lower", _lower),
    Function.of("upper", _upper),
    Function.of("strip", _strip, framed=True),
    Function.of("split", _split, framed=True),
    Function.of("join", _join, framed=True),
    Function.of("replace", _replace, framed=True),
    Function.of("startswith", _startswith),
    Function.of("endswith", _endswith),
    Function.of("matches", _matches, framed=True),
    Function.of("json", _json, framed=True, price=10),
    Function.of("from_json", _from_json, framed=True, price=30),
    Function.of("base64", _base64, framed=True),
    Function.of("from_base64", _from_base64, price=10),
    Function.of("sha256", _sha256),
    Function.of("uuid", _uuid, framed=True, reads=("run", "id"), price=100),
    Function.of("timestamp", _timestamp, price=50),
    Function.of("duration", _duration, price=50),
    Function.of("format_time", _format_time, framed=True, price=50),
)
