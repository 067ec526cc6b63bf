"""Test files, ``*.test.yaml``: read, checked against the documents that they test, and made into scenarios.

Every mistake is reported with its place, like those of documents: what the shape cannot tell is looked at
here. A file names one workflow; whatever a case says of steps, activities, signals and effects must be there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, NamedTuple

from flowctl import document
from flowctl.clock import parse_duration
from flowctl.document.cases import SUFFIXES, read_tests
from flowctl.document.closure import Found, closure
from flowctl.document.diagnostics import Enough, Report, shown
from flowctl.document.places import Pointer
from flowctl.document.spelling import did_you_mean
from flowctl.document.structure import mapping
from flowctl.document.texts import texts_in
from flowctl.errors import ExpressionError, InvalidInput, UsageError
from flowctl.expressions import Expression, condition, parse, template
from flowctl.model import ChildReference, ContinueStep, Policy, Workflow, WorkflowStep
from flowctl.outline import outline
from flowctl.path import Path
from flowctl.plugins import Plugins
from flowctl.testing import names
from flowctl.testing.effects import Effect, Ledger
from flowctl.testing.events import Event
from flowctl.testing.failures import Fault
from flowctl.testing.mocks import Mock
from flowctl.testing.running import Scenario, Subject

_NUMBER = r"(?:[2-9]|[1-9][0-9]+)"
_ATTEMPT = re.compile(rf"#{_NUMBER}\Z")
_SUCCESSOR = re.compile(rf"~{_NUMBER}\Z")
_CHILD = re.compile(rf"(?P<path>[^#~]+)(?:#{_NUMBER})?(?P<successor>~{_NUMBER})?(?P<undo>~undo)?\Z")
"""A run of a child: of its first attempt or another, a successor of that, or what undoes it."""

_RUNS = "CHILD#2 is a second attempt, CHILD~2 a successor, CHILD~undo what undoes it, if it can have any"

Load = Callable[[Sequence[FilePath]], Plugins]
"""Plugins with those of more folders."""


Texts = Mapping[FilePath, str]
"""Documents by the paths of their files."""


class Surroundings(NamedTuple):
    """Where tests are run: how plugins are found, and the defaults of the installation."""

    plugins: Load
    settings: Policy


@dataclasses.dataclass(frozen=True, slots=True)
class CaseFile:
    """A test file that was read. ``pointer_line`` finds the line of a pointer into it."""

    path: FilePath
    subject: Subject
    scenarios: Sequence[Scenario]
    histories: Sequence[str]
    line: Callable[[Pointer], int]


def load_file(path: FilePath, surroundings: Surroundings, *, texts: Texts = MappingProxyType({})) -> CaseFile:
    """Read a test file. ``texts`` are other texts for documents, by their real paths.

    ``InvalidDocument`` with all mistakes, of the file or of its document; ``UsageError``.
    """
    return load_text(document.read(path), path, surroundings, texts=texts)


def load_text(
    source: str, path: FilePath, surroundings: Surroundings, *, texts: Texts = MappingProxyType({})
) -> CaseFile:
    """The same for the text of a file that would stand there."""
    data, report = read_tests(source, str(path))
    report.raise_errors()
    subject = _subject(path.parent, data, report, surroundings, texts)
    reader = _Reader(data, report, subject)
    with contextlib.suppress(Enough):
        reader.check()
    report.raise_errors()
    return CaseFile(path, subject, reader.scenarios(), data.get("histories", ()), report.line)


# --- what is tested


def _subject(
    folder: FilePath, data: Mapping[str, Any], report: Report, surroundings: Surroundings, texts: Texts
) -> Subject:
    """The documents and the plugins. ``InvalidDocument``."""
    folders = data.get("plugins_dir", [])
    plugins = surroundings.plugins(
        [folder / each for each in ([folders] if isinstance(folders, str) else folders)]
    )

    def read(reference: str, beside: FilePath, pointer: Pointer) -> Found[FilePath]:
        place = beside / reference
        try:
            source = texts.get(place.resolve()) or document.read(place)
        except UsageError as error:
            report.error("UnknownWorkflow", pointer, error.message, hint=_beside(place))
            report.raise_errors()
            raise
        loaded = document.load(source, str(place), functions=plugins.vocabulary)
        return Found(loaded.workflow, place.parent)

    def resolve(reference: ChildReference, parent: Found[FilePath]) -> Found[FilePath]:
        if reference.text in mapping(data.get("children")):
            return read(data["children"][reference.text], folder, ("children", reference.text))
        if reference.text.endswith((".yaml", ".yml", ".json")):
            return read(reference.text, parent.origin, ("workflow",))
        message = f"nothing says which document the child {shown(reference.text)} is"
        hint = f"write 'children: {{{reference.text}: ./FILE.yaml}}'"
        report.error("UnknownWorkflow", ("workflow",), message, hint=hint)
        report.raise_errors()
        raise AssertionError

    root = read(data["workflow"], folder, ("workflow",))
    return Subject.of(root.workflow, closure(root, resolve), plugins, surroundings.settings)


def _beside(place: FilePath) -> str | None:
    with contextlib.suppress(OSError):
        files = [
            each.name
            for each in place.parent.iterdir()
            if each.suffix in (".yaml", ".yml") and not each.name.endswith(SUFFIXES)
        ]
        return did_you_mean(place.name, files, "there are")
    return None


# --- what is said about it


class _Reader:
    """The data of a file whose shape is right."""

    def __init__(self, data: Mapping[str, Any], report: Report, subject: Subject) -> None:
        self.data = data
        self.report = report
        self.subject = subject
        self.functions = subject.functions
        self.effects: list[Effect] = []
        self.known_effects: list[str] = []

    # --- to scenarios, once nothing is wrong

    def scenarios(self) -> list[Scenario]:
        return [self._scenario(index, case) for index, case in enumerate(self.data["cases"])]

    def _scenario(self, index: int, case: Mapping[str, Any]) -> Scenario:
        both = {**mapping(self.data.get("mocks")), **case.get("mocks", {})}
        expect = {key: value for key, value in case.get("expect", {}).items() if key != "that"}
        return Scenario(
            name=case["case"],
            subject=self.subject,
            input={**self.data.get("input", {}), **case.get("input", {})},
            mocks={name: Mock.parse(mock, self.functions) for name, mock in both.items()},
            real=case.get("unmocked", self.data.get("unmocked")) == "real",
            secrets={**self.data.get("secrets", {}), **case.get("secrets", {})},
            events=sorted(map(Event.parse, case.get("events", ())), key=lambda event: event.at),
            faults=[Fault.parse(fault) for fault in case.get("failures", ())],
            until=parse_duration(case["until"]) if "until" in case else None,
            expect=expect,
            that=self._sentences(case.get("expect", {}).get("that", {})),
            effects=self.effects,
            invariants=self._sentences({**self.data.get("invariants", {}), **case.get("invariants", {})}),
            every_failure=case.get("every_failure", self.data.get("every_failure", False)),
            written=case,
            line=self.report.line(("cases", index)),
        )

    def _sentences(self, written: Mapping[str, Any]) -> dict[str, Expression]:
        return {
            sentence: condition(
                str(text).lower() if isinstance(text, bool) else text, functions=self.functions
            )
            for sentence, text in written.items()
        }

    # --- what can be wrong

    def check(self) -> None:
        self._check_effects()
        self._check_mocks(mapping(self.data.get("mocks")), ("mocks",))
        self._check_sentences(self.data.get("invariants", {}), ("invariants",))
        self._check_secrets(self.data, ())
        seen: dict[str, int] = {}
        for index, case in enumerate(self.data["cases"]):
            pointer = ("cases", index)
            if case["case"] in seen:
                hint = f"first on line {seen[case['case']]}"
                message = f"another case is called {shown(case['case'])}"
                self.report.error("DuplicateId", (*pointer, "case"), message, hint=hint)
            seen.setdefault(case["case"], self.report.line(pointer))
            self._check_case(case, pointer)

    def _check_case(self, case: Mapping[str, Any], pointer: Pointer) -> None:
        self._check_mocks(case.get("mocks", {}), (*pointer, "mocks"))
        self._check_sentences(case.get("invariants", {}), (*pointer, "invariants"))
        self._check_secrets(case, pointer)
        try:
            self.subject.workflow.prepare_input({**self.data.get("input", {}), **case.get("input", {})})
        except InvalidInput as error:
            here = (*pointer, "input") if "input" in case else pointer
            message = f"{self.subject.workflow.name} does not take the input: {error.message}"
            self.report.error("BadValue", here, message, hint=error.hint)
        for index, event in enumerate(case.get("events", ())):
            if "signal" in event:
                self._check_signal(event, (*pointer, "events", index))
        for index, fault in enumerate(case.get("failures", ())):
            self._check_step(fault["step"], (*pointer, "failures", index, "step"))
        self._check_expect(case.get("expect", {}), (*pointer, "expect"))

    def _check_expect(self, expect: Mapping[str, Any], pointer: Pointer) -> None:
        for word in ("steps", "outputs", "attempts", "args", "args_include"):
            for path in expect.get(word, {}):
                self._check_step(path, (*pointer, word, path), key=True)
        for word in ("order", "compensations", "waiting_for", "calls"):
            for index, path in enumerate(expect.get(word, ())):
                self._check_step(_ATTEMPT.sub("", path), (*pointer, word, index))
        for effect in expect.get("left", {}):
            if effect not in self.known_effects:
                self._unknown_effect(effect, (*pointer, "left", effect))
        self._check_sentences(expect.get("that", {}), (*pointer, "that"))

    def _check_signal(self, event: Mapping[str, Any], pointer: Pointer) -> None:
        signals = self.subject.workflow.signals
        signal = signals.get(event["signal"])
        if signal is None:
            message = f"{self.subject.workflow.name} declares no signal {shown(event['signal'])}"
            hint = did_you_mean(event["signal"], signals, "it declares")
            self.report.error("UndeclaredSignal", (*pointer, "signal"), message, hint=hint)
        elif problem := signal.check(event.get("payload")):
            message = f"the payload does not fit the signal {signal.name}: {problem}"
            self.report.error("BadValue", (*pointer, "payload"), message)

    def _check_secrets(self, data: Mapping[str, Any], pointer: Pointer) -> None:
        declared = frozenset().union(*(each.secrets for each in self.subject.documents.values()))
        for name in data.get("secrets", {}):
            if name not in declared:
                hint = did_you_mean(name, declared, "declared are")
                message = f"no document declares the secret {shown(name)}"
                self.report.error(
                    "UndeclaredSecret", (*pointer, "secrets", name), message, hint=hint, key=True
                )

    # --- steps

    def _check_step(self, written: str, pointer: Pointer, *, key: bool = False) -> None:
        """A path as in ``failures.label``: through runs, to a step or its compensation."""
        *through, path = written.split("/")
        workflow = self.subject.workflow
        if through and _SUCCESSOR.match(through[0]) and _continues(workflow):
            del through[0]
        for run in through:
            child = self._child(workflow, run)
            if child is None:
                message = f"{workflow.name} has no child at {shown(run)}"
                hint = _RUNS if "#" in run or "~" in run else None
                self.report.error("UnknownStep", pointer, message, hint=hint, key=key)
                return
            workflow = child
        places = _places(workflow)
        if Path(path).place not in places:
            hint = did_you_mean(Path(path).place, places, "there are")
            self.report.error(
                "UnknownStep", pointer, f"{workflow.name} has no step {shown(path)}", hint=hint, key=key
            )

    def _child(self, workflow: Workflow, run: str) -> Workflow | None:
        """The document of a child of ``workflow``, if it can have a run that is called so."""
        named = _CHILD.match(run)
        found = _children(workflow).get(Path(named["path"]).place) if named is not None else None
        if named is None or found is None:
            return None
        reference, can_be_undone = found
        child = self.subject.documents[self.subject.pins[workflow.digest][reference.text]]
        if (named["undo"] and not can_be_undone) or (named["successor"] and not _continues(child)):
            return None
        return child

    # --- activities

    def _check_activity(self, name: str, pointer: Pointer, *, key: bool = False) -> None:
        known = self.subject.activities
        if name not in known:
            hint = did_you_mean(name, known, "it calls")
            message = f"{self.subject.workflow.name} does not call the activity {shown(name)}"
            self.report.error("UnknownActivity", pointer, message, hint=hint, key=key)

    def _check_mocks(self, mocks: Mapping[str, Any], pointer: Pointer) -> None:
        for name, mock in mocks.items():
            here = (*pointer, name)
            self._check_activity(name, here, key=True)
            for answer, at in _answers(mock, here):
                self._check_answer(name, answer, at)
            for path in mapping(mock).get("at", {}):
                self._check_step(path, (*here, "at", path), key=True)

    def _check_answer(self, name: str, answer: Mapping[str, Any], pointer: Pointer) -> None:
        for at, text in texts_in(answer.get("return"), (*pointer, "return")):
            try:
                made = template(text, functions=self.functions)
            except ExpressionError as error:
                self._broken(error, at, text)
            else:
                self._check_names(made.references, names.ACT, at)
        activity = self.subject.plugins.activities.get(name)
        if activity is None or activity.binding.rest is not None:
            return
        taken = [parameter.name for parameter in activity.binding.parameters]
        for argument in answer.get("args", {}):
            if argument not in taken:
                hint = did_you_mean(argument, taken, "it takes")
                message = f"{name} takes no argument {shown(argument)}"
                self.report.error(
                    "UnknownArgument", (*pointer, "args", argument), message, hint=hint, key=True
                )

    # --- effects

    def _check_effects(self) -> None:
        for name, written in self.data.get("effects", {}).items():
            pointer = ("effects", name)
            for word in ("done_by", "undone_by"):
                named = written.get(word, [])
                for index, activity in enumerate([named] if isinstance(named, str) else named):
                    at = (*pointer, word) if isinstance(named, str) else (*pointer, word, index)
                    self._check_activity(activity, at)
            if "undone_by" in written and ("done_as" in written) != ("undone_as" in written):
                message = f"the effect {shown(name)} is known by one thing when done, and another when undone"
                hint = (
                    "write both 'done_as' and 'undone_as', or neither: then the step is what it is known by"
                )
                self.report.error("Contradiction", pointer, message, hint=hint, key=True)
            for word in ("done_as", "undone_as", "if"):
                if word in written:
                    self._check_expression(written[word], (*pointer, word), names.EFFECT)
            with contextlib.suppress(ExpressionError):
                self.effects.append(Effect.parse(name, written, self.functions))
        self.known_effects = Ledger(self.effects, self.subject.documents.values()).names

    def _unknown_effect(self, name: str, pointer: Pointer) -> None:
        hint = did_you_mean(name, self.known_effects, "there are")
        self.report.error("UnknownName", pointer, f"there is no effect {shown(name)}", hint=hint, key=True)

    # --- expressions

    def _check_sentences(self, written: Mapping[str, Any], pointer: Pointer) -> None:
        for sentence, text in written.items():
            self._check_expression(text, (*pointer, sentence), names.RUN)

    def _check_expression(self, text: Any, pointer: Pointer, known: Sequence[str]) -> None:
        if isinstance(text, bool):
            return
        try:
            made = (
                condition(text, functions=self.functions)
                if known is names.RUN
                else parse(text, self.functions)
            )
        except ExpressionError as error:
            self._broken(error, pointer, text)
        else:
            self._check_names(made.references, known, pointer)

    def _broken(self, error: ExpressionError, pointer: Pointer, text: str) -> None:
        source, offset = (error.source, error.offset or 0) if error.source else (text, 0)
        self.report.error_in_text("BadExpression", pointer, error.message, source, offset, hint=error.hint)

    def _check_names(
        self, references: Iterable[tuple[str, ...]], known: Sequence[str], pointer: Pointer
    ) -> None:
        for root, *keys in sorted(references):
            if root not in known:
                hint = did_you_mean(root, known, "there are")
                self.report.error("UnknownName", pointer, f"there is no {shown(root)} here", hint=hint)
            elif root in ("left", "done", "undone", "effects") and keys and keys[0] not in self.known_effects:
                self._unknown_effect(keys[0], pointer)


def _answers(mock: Any, pointer: Pointer) -> Iterator[tuple[Mapping[str, Any], Pointer]]:
    """All answers of a mock, and where they stand."""
    if isinstance(mock, list):
        yield from ((answer, (*pointer, index)) for index, answer in enumerate(mock))
        return
    yield mock, pointer
    inside: Iterable[tuple[Any, Pointer]] = itertools.chain(
        ((each, (*pointer, "at", path)) for path, each in mock.get("at", {}).items()),
        ((each, (*pointer, "calls", index)) for index, each in enumerate(mock.get("calls", ()))),
    )
    for each, at in inside:
        yield from _answers(each, at)


def _places(workflow: Workflow) -> frozenset[str]:
    """The places of all steps and of what undoes them."""
    places = outline(workflow)
    undone = {
        f"{place}.undo"
        for place, here in places.items()
        if here.step is not None and _can_be_undone(here.step)
    }
    return frozenset(places) | undone


def _can_be_undone(step: Any) -> bool:
    return step.compensation is not None or isinstance(step, WorkflowStep)


def _children(workflow: Workflow) -> dict[str, tuple[ChildReference, bool]]:
    """The children that steps run or are undone by, by place, and whether what they do can be undone."""
    found: dict[str, tuple[ChildReference, bool]] = {}
    for place, here in outline(workflow).items():
        undo = here.step.compensation if here.step is not None else None
        if isinstance(here.step, WorkflowStep):
            found[place] = here.step.child, undo is not None and undo.rollback
        if undo is not None and undo.child is not None:
            found[f"{place}.undo"] = undo.child, False
    return found


def _continues(workflow: Workflow) -> bool:
    return any(isinstance(here.step, ContinueStep) for here in outline(workflow).values())
