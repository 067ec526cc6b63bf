"""Data from outside: ``-i KEY=VALUE``, ``--input`` and ``--payload``.

Rules:

1. Text of any kind gives a value or an ``InvalidInput`` that names the option: never a hang, never much
   memory. So only ordinary files and standard input are read, and only up to ``MAX_BYTES``.
2. ``-i`` is converted by the type that the document declares for the property: a string stays as it is
   (``0012``), lists and mappings are JSON, and everything else is a YAML scalar, as in the document itself.
   What is not declared is a YAML scalar too.
3. Whether a value is valid beyond its type, the document's schema says.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from flowctl import values
from flowctl.errors import InvalidInput, PayloadTooLarge, UsageError

MAX_BYTES = 8 * values.MAX_BYTES
"""Bytes read of a JSON text. Its value may have an eighth, so there is room for any layout."""

_STRUCTURED = frozenset({"array", "object"})
_KINDS = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int, float),  # 3.0 is an integer to JSON Schema, which has the last word
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


def run_input(text: str | None, pairs: Sequence[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The input of a run: ``--input``, then ``-i`` over it, key by key."""
    value = json_argument(text, "--input") if text is not None else {}
    if not isinstance(value, dict):
        raise InvalidInput(f"--input is {values.kind_of(value)}", hint="the input of a run is a mapping")
    properties = (schema or {}).get("properties", {})
    return {**value, **dict(_pair(pair, properties) for pair in pairs)}


def json_argument(text: str, option: str) -> Any:
    """The value of ``JSON``, ``@FILE`` or ``-`` (standard input)."""
    if text == "-":
        return values.decode(_limited(_read_standard_input(option), option), f"{option} from standard input")
    if text.startswith("@"):
        return values.decode(_limited(_read(text[1:], option), option), f"the file of {option} {text}")
    return values.decode(text, option)


def _read(name: str, option: str) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe would wait for somebody to write to it
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{option}: {name!r} is not an ordinary file", hint="pipe it in with -")
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{option}: {name!r} cannot be read: {error.strerror}") from error


def _read_standard_input(option: str) -> bytes:
    if sys.stdin is None:
        raise UsageError(f"{option}: there is no standard input")
    try:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{option}: standard input cannot be read: {error.strerror}") from error


def _limited(data: bytes, option: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise PayloadTooLarge(
            f"the text of {option} is over {MAX_BYTES:,} bytes",
            hint="store large data elsewhere and pass a reference to it",
        )
    return data


def _pair(pair: str, properties: Mapping[str, Any]) -> tuple[str, Any]:
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise UsageError(f"-i {_shown(pair)} is not KEY=VALUE", hint="write for example -i amount=120")
    declared = properties.get(key)
    return key, _converted(text, _types(declared), f"-i {_shown(key)}")


def _types(declared: Any) -> tuple[str, ...]:
    """The types a property's schema names, () if it names none."""
    named = declared.get("type", ()) if isinstance(declared, dict) else ()
    return (named,) if isinstance(named, str) else tuple(named)


def _converted(text: str, types: Sequence[str], what: str) -> Any:
    if "string" in types:
        return text
    structured = not _STRUCTURED.isdisjoint(types) and text.lstrip()[:1] in ("[", "{")
    value = values.decode(text, what) if structured else _scalar(text, what)
    if types and type(value) not in [kind for name in types for kind in _KINDS[name]]:
        expected = " or ".join(types)
        raise InvalidInput(f"{what}: {_shown(text)} is not of type {expected}", hint=_EXAMPLES.get(types[0]))
    return value


def _scalar(text: str, what: str) -> Any:
    from flowctl.document import scalar

    try:
        return scalar(text)
    except ValueError as error:
        raise InvalidInput(f"{what}: {error}") from None


_EXAMPLES = {
    "boolean": "write true or false",
    "array": """write JSON, such as '["lamp"]'""",
    "object": """write JSON, such as '{"name": "lamp"}'""",
}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
