"""How well ``validate`` finds slips of the pen: one letter swapped, dropped or doubled in one word.

The words are those that a workflow is made of: every key of the language (of JSON Schemas too) and of an
activity's arguments, every reference to a step, every name of an activity. Each is misspelt once in each of
the three ways, at a letter drawn by lot (``--every``: at every letter), in an example that is otherwise
right. A slip is *detected* if there is a diagnostic that was not there before, and *explained* if one of
those stands at the very line and column of the word and names the word that was meant.

Names that an author makes up (of inputs, signals, variables, outputs, ids) are counted apart: a name that is
written once is right however it is written. ``python -m benchmarks.typing`` prints the figures.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flowctl.document import World, problems
from flowctl.document.diagnostics import Diagnostic
from flowctl.document.loader import read_tree
from flowctl.document.places import Place, Pointer, Tree
from flowctl.document.trees import paths_in
from flowctl.plugins import Plugins, load

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PACKAGES = sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))

JUDGED = ("key", "argument", "step reference", "activity name")
"""Kinds of words that the figures are of."""

_BARE = frozenset({"if", "while", "until", "foreach"})
_SCHEMAS = frozenset({"input", "payload", "output_schema"})
_OWN_NAMES = frozenset({"signals", "activities", "parallel"})
"""Keys whose value maps names that an author makes up."""

_OWN_VALUES = frozenset({"output", "return", "payload", "set", "search", "memo", "metadata", "details"})
"""Keys whose value is an author's own, at any depth."""


class Word(NamedTuple):
    """One word of a document: what it is, and where it stands."""

    kind: str
    text: str
    place: Place


class Slip(NamedTuple):
    """A word, and how it was misspelt."""

    word: Word
    way: str
    written: str


class Outcome(NamedTuple):
    """What became of a slip; ``said`` are the diagnostics that it caused."""

    slip: Slip
    detected: bool
    explained: bool
    said: tuple[Diagnostic, ...]


# --- the words of a document


def words(tree: Tree) -> Iterator[Word]:
    """All words of a document that can be misspelt."""
    for pointer, place in tree.keys.items():
        yield Word(kind_of_key(pointer), str(pointer[-1]), place)
    for pointer, value in leaves(tree.data, ()):
        if pointer[-1] in ("activity", "uses"):
            yield Word("activity name", value, tree.place(pointer))
        elif pointer[-2:] == ("rollback", "to"):
            yield Word("step reference", value, tree.place(pointer))
        elif pointer[-1] == "id":
            yield Word("own name", value, tree.place(pointer))
        if pointer[-1] in _BARE or "${{" in value:
            yield from references(tree, pointer, value)


