"""The files of the dashboard: those of the package, read once, and nothing else.

What a browser asks for is a key of a dictionary, never a path. Whatever is not there, and not the API's, is
the one page, which reads the rest of the address itself. Names under ``assets/`` have a hash of their
content, so a browser may keep them.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

INDEX = "index.html"
HASHED = "assets/"

MEDIA = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
"""By the end of a name. What is not in it is not served."""


class Asset(msgspec.Struct, frozen=True):
    """A file as it is sent."""

    content: bytes
    media: str
    etag: str
    cache: str


class Assets:
    """All of them, by name."""

    def __init__(self) -> None:
        self._known: dict[str, Asset] = {}
        self._add(files("flowctl.server").joinpath("static"), "")

    def find(self, path: str) -> Asset:
        """The file of that name, or the page."""
        return self._known.get(path.lstrip("/")) or self._known[INDEX]

    def _add(self, folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            name = prefix + entry.name
            if entry.is_dir():
                self._add(entry, f"{name}/")
            elif (ending := name.rpartition(".")[2]) in MEDIA:
                content = entry.read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                cache = "public, max-age=31536000, immutable" if name.startswith(HASHED) else "no-cache"
                self._known[name] = Asset(content, MEDIA[ending], etag, cache)
