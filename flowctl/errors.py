"""Every error of flowctl, drawn once, so that anyone can catch at the right height.

The type says whose fault it is, and so who can mend it::

    FlowctlError                      code, message, hint, details, exit_code
    ├── AuthorError                   the document is wrong                            exit 2
    │   ├── InvalidDocument           every mistake in it, with places
    │   └── ExpressionError           an expression does not parse, or not evaluate
    ├── InputError                    what a caller handed in is wrong                 exit 2
    │   ├── UsageError                options that make no sense
    │   ├── InvalidInput              does not fit its schema or signature
    │   ├── InvalidOutput             a result that is not JSON or does not fit its schema
    │   ├── PayloadTooLarge           over the one limit of the language
    │   ├── UnknownSignal             the document declares no such signal
    │   ├── UnknownActivity           no plugin registers it
    │   └── AmbiguousRun              a prefix of several run ids
    ├── WorldError                    right, but the world is not so
    │   ├── NotFound                  no such run, workflow name or version            exit 4
    │   │   └── RunNotFound
    │   ├── Conflict                  taken, closed, does not fit                      exit 5
    │   │   ├── RunIdConflict
    │   │   ├── RunClosed
    │   │   ├── RunOpen
    │   │   ├── VersionTaken
    │   │   ├── DoesNotFit            a document, what a run has done
    │   │   └── NotServed             what a replay would need was undone
    │   ├── RunBusy                   another live process has the run                 exit 3
    │   ├── Damaged                   what is stored is not what was written           exit 1
    │   ├── StorageError              the outcome is unknown: stop, reopen, re-read    exit 74
    │   └── Unreachable               whoever executes the runs; nothing was done      exit 74
    ├── RunError                      a program asked for the output of a run that   exit 1
    │   │                             has none: ``id status error saga document``
    │   ├── RunFailed
    │   ├── RunCompensated
    │   ├── RunCompensationFailed     something is left, or in doubt                   exit 6
    │   ├── RunCancelled
    │   ├── RunTerminated
    │   └── RunUnfinished             it is live, and goes on only if somebody acts    exit 3
    └── InternalError                 a mistake of flowctl's own                       exit 70

    Control (BaseException)           the engine's own control flow: no ``except Exception``, and so
    ├── Cancelled                     no ``try`` step, ever catches it
    └── Blocked

``Failure`` is not an exception but the *value* that an error becomes once it is part of a run:
what journals, ``status`` and expressions show. ``StepFailed`` carries one through the interpreter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

MESSAGE_LIMIT = 4_096
"""Characters kept of an error's message: an exception can carry megabytes."""


class FlowctlError(Exception):
    """Base of everything flowctl raises on purpose.

    ``message`` says what is wrong in one sentence, ``hint`` what to do about it, ``details`` is JSON for
    programs.
    """

    code: ClassVar[str] = "Error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = cls.__name__

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class AuthorError(FlowctlError):
    """The document is wrong; its author can mend it."""

    exit_code = 2


class InvalidDocument(AuthorError):
    """A document with mistakes. ``diagnostics`` lists all of them (``document.diagnostics.Diagnostic``)."""

    def __init__(self, message: str, diagnostics: list[Any], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = diagnostics
        if diagnostics:
            self.add_note("\n".join(each.render() for each in diagnostics))  # what a traceback shows


class ExpressionError(AuthorError):
    """An expression that does not parse, or whose evaluation failed.

    ``source`` is its text, ``offset`` the index in it where the mistake starts, or None.
    """

    def __init__(
        self, message: str, *, source: str | None = None, offset: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, details={"expression": source} if source is not None else None)
        self.source = source
        self.offset = offset


class InputError(FlowctlError):
    """What a caller handed in is wrong; the caller can mend it."""

    exit_code = 2


class UsageError(InputError):
    """Options that make no sense together, or a file that is not there."""


class InvalidInput(InputError):
    """Data that does not fit its schema or an activity's signature."""


class InvalidOutput(InputError):
    """A result that is not JSON, or does not fit the schema declared for it."""


class PayloadTooLarge(InputError):
    """Data over the language's one limit (``values.MAX_BYTES``); names the largest key."""


class UnknownSignal(InputError):
    """The run's document declares no signal of that name."""


class UnknownActivity(InputError):
    """No plugin registers an activity of that name."""


class AmbiguousRun(InputError):
    """A prefix that several run ids share."""


class WorldError(FlowctlError):
    """The request makes sense, but the world is not so."""


class NotFound(WorldError):
    """No such run, workflow name or version."""

    exit_code = 4


class RunNotFound(NotFound):
    """No run has this id, workflow id or prefix."""


class Conflict(WorldError):
    """Something that exists already says otherwise."""

    exit_code = 5


class RunIdConflict(Conflict):
    """The id belongs to a run of another document or input."""


class RunClosed(Conflict):
    """The run has ended; only ``retry`` and ``replay`` go on from there."""


class RunOpen(Conflict):
    """The run goes on, and nothing of it has failed: there is nothing to retry."""


class VersionTaken(Conflict):
    """That version of that workflow is deployed with other content."""


class DoesNotFit(Conflict):
    """A run has done what the document would not have done; ``details`` has the ``path`` and the
    ``reason``.
    """


class NotServed(Conflict):
    """A replay would need results that were undone; ``details`` has the ``earliest`` step to begin at."""


class RunBusy(WorldError):
    """Another live process drives the run."""

    exit_code = 3


class Damaged(WorldError):
    """What is stored is not what was written."""

    exit_code = 1


class StorageError(WorldError):
    """The storage failed, and whether the last write is there is **unknown**.

    Never retry in place and never report it as undone: a commit that failed with an I/O error can
    come back to life when the database is opened again. Stop, reopen, re-read.
    """

    exit_code = 74


class RunError(FlowctlError):
    """A run has no output to give. ``document`` is what ``flowctl status --json`` shows of it."""

    def __init__(self, message: str, document: Mapping[str, Any], *, hint: str | None = None) -> None:
        named = {key: document[key] for key in ("id", "status", "error", "saga")}
        super().__init__(message, hint=hint, details=named)
        self.document = document

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.document["id"])

    @property
    def status(self) -> str:
        """How it ended, or stands."""
        return str(self.document["status"])

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Why: ``{type, types, message, details, step, attempt, cause}``, None if the run has no error."""
        found: Mapping[str, Any] | None = self.document["error"]
        return found

    @property
    def saga(self) -> Mapping[str, Any]:
        """What became of what it did: ``{undone, failed, in_doubt, not_undone, skipped}``, lists of paths."""
        found: Mapping[str, Any] = self.document["saga"]
        return found


class RunFailed(RunError):
    """The run failed, and there was nothing to undo."""


class RunCompensated(RunError):
    """The run failed, was cancelled or timed out, and what it had done is undone."""


class RunCompensationFailed(RunError):
    """The same, but something that it had done is left, or in doubt: ``saga`` says what."""

    exit_code = 6


class RunCancelled(RunError):
    """The run was cancelled, and there was nothing to undo."""


class RunTerminated(RunError):
    """The run was terminated: nothing was undone."""


class RunUnfinished(RunError):
    """The run is live, and waits for what does not come by itself, or not in time. Nothing is lost."""

    exit_code = 3


class Unreachable(WorldError):
    """Whoever executes the runs cannot be reached from here, or does not let us in. Nothing was done."""

    code = "Unreachable"
    exit_code = 74


class InternalError(FlowctlError):
    """A mistake of flowctl's own."""

    exit_code = 70


