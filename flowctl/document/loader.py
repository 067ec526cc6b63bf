"""Bytes to data with places: the YAML of flowctl, read on the *event* stream.

PyYAML's loaders build Python objects while they read: aliases that expand without end, dates, ``no`` as
false, and errors of a dozen types, a crash of the process among them. Here its parser only says what comes
next, and this module decides, event by event, so that every limit holds **before** anything is built. Rules:

1. Scalars are those of the YAML 1.2 core schema: ``no``, ``on``, ``1:30`` and dates are strings. What JSON
   has no word for (infinities, integers beyond 64 bits) is refused.
2. Anchors, aliases, merge keys, tags, repeated keys, keys that are not text and several documents are
   refused, each with its place. They do not end the reading: an author hears of all of them at once. Only
   what is not YAML does.
3. A JSON file is read like any other: JSON is YAML, but for pairs of surrogate escapes, which are joined
   first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowctl.document.diagnostics import MAX_SHOWN, Diagnostic, diagnostic, invalid, shown
from flowctl.document.places import START, Place, Pointer, Tree
from flowctl.document.scalars import NUMBER_STARTS, WORDS, core
from flowctl.document.source import LINE_BREAK, text_of
from flowctl.document.syntax import explain
from flowctl.values import NotJson

if TYPE_CHECKING:
    from yaml.events import Event

MAX_DEPTH = 64
"""How deep lists and mappings nest in a document."""

MAX_NODES = 100_000
"""Keys, values, lists and mappings in a document."""

MAX_EXPRESSIONS = 20_000
"""Expressions in a document: each takes kilobytes and a tenth of a millisecond to parse."""

_REFUSED = "\0"
"""Begins the names of refused keys in pointers: no document contains it. Such keys are not part of the data.
"""

_SURROGATE_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


BEGINS = "'dsl: 1' and 'name: …'"


def load_yaml(source: bytes | str, file: str) -> Any:
    """The data of a YAML or JSON text that need not be a workflow. ``InvalidDocument`` with all that was
    refused.
    """
    tree, refused = read_tree(text_of(source, file), file)
    if refused:
        raise invalid(file, refused)
    return tree.data


def read_tree(text: str, file: str, begins: str = BEGINS) -> tuple[Tree, list[Diagnostic]]:
    """The data of a text with its places, and what was refused in it. ``begins``: how such a text begins, for
    who has written nothing.

    Raises ``InvalidDocument`` if the text is not YAML, or over a limit: then there is nothing to go on with.
    """
    if text.count("${{") > MAX_EXPRESSIONS:
        message = f"the document has more than {MAX_EXPRESSIONS:,} expressions"
        raise invalid(file, [diagnostic(file, (), "error", "TooLarge", message, START)])
    reader = _Reader(text, file, begins)
    try:
        data = reader.document()
    except _Stop:
        raise invalid(file, reader.mistakes) from None
    tree = Tree(data, file, reader.lines, reader.values, reader.keys, frozenset(reader.broken))
    return tree, reader.mistakes


class _Stop(Exception):
    """The reading cannot go on; what is wrong is in the reader's mistakes."""


