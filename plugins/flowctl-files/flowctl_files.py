"""Files as activities of flowctl, within the folders that a project allows.

Rules:

1. A document names a **root** of ``[plugins.files.roots]`` in ``flowctl.toml`` and a path below it. Without
   roots there are no files.
2. No path leaves its root. Names are walked one after the other, each opened in the folder before it, and
   none may be a link: so neither ``..`` nor a link, not even one that is made in the meantime, leads outside.
3. A file is written whole or not at all: beside its place first, made durable, then moved there. Writing the
   same again is no change, so every activity here may be repeated.
4. What is no regular file (a pipe, a device, a socket) is not opened.
5. Plugins whose activities work on files keep to the same roots by ``opened`` and ``save``.

Only what the standard library has is needed, and a system with ``openat`` (Linux, macOS).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from flowctl import ActivityContext, activity, hookimpl

Encoding = Literal["utf-8", "base64"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.files]``. ``roots`` are folders by name, relative to the project; ``max_bytes`` bounds what
    is read into a result."""

    roots: dict[str, str] = {}
    max_bytes: int = 700_000


class FilesError(Exception):
    """A path that is not allowed, or not what it is taken for."""


class NotAllowed(FilesError):
    """The root is not in ``flowctl.toml``, or the path leads out of it, or over a link."""


class NotAFile(FilesError):
    """A folder, a pipe or a device where a file is wanted, or the other way round."""


class FileTooLarge(FilesError):
    """Over ``max_bytes``."""


HOPELESS = (FilesError, "FileNotFoundError", "PermissionError", "UnicodeDecodeError", "InvalidInput")

_settings = Settings()
_folder = "."


@hookimpl
def flowctl_configure(settings: Mapping[str, Any], folder: str) -> None:
    """Take ``[plugins.files]``."""
    global _settings, _folder
    _settings, _folder = msgspec.convert(settings, Settings), folder


@activity("files.read", timeout="30s", non_retryable=HOPELESS)
def read(root: str, path: str, encoding: Encoding = "utf-8") -> str:
    """The content of a file, as text or base64."""
    with opened(root, path) as descriptor:
        content = _content(descriptor, _settings.max_bytes + 1)
    if len(content) > _settings.max_bytes:
        raise FileTooLarge(f"{path} is over {_settings.max_bytes:,} bytes")
    return content.decode() if encoding == "utf-8" else base64.b64encode(content).decode()


@activity("files.write", timeout="30s", non_retryable=HOPELESS)
def write(
    ctx: ActivityContext, root: str, path: str, content: str, encoding: Encoding = "utf-8"
) -> dict[str, Any]:
    """Write a file, whole; folders on the way are made. Returns ``{path, size, sha256}``."""
    try:
        data = content.encode() if encoding == "utf-8" else base64.b64decode(content, validate=True)
    except ValueError as error:
        raise FilesError(f"the content is not {encoding}: {error}") from None
    return save(ctx, root, path, data)


