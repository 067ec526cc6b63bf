"""Canaries: secrets that are planted everywhere, and what they look like wherever they might come out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

LONG = "".join(f"line {number} of the long canary: {number * 7919:08x}\n" for number in range(12))

CANARIES: Mapping[str, str] = {
    "VAULT": "canäry \"with\" 'quotes' ☃ and spaces",
    "ENVIRONMENT": "env\\canary&with=every+thing%41/and?more#",
    "FILE": LONG,
    "KEYRING": "k3yring-canary-9QZx72bLmT0",
    "SHORT": "q~7Z",
    "DIGITS": "8305291746",
}
"""By the name of the secret. One with fewer than four characters is not masked, and so is none of these."""

WINDOW = 24
"""Characters of a piece of a long form, one of which is a leak: pages of a database cut through texts."""


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """A secret as it is written down: what it is called, and the bytes. Not made by what it is to check."""
    data = secret.strip().encode()
    yield "raw", data
    yield "JSON", json.dumps(secret.strip())[1:-1].encode()
    yield "JSON in UTF-8", json.dumps(secret.strip(), ensure_ascii=False)[1:-1].encode()
    yield "URL", quote(data, safe="").encode()
    yield "URL, form", quote_plus(data).encode()
    yield "URL, lower case", quote(data, safe="").lower().encode() if data.isascii() else b""
    yield "hex", data.hex().encode()
    yield "HEX", data.hex().upper().encode()
    for lead in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            # what is the same whatever stands around it
            around = [encode(bytes([fill]) * lead + data + bytes([fill]) * 3) for fill in (0, 255)]
            same = bytes(a if a == b else 0 for a, b in zip(*around, strict=True)).strip(b"\0")
            yield f"{name}, shifted by {lead}", same.split(b"\0")[0]


def pieces(form: bytes) -> Iterator[bytes]:
    """Pieces of a form, one of which is in whatever has a good part of it."""
    if len(form) <= 2 * WINDOW:
        yield form
        return
    for start in range(0, len(form) - WINDOW + 1, WINDOW):
        yield form[start : start + WINDOW]


def leaks(where: Mapping[str, bytes]) -> list[str]:
    """Every canary in ``where``, bytes by what they are called."""
    sought = [
        (name, kind, piece)
        for name, secret in CANARIES.items()
        for kind, form in forms(secret)
        if len(form) > 4 or kind == "raw"
        for piece in pieces(form)
    ]
    return [
        f"{name} ({kind}) in {place}: {piece!r}"
        for place, data in where.items()
        for name, kind, piece in sought
        if piece in data
    ]


def files(folder: Path, *, planted: tuple[str, ...]) -> dict[str, bytes]:
    """All files in a folder, but for those in which the canaries were put."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in planted
    }
