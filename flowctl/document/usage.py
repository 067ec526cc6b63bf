"""What is declared and never used, and what it was probably meant to be.

A misspelt declaration is noticed at every place that uses the right word. So what nobody uses is compared
with what was asked for in vain: then the mistake is also named where it was made.
"""

from __future__ import annotations

from collections.abc import Collection

from flowctl.document.diagnostics import shown
from flowctl.document.names import NameBook
from flowctl.document.places import Pointer
from flowctl.document.spelling import closest
from flowctl.document.structure import mapping
from flowctl.document.subject import Subject


def check_usage(subject: Subject, book: NameBook) -> None:
    """Report signals, entries, secrets and variables that nobody uses; and steps and input properties
    that somebody asks for in another spelling.
    """
    _Usage(subject, book).document()


class _Usage:
    def __init__(self, subject: Subject, book: NameBook) -> None:
        self.subject = subject
        self.book = book

    def document(self) -> None:
        subject = self.subject
        undeclared = subject.awaited - subject.signals.keys()
        for name in subject.signals.keys() - subject.awaited:
            self.unused(("signals", name), f"no step waits for the signal {shown(name)}", name, undeclared)
        for name in subject.entries.keys() - subject.used:
            message = f"no step uses the activity entry {shown(name)}"
            self.unused(("activities", name), message, name, subject.unknown)
        self.secrets()
        self.variables()
        self.properties()
        self.ids()

    def secrets(self) -> None:
        asked = self.asked("secrets")
        written = self.subject.data.get("secrets")
        for index, name in enumerate(written if isinstance(written, list) else ()):
            if isinstance(name, str) and name not in asked:
                message = f"the secret {shown(name)} is never used"
                self.unused(("secrets", index), message, name, asked, key=False)

    def variables(self) -> None:
        """A ``set`` has an output too, so one whose id is asked for is used."""
        asked = self.asked("vars")
        if ("vars",) in self.book.asked:
            return
        for name, pointer, step in self.book.assigned:
            if name not in asked and (step is None or step not in self.asked("steps")):
                self.unused(pointer, f"nobody reads the variable {shown(name)}", name, asked)

    def properties(self) -> None:
        """An input may have what no expression reads; but not under two spellings."""
        properties = mapping(mapping(self.subject.data.get("input")).get("properties"))
        lost = self.lost("input")
        for name in properties.keys() - self.asked("input") if lost else ():
            self.misspelt(("input", "properties", name), "property", name, lost, key=True)

    def ids(self) -> None:
        """A step need not be asked for; but not under another spelling."""
        lost, asked = self.lost("steps"), self.asked("steps")
        for name, pointer in self.book.named if lost else ():
            if name not in asked:
                self.misspelt(pointer, "step", name, lost)

    def lost(self, root: str) -> list[str]:
        """The names under a root that are not there, and are asked for again and again: then it is not they
        that are misspelt.
        """
        return [name for (under, name), times in self.book.lost.items() if under == root and times > 1]

    def asked(self, root: str) -> set[str]:
        """The names under a root that expressions ask for."""
        return {reference[1] for reference in self.book.asked if reference[0] == root and len(reference) > 1}

    def misspelt(
        self, pointer: Pointer, what: str, name: str, wanted: Collection[str], *, key: bool = False
    ) -> None:
        close = closest(name, wanted)
        if close:
            message = f"nobody asks for the {what} {shown(name)}, but for {shown(close[0])}"
            hint = f"did you mean {close[0]!r}?"
            self.subject.report.warning("Unused", pointer, message, hint=hint, key=key)

    def unused(
        self, pointer: Pointer, message: str, name: str, wanted: Collection[str], *, key: bool = True
    ) -> None:
        close = closest(name, wanted)
        hint = f"did you mean {close[0]!r}?" if close else None
        self.subject.report.warning("Unused", pointer, message, hint=hint, key=key)