class _Reader:
    """One pass over the events of one document."""

    def __init__(self, text: str, file: str, begins: str) -> None:
        import yaml

        self._yaml = yaml
        self.file = file
        self.begins = begins
        self.lines = LINE_BREAK.split(text)
        self.values: dict[Pointer, Place] = {}
        self.keys: dict[Pointer, Place] = {}
        self.broken: set[Pointer] = set()
        self.mistakes: list[Diagnostic] = []
        self.nodes = 0
        self.parser = _parser(_joined(text))

    def document(self) -> Any:
        events = self._yaml.events
        self.next()  # the start of the stream
        event = self.next()
        if type(event) is events.StreamEndEvent:
            self.mistake("YamlSyntax", "the file is empty", START, f"it begins with {self.begins}")
            raise _Stop
        data = self.node(self.next(), (), 0)
        self.next()  # the end of the document
        event = self.next()
        if type(event) is not events.StreamEndEvent:
            self.mistake(
                "YamlFeature", "a second document in the same file", _start(event), "one file, one document"
            )
        return data

    def node(self, event: Event, pointer: Pointer, depth: int) -> Any:
        """The value that begins with ``event``. Recursive, but never deeper than ``MAX_DEPTH``."""
        place = self.values[pointer] = _start(event)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.mistake("TooLarge", f"the document has more than {MAX_NODES:,} parts", place)
            raise _Stop
        self.refuse_features(event, pointer, place)
        kind = type(event).__name__
        if kind == "ScalarEvent":
            return self.scalar(event, pointer, place)
        if kind == "AliasEvent":
            return None
        if depth >= MAX_DEPTH:
            self.mistake("TooLarge", f"lists and mappings nest more than {MAX_DEPTH} deep", place)
            raise _Stop
        return (
            self.mapping(pointer, depth + 1)
            if kind == "MappingStartEvent"
            else self.sequence(pointer, depth + 1)
        )

    def sequence(self, pointer: Pointer, depth: int) -> list[Any]:
        items: list[Any] = []
        end = self._yaml.events.SequenceEndEvent
        while type(event := self.next()) is not end:
            items.append(self.node(event, (*pointer, len(items)), depth))
        return items

    def mapping(self, pointer: Pointer, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        end = self._yaml.events.MappingEndEvent
        while type(event := self.next()) is not end:
            key = self.key(event, pointer, depth, items)
            value = self.node(self.next(), (*pointer, key), depth)
            if not key.startswith(_REFUSED):
                items[key] = value
        return items

    def key(self, event: Any, pointer: Pointer, depth: int, items: dict[str, Any]) -> str:
        """The key that begins with ``event``; a refused one gets a name of its own."""
        place = _start(event)
        problem: tuple[str, str, str | None] | None = None
        if type(event).__name__ != "ScalarEvent":
            self.node(event, (*pointer, f"{_REFUSED}{self.nodes}"), depth)
            problem = ("NotJson", "a key must be a text", self.complex_key_hint(place))
        else:
            self.nodes += 1
            problem = self.key_problem(event, pointer, items)
        if problem is None:
            self.keys[(*pointer, event.value)] = place
            return str(event.value)
        self.mistake(problem[0], problem[1], place, problem[2])
        if problem[0] == "YamlFeature":
            self.broken.add(pointer)  # what would have been merged in is missing now
        return f"{_REFUSED}{self.nodes}"

    def key_problem(
        self, event: Any, pointer: Pointer, items: dict[str, Any]
    ) -> tuple[str, str, str | None] | None:
        name: str = event.value
        plain = event.implicit[0]
        if event.anchor is not None or event.tag is not None:
            return ("YamlFeature", "a key with an anchor or a tag", None)
        if plain and name == "<<":
            return (
                "YamlFeature",
                "merge keys ('<<') are not supported",
                "write the keys out, or use 'defaults'",
            )
        if plain and (name[:1] in NUMBER_STARTS or name in WORDS) and not _is_text(name):
            return ("NotJson", f"the key {shown(name)} is not a text", f'write it in quotes: "{name[:40]}"')
        if not _is_unicode(name) or name.startswith(_REFUSED):
            return ("NotJson", "the key is not a text that can be stored", None)
        if name in items:
            first = self.keys[(*pointer, name)][0]
            return ("DuplicateKey", f"the key {shown(name)} stands here twice", f"first on line {first}")
        return None

    def complex_key_hint(self, place: Place) -> str:
        line, column = place
        if self.lines[line - 1][max(0, column - 2) : column] == "{{":
            return 'an expression is written "${{ … }}", in quotes'
        return "quote it"

    def scalar(self, event: Any, pointer: Pointer, place: Place) -> Any:
        text: str = event.value
        try:
            if event.implicit[0]:
                return core(text)
            if not _is_unicode(text):
                raise NotJson("the text has a lone surrogate")
        except NotJson as error:
            self.mistake("NotJson", str(error), place, "write it in quotes if it is a text")
            self.broken.add(pointer)
            return None
        return text

    def refuse_features(self, event: Any, pointer: Pointer, place: Place) -> None:
        if type(event).__name__ == "AliasEvent":
            hint = "write the value out, or use 'defaults' and 'activities'"
            self.mistake("YamlFeature", "aliases ('*name') are not supported", place, hint)
        elif event.tag is not None:
            hint = "in a condition write 'not'; a text stands in quotes"
            self.mistake("YamlFeature", "tags ('!name') are not supported", place, hint)
        elif event.anchor is not None:
            hint = "write the value where it is needed, or use 'defaults' and 'activities'"
            self.mistake("YamlFeature", "anchors ('&name') are not supported", place, hint)
            return  # what it names is there all the same
        else:
            return
        self.broken.add(pointer)

    def next(self) -> Any:
        """The next event; ``_Stop`` where the text is not YAML."""
        try:
            return self.parser.get_event()
        except self._yaml.MarkedYAMLError as error:
            message, place, hint = explain(error, self.lines)
        except Exception:  # PyYAML's own parser converts escapes and versions with int() and chr(), unchecked
            message, place, hint = "not YAML: an escape or a number that nobody can read", START, None
        self.mistake("YamlSyntax", message, place, hint)
        raise _Stop

    def mistake(self, code: str, message: str, place: Place, hint: str | None = None) -> None:
        self.mistakes.append(diagnostic(self.file, self.lines, "error", code, message, place, hint))
        if len(self.mistakes) >= MAX_SHOWN:
            raise _Stop


def _parser(text: str) -> Any:
    """PyYAML's event parser over libyaml, or in Python where that was not built in. Neither is recursive."""
    import yaml

    if yaml.__with_libyaml__:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # the stubs do not know it is there

        return CParser(text)

    class Parser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
        def __init__(self, stream: str) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)

    return Parser(text)


def _joined(text: str) -> str:
    """JSON escapes a character beyond U+FFFF as two surrogates, YAML as one code."""
    if not text.lstrip().startswith("{"):
        return text

    def join(match: re.Match[str]) -> str:
        high, low = int(match[2], 16) - 0xD800, int(match[3], 16) - 0xDC00
        return f"{match[1]}\\U{0x10000 + (high << 10) + low:08x}"

    return _SURROGATE_PAIR.sub(join, text)


def _start(event: Any) -> Place:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _is_text(plain: str) -> bool:
    try:
        return isinstance(core(plain), str)
    except NotJson:
        return False


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
