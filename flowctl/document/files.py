"""Files that hold documents: regular ones, of a size that can be one, replaced as a whole.

A name on a command line can be anything: a pipe that never ends, a device, ten gigabytes. It is looked at
before it is read, through the same descriptor, so that what was looked at is what is read.
"""

from __future__ import annotations

import codecs
import os
import shutil
import stat
from pathlib import Path

from flowctl.document.source import MAX_BYTES
from flowctl.errors import UsageError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file of at most ``MAX_BYTES``; ``UsageError`` says why not."""
    try:
        # Opening a pipe waits for its other end, unless asked not to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise UsageError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the file {str(path)!r} cannot be opened: {reason}") from None
    try:
        return _content(descriptor, path)
    except OSError as error:
        raise UsageError(f"the file {str(path)!r} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _content(descriptor: int, path: Path) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise UsageError(f"{str(path)!r} is {kind}, not a file with a document")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"the file {str(path)!r} is over the limit of {MAX_BYTES:,} bytes for a document")
    return data


def write_file(path: Path, text: str) -> None:
    """Replace the content of a file that was read before, at once or not at all. What it began with to say
    that it is UTF-8, and who may read it, stays. ``UsageError``.
    """
    import tempfile

    real = path.resolve()  # a link goes on leading to the file
    mark = codecs.BOM_UTF8 if read_file(real).startswith(codecs.BOM_UTF8) else b""
    try:
        descriptor, made = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(mark + text.encode())
            shutil.copymode(real, made)
            os.replace(made, real)
        except OSError:
            os.unlink(made)
            raise
    except OSError as error:
        raise UsageError(f"the file {str(path)!r} cannot be written: {error.strerror}") from None
