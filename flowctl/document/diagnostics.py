"""Mistakes in a document: what each is called, where it is, how it is shown.

A ``Diagnostic`` is one sentence with a place and a way out. ``CODES`` lists every code there is: they are
part of the interface (``--json``), so one that is published keeps its name. ``Report`` collects them while a
document is checked, because an author wants to hear of all mistakes at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from flowctl.document.places import Place, Pointer, Tree
from flowctl.errors import InvalidDocument

Severity = Literal["error", "warning"]

CODES: Mapping[str, str] = {
    "TooLarge": "over a limit of the language: bytes, depth, nodes",
    "BadEncoding": "not UTF-8, or characters that YAML does not allow",
    "YamlSyntax": "not YAML",
    "YamlFeature": "YAML that flowctl leaves out: anchors, aliases, merge keys, tags, several documents",
    "DuplicateKey": "the same key twice in one mapping",
    "NotJson": "a key that is not a text, or a number that JSON does not have",
    "UnknownKey": "a key that the language does not have there",
    "MissingKey": "a key that must be there",
    "WrongType": "a value of the wrong type",
    "BadValue": "a value of the right type that is not allowed",
    "VerbMissing": "a step without a verb",
    "VerbAmbiguous": "a step with several verbs",
    "BadExpression": "an expression that does not parse",
    "UnknownName": "an expression that names what is not there",
    "UnknownStep": "a reference to a step that is not before this one, in its own or an enclosing scope",
    "UndeclaredSignal": "a signal that `signals` does not declare",
    "UndeclaredSecret": "a secret that `secrets` does not declare",
    "UnknownActivity": "an activity that nobody registers",
    "UnknownArgument": "an argument that the activity or child does not take",
    "MissingArgument": "an argument that the activity or child needs",
    "BadArgument": "an argument that does not fit the activity's signature or the child's input",
    "UnknownWorkflow": "a file with a child workflow that is not there, or is no document",
    "DuplicateId": "the same id twice in one scope",
    "ReservedId": "an id that is a word of the language",
    "Contradiction": "attributes that exclude each other",
    "TooLong": "a duration longer than the run's",
    "BadSchema": "not a JSON Schema, or one that flowctl cannot apply",
    "Unreachable": "a step that can never run (warning)",
    "NoEffect": "something written that changes nothing, or not what it seems to (warning)",
    "Unused": "something declared and never used (warning)",
    "MaybeNull": "a value that can be null where it is used (warning)",
    "Endless": "a loop that nothing ends but its limit (warning)",
    "InDoubt": "a timeout after which nobody would undo what may have happened (warning)",
    "NotIdempotent": "retries of an activity that cannot tell them from new calls (warning)",
}
"""Every code of a diagnostic, and what it means."""

MAX_SHOWN = 100
"""Diagnostics of one document: whoever has more does not read them, and finding the nearest word takes time.
"""

_BEFORE, _AFTER = 80, 80
"""Characters of a line that are shown before and after the place of a mistake."""


class Fix(msgspec.Struct, frozen=True):
    """How a mistake is mended with certainty: the word that stands at its place, and the one that should."""

    wrong: str
    right: str


class Diagnostic(msgspec.Struct, frozen=True):
    """One mistake. ``line`` and ``column`` count from 1; ``excerpt`` is the line as it can be shown, cut
    around the character at index ``caret``. ``fix`` is what ``validate --fix`` would do about it.
    """

    code: str
    severity: Severity
    message: str
    file: str
    line: int
    column: int
    hint: str | None = None
    excerpt: str = ""
    caret: int = 0
    fix: Fix | None = None

    def render(self) -> str:
        """Plain text: what, where and what to do; then the line with a caret."""
        hint = f", {self.hint}" if self.hint else ""
        head = f"{self.severity}[{self.code}]: {self.message} ({self.file}:{self.line}:{self.column}){hint}"
        if not self.excerpt.strip():
            return head
        margin = f"{self.line:>5} | "
        indent = " " * (len(margin) + _width(self.excerpt[: self.caret]))
        return f"{head}\n{margin}{self.excerpt}\n{indent}^"

    def as_error(self) -> Diagnostic:
        """The same as a mistake, for whoever takes warnings for that."""
        return msgspec.structs.replace(self, severity="error")

    def to_json(self) -> dict[str, Any]:
        """The shape of ``validate --json``."""
        names = ("code", "severity", "message", "file", "line", "column", "hint")
        return {name: getattr(self, name) for name in names}


class Enough(Exception):
    """``MAX_SHOWN`` mistakes were found: looking for more would only take time."""


class Report:
    """The diagnostics of one document, collected. What adds one raises ``Enough`` when it was the last."""

    def __init__(self, tree: Tree, found: Iterable[Diagnostic] = ()) -> None:
        self._tree = tree
        self._found = dict.fromkeys(found)
        self._warnings = 0

    def error(
        self,
        code: str,
        pointer: Pointer,
        message: str,
        *,
        hint: str | None = None,
        key: bool = False,
        fix: tuple[str, str] | None = None,
    ) -> None:
        """A mistake at the value of ``pointer``, or at its key. ``fix``: the word that stands there, and what
        was certainly meant.

        Silent where the loader has complained already: what stands there is not what the author wrote.
        """
        self._add("error", code, pointer, message, hint, self._tree.place(pointer, key=key), fix)

    def error_in_text(
        self,
        code: str,
        pointer: Pointer,
        message: str,
        text: str,
        offset: int,
        *,
        hint: str | None = None,
        fix: tuple[str, str] | None = None,
    ) -> None:
        """A mistake at ``offset`` of ``text``, which is (part of) the string at ``pointer``."""
        self._add("error", code, pointer, message, hint, self._tree.place_in(pointer, text, offset), fix)

    def warning(
        self, code: str, pointer: Pointer, message: str, *, hint: str | None = None, key: bool = False
    ) -> None:
        """Something that is allowed and probably not meant."""
        self._add("warning", code, pointer, message, hint, self._tree.place(pointer, key=key))

    def warning_in_text(
        self, code: str, pointer: Pointer, message: str, text: str, offset: int, *, hint: str | None = None
    ) -> None:
        """The same at ``offset`` of ``text``, which is (part of) the string at ``pointer``."""
        self._add("warning", code, pointer, message, hint, self._tree.place_in(pointer, text, offset))

    def _add(
        self,
        severity: Severity,
        code: str,
        pointer: Pointer,
        message: str,
        hint: str | None,
        place: Place,
        fix: tuple[str, str] | None = None,
    ) -> None:
        assert code in CODES, code
        if self._tree.is_broken(pointer):
            return
        found = diagnostic(self._tree.file, self._tree.lines, severity, code, message, place, hint)
        if fix is not None:
            found = msgspec.structs.replace(found, fix=Fix(*fix))
        if severity == "error" or self._warnings < MAX_SHOWN:  # warnings must not hide a mistake
            self._warnings += severity == "warning" and found not in self._found
            self._found[found] = None  # several schemas can complain of the same thing
        if len(self._found) - self._warnings >= MAX_SHOWN:
            raise Enough

    def line(self, pointer: Pointer) -> int:
        """The line on which the value of ``pointer`` begins."""
        return self._tree.place(pointer)[0]

    @property
    def errors(self) -> list[Diagnostic]:
        """What must be mended, in the order of the document."""
        return self._sorted("error")

    @property
    def warnings(self) -> list[Diagnostic]:
        """What should be looked at, in the order of the document."""
        return self._sorted("warning")

    @property
    def everything(self) -> list[Diagnostic]:
        """Both, in the order of the document."""
        return sorted(self._found, key=lambda found: (found.line, found.column, found.severity))

    def _sorted(self, severity: Severity) -> list[Diagnostic]:
        return [found for found in self.everything if found.severity == severity]

    def raise_errors(self) -> None:
        """``InvalidDocument`` with all errors, if there are any."""
        if errors := self.errors:
            raise invalid(self._tree.file, errors)


def diagnostic(
    file: str,
    lines: Sequence[str],
    severity: Severity,
    code: str,
    message: str,
    place: Place,
    hint: str | None = None,
) -> Diagnostic:
    """A diagnostic with the line it is about."""
    line, column = place
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    excerpt, caret = _around(text, column - 1)
    return Diagnostic(code, severity, message, file, line, column, hint, excerpt, caret)


def _around(line: str, index: int) -> tuple[str, int]:
    """The part of a line that is shown, and where ``index`` is in it."""
    start, end = max(0, index - _BEFORE), index + _AFTER
    before, after = "…" if start else "", "…" if end < len(line) else ""
    return before + printable(line[start:end]) + after, index - start + len(before)


def invalid(file: str, errors: list[Diagnostic]) -> InvalidDocument:
    """The exception that carries ``errors``, the first ``MAX_SHOWN`` of them."""
    mistakes = "a mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
    hint = "mend these first: there may be more" if len(errors) >= MAX_SHOWN else None
    return InvalidDocument(f"{file} has {mistakes}", errors[:MAX_SHOWN], hint=hint)


def printable(text: str) -> str:
    """``text`` of the same length, without characters that would command a terminal."""
    return "".join(" " if c == "\t" else c if c.isprintable() else "�" for c in text)


def shown(value: object, limit: int = 60) -> str:
    """A value as it stands in a message: quoted, short, on one line, without control characters."""
    text = repr(value) if not isinstance(value, str) else f"'{printable(value)}'"
    return text if len(text) <= limit else text[: limit - 2] + "…'"


def _width(text: str) -> int:
    """Columns that ``text`` takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
