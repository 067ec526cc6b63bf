"""The text of a document: from bytes to characters, within the limit and fit for YAML.

All that happens to a document that is known already: it is found by its text. So nothing else is imported
here before something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowctl.document.places import Place
    from flowctl.errors import InvalidDocument

MAX_BYTES = 1 << 20
"""Bytes of a document. A longer one is data, and data is an input."""

LINE_BREAK = re.compile(r"\r\n?|\n")

_PLAIN = re.compile("[\t\n\r\x20-\x7e]*")
"""What most documents are made of. Checked first: ``_FOREIGN`` takes milliseconds to compile."""

_FOREIGN = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""What may not stand in a document as it is. U+0085, U+2028 and U+2029 are line breaks to PyYAML and text to
YAML 1.2 and JSON: written as escapes they mean the same everywhere.
"""

_BYTE_ORDER = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_UTF8_MARK = "\ufeff"


def text_of(source: bytes | str, file: str) -> str:
    """The text of a document: UTF-8, within the limit, and only characters that YAML allows.
    ``InvalidDocument``.
    """
    try:
        data = source if isinstance(source, bytes) else source.encode()
        text = source if isinstance(source, str) else source.decode()
    except UnicodeDecodeError as error:
        raise _undecodable(error.object, file, error) from None
    except UnicodeEncodeError:
        raise _refused(file, "BadEncoding", "the text has a lone surrogate") from None
    if len(data) > MAX_BYTES:
        raise _refused(file, "TooLarge", f"the document is over the limit of {MAX_BYTES:,} bytes")
    text = text.removeprefix(_UTF8_MARK)
    if not _PLAIN.fullmatch(text) and (found := re.search(_FOREIGN, text)):
        raise _foreign(text, file, found.start())
    return text


def _undecodable(data: bytes, file: str, error: UnicodeDecodeError) -> InvalidDocument:
    for mark, name in _BYTE_ORDER:
        if data.startswith(mark):
            return _refused(file, "BadEncoding", f"the file is {name}", "save it as UTF-8")
    line = data.count(b"\n", 0, error.start) + 1
    start = data.rfind(b"\n", 0, error.start) + 1
    column = len(data[start : error.start].decode(errors="replace")) + 1
    message = f"byte 0x{data[error.start]:02x} is not UTF-8"
    return _refused(file, "BadEncoding", message, "save the file as UTF-8", (line, column))


def _foreign(text: str, file: str, index: int) -> InvalidDocument:
    before = LINE_BREAK.split(text[:index])
    place = (len(before), len(before[-1]) + 1)
    code = ord(text[index])
    if code == 0 and index <= 3:
        return _refused(file, "BadEncoding", "the file is UTF-16 or binary", "save it as UTF-8", place)
    message = f"the character U+{code:04X} cannot stand in a document"
    hint = f'in double quotes, write it as "\\u{code:04x}"'
    return _refused(file, "BadEncoding", message, hint, place, LINE_BREAK.split(text))


def _refused(
    file: str,
    code: str,
    message: str,
    hint: str | None = None,
    place: Place = (1, 1),
    lines: Sequence[str] = (),
) -> InvalidDocument:
    from flowctl.document.diagnostics import diagnostic, invalid

    return invalid(file, [diagnostic(file, lines, "error", code, message, place, hint)])
