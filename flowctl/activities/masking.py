"""Secrets: put into a call's arguments just before it, and kept out of everything that comes back.

A secret is never stored: a call carries references, and this is where they become text. What an activity then
says (its result, error, heartbeat, log) may repeat that text by accident; ``Mask`` replaces it. It is the
second line of defence, never the first. What it finds:

1. the text as it is, without the white space around it, and every long line of it;
2. the text as programs write it down on their own: in JSON, in a literal of Python, in a URL, as hex digits,
   and in base64, wherever in the encoded text it begins (as in ``Basic`` credentials);
3. at the edge of a text that somebody has cut off: the piece of a secret that is left there;
4. a number that, written down, is the secret.

What it does not find: secrets of less than ``SHORTEST`` characters, and what an activity has made of one
besides (half of it in the middle of a text, its letters in capitals, a hash, a cipher, an escape of an
escape of an escape).
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from flowctl import values
from flowctl.activities.attempt import MissingSecret
from flowctl.expressions import SecretRef

SHORTEST = 4
"""Shorter texts are not masked: replacing every ``1`` would hide more than the secret."""

PIECE = 8
"""Characters from which on a piece of a secret at an edge is taken for one."""

LINE = 16
"""Characters of a line of a secret from which on it is a secret by itself."""

STARS = "***"


class Mask:
    """Replaces the secrets of one attempt."""

    __slots__ = ("_forms",)

    def __init__(self, secrets: Sequence[str]) -> None:
        found = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._forms = tuple(sorted(found, key=lambda form: (-len(form), form)))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        spans = sorted(span for form in self._forms for span in _occurrences(form, text))
        spans += _edges(self._forms, text)
        return _without(sorted(spans), text) if spans else text

    def cut(self, text: str) -> str:
        """As ``text``, of one that was cut off at its end, where a piece of a secret may be left."""
        return self.text(text)[: -len(self._forms[0]) - 1] + "…" if self._forms else text

    def data(self, value: Any) -> Any:
        """A JSON value without secrets, keys included. The value itself is not changed."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.data(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.data(item) for key, item in value.items()}
        if type(value) in (int, float) and repr(value) in self._forms:
            return STARS
        return value

    def encoded(self, data: bytes) -> bytes:
        """The same for canonical JSON bytes."""
        return values.encode(self.data(values.decode(data))) if self._forms else data


def _forms(secret: str) -> Iterator[str]:
    """What a secret looks like when it is written down."""
    for text in (secret, secret.strip(), *(line for line in secret.splitlines() if len(line) >= LINE)):
        if len(text) < SHORTEST:
            continue
        data = text.encode("utf-8", "surrogatepass")
        yield text
        for escaped in set(_escaped(text)):
            yield escaped
            yield from _escaped(escaped)  # as in the repr of a list of texts that are JSON
        yield repr(data)[2:-1]
        for quoted in (quote(data, safe=""), quote(data), quote_plus(data), quote(data, safe=_SUB_DELIMS)):
            yield from (quoted, _lower_escapes(quoted))
        yield from (data.hex(), data.hex().upper())
        for lead in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield _own_part(encode(bytes(lead) + data).decode(), lead, len(data))


def _escaped(text: str) -> Iterator[str]:
    """A text between the quotes of JSON and of Python, which escapes some quotes, or none, by what else is
    between them.
    """
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    for literal in (repr, ascii):
        escaped = literal(f"{text}'\"")[1:-4]
        yield from (escaped, escaped.replace("\\'", "'"))


_SUB_DELIMS = "!$&'()*+,;=:@/?~"
"""What URLs may have unescaped in a query, which some libraries leave as it is."""


def _lower_escapes(quoted: str) -> str:
    head, *escapes = quoted.split("%")
    return head + "".join(f"%{each[:2].lower()}{each[2:]}" for each in escapes)


def _own_part(encoded: str, lead: int, size: int) -> str:
    """The characters of a base64 text that tell of nothing but ``size`` bytes after ``lead`` others."""
    return encoded[-(-lead * 8 // 6) : (lead + size) * 8 // 6]


def _occurrences(form: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _edges(forms: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where a text begins with the end of a secret, or ends with the beginning of one."""
    if len(text) < PIECE:
        return []
    head, tail = text[:PIECE], text[-PIECE:]
    spans = []
    for form in forms:
        for _, end in _occurrences(tail, form):
            if text.endswith(form[:end]):
                spans.append((len(text) - end, len(text)))
        for start, _ in _occurrences(head, form):
            if text.startswith(form[start:]):
                spans.append((0, len(form) - start))
    return spans


def _without(spans: Sequence[tuple[int, int]], text: str) -> str:
    """A text with stars in place of spans, which may overlap; sorted."""
    parts, end = [], 0
    for first, last in spans:
        if first >= end:
            parts += [text[end:first], STARS]
        end = max(end, last)
    return "".join([*parts, text[end:]])


NOTHING = Mask(())


def reveal(
    arguments: dict[str, Any],
    secrets: Mapping[str, Sequence[str | SecretRef]],
    resolve: Callable[[str], str | None],
) -> tuple[dict[str, Any], Mask]:
    """Arguments with their secrets put in (the ones given stay without), and what masks them.

    ``secrets`` maps JSON pointers to the parts of a text. Raises ``MissingSecret``.
    """
    known: dict[str, str] = {}
    for parts in secrets.values():
        for part in parts:
            if isinstance(part, SecretRef) and part.name not in known:
                found = resolve(part.name)
                if found is None:
                    raise MissingSecret(part.name)
                known[part.name] = found
    complete: dict[str, Any] = values.decode(values.encode(arguments))
    for pointer, parts in secrets.items():
        text = "".join(known[part.name] if isinstance(part, SecretRef) else part for part in parts)
        _put(complete, pointer, text)
    _revealed.update(known.values())
    return complete, Mask(tuple(known.values()))


_revealed: set[str] = set()
"""All secrets that this process has put into arguments."""


def of_everything() -> Mask:
    """What masks all secrets that this process has put into arguments so far."""
    return _mask_of(len(_revealed))


@functools.lru_cache(maxsize=1)
def _mask_of(count: int) -> Mask:
    return Mask(tuple(_revealed))


class SecretFilter(logging.Filter):
    """Keeps every secret that this process has put into arguments out of what a handler writes, whoever logs
    it: ``handler.addFilter(SecretFilter())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes, without its secrets."""
        mask = of_everything()
        if mask:
            record.msg, record.args = mask.text(record.getMessage()), None
            record.exc_text = mask.text(_traceback_of(record)) or None
            record.exc_info = record.stack_info = None
        return True


def _traceback_of(record: logging.LogRecord) -> str:
    """What a formatter would write below the message of a record; empty if nothing."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    lines = "".join(traceback.format_exception(error)).rstrip("\n") if error is not None else ""
    return "\n".join(part for part in (lines or record.exc_text, record.stack_info) if part)


def _put(arguments: Any, pointer: str, text: str) -> None:
    *way, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    place = arguments
    for step in way:
        place = place[_key(place, step)]
    place[_key(place, last)] = text


def _key(place: Any, step: str) -> str | int:
    return int(step) if isinstance(place, list) else step