def save(ctx: ActivityContext, root: str, path: str, data: bytes) -> dict[str, Any]:
    """What ``files.write`` does, for activities of other plugins, which may have more data than fits into an
    argument.
    """
    with _parent(root, path, make=True) as (folder, name):
        if _kind(folder, name) not in (None, "file"):
            raise NotAFile(f"{path} is there, and is no file")
        temporary = _sweep(folder, ctx)
        with os.fdopen(os.open(temporary, _NEW, 0o666, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sweep(folder: int, ctx: ActivityContext) -> str:
    """A name to write under, after removing what earlier attempts of the step left. One that is still at it,
    after its timeout, then cannot put its file into place any more.
    """
    own = f".flowctl-{hashlib.sha256(ctx.idempotency_key.encode()).hexdigest()[:16]}-"
    for name in os.listdir(folder):
        if name.startswith(own):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return f"{own}{ctx.attempt}"


@activity("files.stat", timeout="30s", non_retryable=HOPELESS)
def status(root: str, path: str) -> dict[str, Any] | None:
    """``{path, size, sha256}`` of a file, or null if it is not there."""
    try:
        with opened(root, path) as descriptor:
            digest, size = hashlib.sha256(), 0
            while chunk := os.read(descriptor, 1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        return None
    return {"path": path, "size": size, "sha256": digest.hexdigest()}


@activity("files.list", timeout="30s", non_retryable=HOPELESS)
def list_files(root: str, path: str = ".", pattern: str = "*") -> list[str]:
    """The paths of the files right in a folder whose names fit a pattern (``*.csv``), sorted."""
    with _within(root, _names(path), path) as folder:
        names = [
            name
            for name in os.listdir(folder)
            if fnmatch.fnmatchcase(name, pattern)
            and not name.startswith(".flowctl-")
            and _kind(folder, name) == "file"
        ]
    return sorted("/".join([*_names(path), name]) for name in names)


@activity("files.move", timeout="30s", non_retryable=HOPELESS)
def move(root: str, path: str, to: str) -> str:
    """Move a file within a root, over what is there; returns where it is now. Moving again what was moved
    already is no error."""
    with _parent(root, path) as (folder, name), _parent(root, to, make=True) as (target, new):
        kind, there = _kind(folder, name), _kind(target, new)
        if kind is None and there == "file":
            return to
        if kind is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no {path}")
        if kind != "file" or there not in (None, "file"):
            raise NotAFile(f"{path if kind != 'file' else to} is no file")
        os.replace(name, new, src_dir_fd=folder, dst_dir_fd=target)
        os.fsync(target)
        os.fsync(folder)
    return to


@activity("files.delete", timeout="30s", non_retryable=HOPELESS)
def delete(root: str, path: str) -> bool:
    """Delete a file; whether it was there."""
    with contextlib.suppress(FileNotFoundError), _parent(root, path) as (folder, name):
        if _kind(folder, name) not in (None, "file"):
            raise NotAFile(f"{path} is no file")
        os.unlink(name, dir_fd=folder)
        os.fsync(folder)
        return True
    return False


@contextlib.contextmanager
def opened(root: str, path: str) -> Iterator[int]:
    """The descriptor of a file, open for reading, for activities of other plugins too. ``NotAllowed``,
    ``NotAFile``, ``FileNotFoundError``."""
    with _parent(root, path) as (folder, name):
        try:
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            raise _explained(error, path) from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotAFile(f"{path} is no file")
            yield descriptor
        finally:
            os.close(descriptor)


def _names(path: str) -> list[str]:
    """The names of a path, one after the other. ``NotAllowed`` for what leads outside."""
    if path.startswith("/") or "\0" in path:
        raise NotAllowed(f"{path!r} is not a path below a root")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise NotAllowed(f"{path!r} leads upwards")
    return names


@contextlib.contextmanager
def _parent(root: str, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The folder that a file is in, open, and the file's name."""
    names = _names(path)
    if not names or path.endswith("/"):
        raise NotAFile(f"{path!r} names no file")
    with _within(root, names[:-1], path, make=make) as folder:
        yield folder, names[-1]


@contextlib.contextmanager
def _within(root: str, names: list[str], path: str, *, make: bool = False) -> Iterator[int]:
    """A folder below a root, open."""
    if root not in _settings.roots:
        known = ", ".join(sorted(_settings.roots)) or "none"
        raise NotAllowed(f"there is no root {root!r}; [plugins.files.roots] in flowctl.toml has {known}")
    start = os.path.join(_folder, _settings.roots[root])
    folder = os.open(start, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the project's own may be a link
    try:
        for name in names:
            folder = _into(folder, name, path, make)
        yield folder
    finally:
        os.close(folder)


def _into(folder: int, name: str, path: str, make: bool) -> int:
    """The folder ``name`` in an open one, which is closed in exchange."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise _explained(error, path) from None
    os.close(folder)
    return inner


def _explained(error: OSError, path: str) -> Exception:
    """What it means that a name cannot be opened."""
    if error.errno == errno.ENOENT:
        return FileNotFoundError(errno.ENOENT, f"there is no {path}")
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        return NotAllowed(f"{path} leads over a link, or over what is no folder")
    if error.errno in (errno.ENXIO, errno.EISDIR):
        return NotAFile(f"{path} is no file")
    return error


def _kind(folder: int, name: str) -> str | None:
    """``file``, ``other``, or None if it is not there. A link is not followed."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    return "file" if stat.S_ISREG(mode) else "other"


def _content(descriptor: int, limit: int) -> bytes:
    parts, left = [], limit
    while left > 0 and (chunk := os.read(descriptor, left)):
        parts.append(chunk)
        left -= len(chunk)
    return b"".join(parts)
