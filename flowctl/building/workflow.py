"""The document around the steps."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from msgspec import UNSET

from flowctl import values
from flowctl.building.data import Said
from flowctl.building.sites import Site
from flowctl.building.steps import Steps, Written
from flowctl.building.vocabulary import DocumentWords, EntryWords, Policy
from flowctl.document import NOWHERE, Loaded, World, digest_of
from flowctl.document.build import assemble
from flowctl.errors import InvalidDocument, UsageError
from flowctl.expressions import FUNCTIONS, Function

if TYPE_CHECKING:
    from flowctl.document.diagnostics import Diagnostic
    from flowctl.document.examination import Examined
    from flowctl.document.places import Pointer

ORDER = (
    "dsl", "name", "version", "description", "deprecated", "timeout", "on_failure", "input", "signals",
    "secrets", "defaults", "activities", "steps", "output", "output_schema",
)  # fmt: skip
"""The parts of a document, as people write them."""


class Workflow(Steps):
    """A document being written: ``Workflow("order").step("charge", "payments.charge", {…})….to_yaml()``.

    Methods put something in and return the workflow. ``to_yaml``, ``to_dict`` and ``load``, and whoever runs
    it, check it first: ``InvalidDocument`` lists all mistakes, each with its place in the program.
    """

    def __init__(self, name: str, **words: Unpack[DocumentWords]) -> None:
        super().__init__()
        self.name = name
        self.folder = Path()
        """What references to files are relative to."""
        self._head: dict[str, Any] = {"dsl": 1, "name": name, **words}
        self._site = Site.of(sys._getframe(1))
        self._said: dict[Pointer, Site] = {}
        self._last: tuple[Any, Any, Examined, list[Diagnostic]] | None = None

    # --- what stands around the steps

    def input(self, schema: Mapping[str, Any]) -> Self:
        """The JSON Schema (2020-12) of the input, which is an object."""
        return self._put(("input",), schema)

    def signal(
        self,
        name: str,
        payload: Mapping[str, Any] | bool = UNSET,  # type: ignore[assignment]  # absent is not null
        description: str = UNSET,  # type: ignore[assignment]  # as above
    ) -> Self:
        """Declare a signal, with the JSON Schema of its payload."""
        return self._put(("signals", name), {"description": description, "payload": payload})

    def secrets(self, *names: str) -> Self:
        """The secrets that the document may refer to."""
        return self._put(("secrets",), [*self._head.get("secrets", ()), *names])

    def defaults(self, **policy: Unpack[Policy]) -> Self:
        """The policy of activities that have none of their own."""
        return self._put(("defaults",), policy)

    def entry(self, name: str, uses: Any, **words: Unpack[EntryWords]) -> Self:
        """An activity entry: a local name for a registered activity, with its policy."""
        return self._put(("activities", name), {"uses": uses, **words})

    def output(
        self,
        value: Any,
        schema: Mapping[str, Any] | bool = UNSET,  # type: ignore[assignment]  # as above
    ) -> Self:
        """The output of a run, and its JSON Schema."""
        self._put(("output",), value)
        return self._put(("output_schema",), schema)

    def _put(self, pointer: tuple[str, ...], value: Any) -> Self:
        here = self._head
        for key in pointer[:-1]:
            here = here.setdefault(key, {})
        here[pointer[-1]] = value
        self._said[pointer] = Site.of(sys._getframe(2))  # who has called the method that calls this
        return self

    # --- the document

    def to_dict(self, *, check: bool = True) -> dict[str, Any]:
        """The document as data. ``InvalidDocument``, unless whoever gets it is to ``check`` it: functions of
        plugins are not known here.
        """
        data: dict[str, Any] = copy.deepcopy(self._made(check).data)
        return data

    def to_yaml(self, *, check: bool = True) -> str:
        """The document as text; ``check`` as above."""
        return self._made(check).text

    def _made(self, check: bool) -> Examined:
        return (self._right if check else self._examined)(FUNCTIONS, NOWHERE)[0]

    def problems(
        self, *, functions: Mapping[str, Function] = FUNCTIONS, world: World = NOWHERE
    ) -> list[Diagnostic]:
        """All mistakes and warnings, with their places in the program."""
        try:
            return self._examined(functions, world)[1]
        except InvalidDocument as error:
            return list(error.diagnostics)

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self._head.get('version', 1)}"

    def children(self) -> dict[str, Workflow]:
        """The workflows that it was given as children, and theirs, by reference. ``UsageError`` if one
        reference would mean two.
        """
        found: dict[str, Workflow] = {}
        left: list[Workflow] = [self]
        while left:
            for child in left.pop()._say()[0].children:
                assert isinstance(child, Workflow)
                if child.reference not in found:
                    found[child.reference] = child
                    left.append(child)
                elif child is not found[child.reference] and child.digest != found[child.reference].digest:
                    raise UsageError(
                        f"there are two workflows {child.reference}", hint="give one of them another version"
                    )
        return found

    @property
    def digest(self) -> str:
        """What a run pins: the same for the same document, however it was written. ``InvalidDocument``."""
        return digest_of(self.to_dict())

    def load(self, *, functions: Mapping[str, Function] = FUNCTIONS, world: World = NOWHERE) -> Loaded:
        """The document as it is executed. ``functions`` and ``world`` are those of ``document.load``.
        ``InvalidDocument``.
        """
        examined, warnings = self._right(functions, world)
        workflow = assemble(examined.data, digest_of(examined.data), examined.texts)
        return Loaded(workflow, warnings, examined.text)

    def _right(self, functions: Mapping[str, Function], world: World) -> tuple[Examined, list[Diagnostic]]:
        """The document and its warnings; ``InvalidDocument`` if there is a mistake."""
        examined, found = self._examined(functions, world)
        errors = [each for each in found if each.severity == "error"]
        if errors:
            from flowctl.document.diagnostics import invalid

            raise invalid(f"the workflow {self.name}", errors)
        return examined, found

    def _examined(self, functions: Mapping[str, Function], world: World) -> tuple[Examined, list[Diagnostic]]:
        """The document as it stands, and all that is to be said about it. A program may start the same one
        again and again: what was found last is kept.
        """
        said, data = self._say()
        surroundings = (functions, *world)
        key = (
            values.encode(data),
            tuple(said.mistakes.items()),
            *map(id, surroundings[:2]),
            *surroundings[2:],
        )
        if self._last is None or self._last[0] != key:
            self._last = key, surroundings, *self._check(said, data, functions, world)
        return self._last[2:]

    def _say(self) -> tuple[Said, Any]:
        said = Said()
        said.sites[()] = self._site
        said.sites.update(self._said)
        steps = Steps()
        steps._steps = self._steps
        parts = {**self._head, "steps": steps}
        return said, said.data({key: parts[key] for key in sorted(parts, key=_rank)})

    def _check(
        self, said: Said, data: Any, functions: Mapping[str, Function], world: World
    ) -> tuple[Examined, list[Diagnostic]]:
        from flowctl.document.examination import examine_tree
        from flowctl.document.source import text_of
        from flowctl.document.writing import to_yaml

        name = f"the workflow {self.name}"
        tree, mistakes, sources = said.tree(data, name)
        examined = examine_tree(text_of(to_yaml(data), name), tree, mistakes, functions, world)
        return examined, [sources.real(each) for each in examined.report.everything]

    # --- from a document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """A workflow that says what a document says. It is checked like any other, when it is used."""
        made = cls(document.get("name", ""))
        site = Site.of(sys._getframe(1))
        made._head = {key: copy.deepcopy(part) for key, part in document.items() if key != "steps"}
        made._site = site
        made._steps = [Written(step, site) for step in copy.deepcopy(document.get("steps", []))]
        return made

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """The same of a text. ``InvalidDocument`` for its mistakes, with their places in it."""
        from flowctl import document

        return cls.from_dict(document.load(text, "the text").workflow.body)

    @classmethod
    def from_file(cls, file: str | os.PathLike[str]) -> Self:
        """The same of a file, whose folder references to others stay relative to. ``UsageError``."""
        from flowctl import document

        path = Path(file)
        made = cls.from_dict(document.load(document.read(path), str(path)).workflow.body)
        made.folder = path.parent
        return made


def _rank(key: str) -> tuple[int, str]:
    """Words that are no part of a document come last; the check names them."""
    return (ORDER.index(key), "") if key in ORDER else (len(ORDER), key)
