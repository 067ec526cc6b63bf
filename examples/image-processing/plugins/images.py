"""Pictures: what they are, and small ones of them. Over Pillow.

Files of strangers are opened in a child process, with a limit of memory, because a picture can be made so
that the library crashes on it. A path is ``FOLDER/NAME``, from where flowctl runs.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowctl import activity

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 40_000_000
EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""The formats that are taken. The others that Pillow reads are nobody's holiday pictures."""

PATH = re.compile(r"[a-z]+/[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")


class NotAnImage(Exception):
    """It is none of the formats, or broken."""


class TooManyPixels(Exception):
    """A small file that would fill the memory."""


HOPELESS: list[type[Exception] | str] = [NotAnImage, TooManyPixels, FileNotFoundError, "InvalidInput"]


@activity("images.inspect", timeout="20s", isolation="process", non_retryable=HOPELESS)
def inspect(file: str) -> dict[str, str | int]:
    """What a picture is, by its content: ``{type, extension, width, height}``."""
    with _opened(file) as image:
        assert image.format is not None
        return {
            "type": f"image/{image.format.lower()}",
            "extension": EXTENSIONS[image.format],
            "width": image.width,
            "height": image.height,
        }


@activity("images.thumbnail", timeout="30s", isolation="process", non_retryable=HOPELESS)
def thumbnail(file: str, to: str, box: int) -> dict[str, int]:
    """Write a JPEG that fits into ``box`` by ``box``, upright; returns ``{width, height, bytes}``.

    What the camera wrote about place and time stays behind.
    """
    from PIL import Image, ImageOps

    with _opened(file) as image:
        image.draft("RGB", (box * 2, box * 2))  # JPEG can be decoded smaller from the start
        try:
            small = ImageOps.exif_transpose(image)
            small.thumbnail((box, box), Image.Resampling.LANCZOS)
        except (OSError, SyntaxError) as error:
            raise NotAnImage(f"{file} is broken: {error}") from None
        content = io.BytesIO()
        plain = Image.new("RGB", small.size, "white")
        plain.paste(small, mask=small.getchannel("A") if "A" in small.getbands() else None)
        plain.save(content, "JPEG", quality=86, optimize=True)
    _write(_checked(to), content.getvalue())
    return {"width": small.width, "height": small.height, "bytes": len(content.getvalue())}


def _checked(path: str) -> str:
    if not PATH.match(path):
        raise NotAnImage(f"{path!r} is not FOLDER/NAME")
    return path


@contextmanager
def _opened(file: str) -> Iterator[Image]:
    """A picture whose head has been read, not yet its pixels."""
    from PIL import Image, UnidentifiedImageError

    with open(os.open(_checked(file), os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
                image = Image.open(stream, formats=list(EXTENSIONS))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise TooManyPixels(f"{file}: {error}") from None
        except (UnidentifiedImageError, OSError, SyntaxError):
            raise NotAnImage(f"{file} is no {', '.join(EXTENSIONS)}") from None
        yield image


def _write(file: str, content: bytes) -> None:
    """Put a file into its place, whole and durable."""
    written = f"{file}.part"
    with open(written, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(written, file)