class Control(BaseException):
    """The engine's own control flow. A ``BaseException``, so that nothing an author or a plugin writes
    catches it.
    """


class Cancelled(Control):
    """The scope that a task waits in was cancelled: by an operator, a deadline, a sibling's failure or a
    lost race.
    """

    def __init__(self, scope: object) -> None:
        super().__init__("cancelled")
        self.scope = scope


class Blocked(Control):
    """This installation cannot go on with the run; it is parked with ``reason`` and nothing is lost.

    ``code`` is ``UnknownActivity``, ``MissingSecret``, ``NonDeterministic``, ``UnsupportedPatch``,
    ``RunNotFound`` (the run that this one repeats) or ``InternalError``; ``path`` the step's.
    """

    def __init__(self, code: str, reason: str, path: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.path = path


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An error as part of a run: a value that journals keep and that ``status`` and expressions show.

    ``types`` are the class names from the exception's class up to, excluding, ``Exception``: ``catch``,
    ``retryable`` and ``non_retryable`` match on them. ``step`` is the path of the step that failed, None for
    the run itself; ``attempt`` is the attempt that failed, None where there are none.
    """

    type: str
    message: str
    types: tuple[str, ...] = ()
    details: Any = None
    step: str | None = None
    attempt: int | None = None
    cause: Failure | None = None

    def __post_init__(self) -> None:
        if not self.types:
            object.__setattr__(self, "types", (self.type,))

    def to_json(self) -> dict[str, Any]:
        """The shape of language.md, section 4: every key, always."""
        return {
            "type": self.type,
            "types": list(self.types),
            "message": self.message,
            "details": self.details,
            "step": None if self.step is None else str(self.step),  # a Path is more than JSON takes
            "attempt": self.attempt,
            "cause": self.cause.to_json() if self.cause else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """The inverse of ``to_json``."""
        cause = data.get("cause")
        return cls(
            type=data["type"],
            message=data["message"],
            types=tuple(data["types"]),
            details=data.get("details"),
            step=data.get("step"),
            attempt=data.get("attempt"),
            cause=cls.from_json(cause) if cause else None,
        )

    def at(self, step: str, attempt: int | None = None) -> Failure:
        """The same failure, placed at a step; one that has a place keeps it."""
        return self if self.step is not None else dataclasses.replace(self, step=step, attempt=attempt)

    def matches(self, names: tuple[str, ...]) -> bool:
        """Whether one of ``names`` is one of its types; ``*`` is all."""
        return "*" in names or any(name in self.types for name in names)


class StepFailed(Exception):
    """A step failed for good; carries its ``failure`` to the nearest ``try``, then to the run.

    ``undo``: a step on the way says ``on_failure: compensate``, which goes before what the document says.
    """

    def __init__(self, failure: Failure, *, undo: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.undo = undo


def failure_of(error: BaseException) -> Failure:
    """What an exception becomes in a run: types, a safe text, and the ``details`` of flowctl's own errors.

    Defensive on purpose: an exception's ``__str__`` may raise, or return a hundred megabytes.
    """
    if isinstance(
        error, FlowctlError
    ):  # our own tree is for Python; a run's built-in errors have one name each
        return Failure(type=error.code, message=safe_text(error), details=error.details or None)
    types = tuple(c.__name__ for c in type(error).__mro__ if c not in (Exception, BaseException, object))
    return Failure(type=type(error).__name__, types=types, message=safe_text(error))


def safe_text(error: BaseException) -> str:
    """``str(error)``, cut to ``MESSAGE_LIMIT``, without lone surrogates, whatever its ``__str__`` does."""
    try:
        text = str(error)
    except BaseException as broken:  # a plugin's __str__ may raise anything, SystemExit included
        text = f"(its message cannot be shown: {type(broken).__name__})"
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