def leaves(value: Any, pointer: Pointer) -> Iterator[tuple[Pointer, str]]:
    """The texts in a document, but for those in its schemas, and where they stand."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in _SCHEMAS or (pointer and pointer[0] == "steps"):
                yield from leaves(item, (*pointer, key))


def references(tree: Tree, pointer: Pointer, text: str) -> Iterator[Word]:
    """The references to steps in the expressions of a text."""
    for path in paths_in(text, bare=pointer[-1] in _BARE):
        if path.root == "steps" and path.steps:
            yield Word(
                "step reference", str(path.steps[0].key), tree.place_in(pointer, text, path.steps[0].offset)
            )


def kind_of_key(pointer: Pointer) -> str:
    """Whether a key is a word of the language, an argument, or a name that its author made up."""
    around = [part for part in pointer[:-1] if isinstance(part, str)]
    if not around:
        return "key"
    if _SCHEMAS & set(around) and around[0] != "steps":
        return "own name" if around[-1] == "properties" else "key"
    if around[-1] == "with" or around[-2:] == ["continue_as_new", "input"]:
        return "argument"
    own = around[-1] in _OWN_NAMES or "with" in around or _OWN_VALUES & set(around)
    return "own name" if own else "key"


# --- misspelling them


def slips(word: Word, chance: random.Random, *, every: bool) -> Iterator[Slip]:
    """A word with two letters swapped, one dropped, one doubled: at one place each, or at every one."""
    text = word.text
    swaps = [at for at in range(len(text) - 1) if text[at] != text[at + 1] and text[at : at + 2].isalnum()]
    letters = [at for at, letter in enumerate(text) if letter.isalnum()]
    for way, places in (("swapped", swaps), ("dropped", letters), ("doubled", letters)):
        for at in places if every else chance.sample(places, min(1, len(places))):
            instead = {"swapped": text[at : at + 2][::-1], "dropped": "", "doubled": 2 * text[at]}[way]
            yield Slip(word, way, text[:at] + instead + text[at + 1 + (way == "swapped") :])


def edited(text: str, slip: Slip) -> str:
    """The document with the slip in it."""
    line, column = slip.word.place
    lines = text.split("\n")
    row = lines[line - 1]
    start = column - 1 + (row[column - 1] in "\"'")
    end = start + len(slip.word.text)
    assert row[start:end] == slip.word.text, (slip, row)
    lines[line - 1] = row[:start] + slip.written + row[end:]
    return "\n".join(lines)


def judged(text: str, slip: Slip, before: frozenset[Diagnostic], installed: Installed) -> Outcome:
    """What ``validate`` says of a slip."""
    said = tuple(one for one in installed.problems(edited(text, slip)) if one not in before)
    meant = re.compile(rf"(?<![\w-]){re.escape(slip.word.text)}(?![\w-])")
    explained = any(
        (one.line, one.column) == slip.word.place and meant.search(one.hint or "") for one in said
    )
    return Outcome(slip, bool(said), explained, said)


class Installed(NamedTuple):
    """An example, and the plugins it is validated with."""

    file: Path
    plugins: Plugins

    def problems(self, text: str) -> list[Diagnostic]:
        world = World(self.plugins.activities, complete=True, folder=self.file.parent)
        return problems(text, self.file.name, functions=self.plugins.vocabulary, world=world)


def examples() -> Iterator[Installed]:
    """All workflows among the examples, each with the plugins that it uses."""
    for file in sorted(EXAMPLES.rglob("*.yaml")):
        if re.search(r"^dsl:", file.read_text(encoding="utf-8"), re.MULTILINE):
            yield Installed(file, load([*_own_plugins(file.parent), *PACKAGES], entry_points=False))


def _own_plugins(example: Path) -> list[Path]:
    """Where an example has its plugins: in its folder, or in one of that, if it is a project."""
    if (example / "flowctl.toml").is_file():
        return [folder for folder in [example / "plugins"] if folder.is_dir()]
    return [example]


def outcomes(
    installed: Installed, *, every: bool = False, seed: int = 1, stride: int = 1
) -> Iterator[Outcome]:
    """What becomes of the slips in one example: of all, or of one in each ``stride``."""
    text = installed.file.read_text(encoding="utf-8")
    tree, _ = read_tree(text, installed.file.name)
    before = frozenset(installed.problems(text))
    chance = random.Random(f"{installed.file.name} {seed}")
    tried = [slip for word in words(tree) for slip in slips(word, chance, every=every)]
    for slip in tried[::stride]:
        yield judged(text, slip, before, installed)


# --- the figures


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "      -"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", action="store_true", help="misspell every letter, not one drawn by lot")
    parser.add_argument("--missed", action="store_true", help="list what was not detected, or not explained")
    parser.add_argument("--seed", type=int, default=1, help="of the lot")
    chosen = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    for installed in examples():
        for outcome in outcomes(installed, every=chosen.every, seed=chosen.seed):
            kinds = [outcome.slip.word.kind, *(["all of these"] if outcome.slip.word.kind in JUDGED else [])]
            for kind in kinds:
                counts[kind, "slips"] += 1
                counts[kind, "detected"] += outcome.detected
                counts[kind, "explained"] += outcome.explained
            if chosen.missed and not outcome.explained:
                show(installed.file, outcome)
    print(f"{'':16} {'slips':>6} {'detected':>9} {'of those with place and word':>29}")
    for kind in (*JUDGED, "all of these", "own name"):
        slips, detected = counts[kind, "slips"], counts[kind, "detected"]
        explained = share(counts[kind, "explained"], detected)
        print(f"{kind:16} {slips:6} {share(detected, slips):>9} {explained:>29}")


def show(file: Path, outcome: Outcome) -> None:
    word = outcome.slip.word
    line, column = word.place
    print(
        f"{file.name}:{line}:{column}: {word.kind} {word.text!r} {outcome.slip.way}: {outcome.slip.written!r}"
    )
    for one in outcome.said:
        print("   ", one.render().splitlines()[0])


if __name__ == "__main__":
    main()
