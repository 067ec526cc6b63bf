"""``@activity``: what an author declares about a function that touches the world.

Two rules. The decorated function stays the function it was, so that a unit test calls it like any other; the
declaration is an attribute beside it. And a declaration that makes no sense is refused where it is written,
when the module is imported, not in the middle of somebody's run.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, overload

import msgspec

from flowctl.activities.binding import Binding
from flowctl.activities.resources import Resource
from flowctl.activities.settings import Configure
from flowctl.clock import parse_duration
from flowctl.errors import UsageError
from flowctl.model import Policy
from flowctl.retry import ONCE, RetryPolicy

Isolation = Literal["async", "thread", "process"]
Errors = Iterable[type[BaseException] | str]
F = TypeVar("F", bound=Callable[..., Any])

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*\Z")
NAME_LIMIT = 200

MEMORY = "1GiB"
"""Address space of a child process, if the activity does not ask for another."""

_MEMORY = re.compile(r"(\d{1,9}) ?([KMG]i?)B\Z")
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_MARK = "__flowctl_activity__"


@dataclasses.dataclass(frozen=True)
class Activity:
    """A function and what was declared about it.

    ``memory`` bounds the address space of its child process in bytes; None is no bound. ``origin`` is
    ``FILE:LINE`` of the function. ``plugin`` is the name of the plugin that registered it, and ``resources``
    are those that its parameters name, once one has; ``configure`` is how a child process tells it its
    settings, None if it takes none.
    """

    name: str
    function: Callable[..., Any]
    isolation: Isolation
    policy: Policy
    memory: int | None
    origin: str
    plugin: str = ""
    resources: Mapping[str, Resource] = dataclasses.field(default_factory=dict)
    configure: Configure | None = None

    @functools.cached_property
    def binding(self) -> Binding:
        """How arguments become parameters. ``UsageError`` if the signature cannot be called by name."""
        return Binding.of(self.function, self.name, self.resources)

    @property
    def doc(self) -> str:
        """The function's docstring, without its indentation."""
        return inspect.getdoc(self.function) or ""


def declared(thing: object) -> Activity | None:
    """The declaration of a decorated function, or None for anything else.

    A decorator written above ``@activity`` copies the declaration onto its wrapper; then the wrapper is what
    is called.
    """
    if not inspect.isfunction(thing):
        return None
    found = thing.__dict__.get(_MARK)
    if not isinstance(found, Activity):
        return None
    return found if found.function is thing else dataclasses.replace(found, function=thing)


@overload
def activity(name: F, /) -> F: ...


@overload
def activity(
    name: str | None = None,
    *,
    timeout: str | None = None,
    total_timeout: str | None = None,
    heartbeat_timeout: str | None = None,
    retry: Mapping[str, Any] | Literal[False] | None = None,
    retryable: Errors | None = None,
    non_retryable: Errors | None = None,
    isolation: Isolation | None = None,
    memory: str | None = MEMORY,
) -> Callable[[F], F]: ...


def activity(
    name: Any = None,
    *,
    timeout: str | None = None,
    total_timeout: str | None = None,
    heartbeat_timeout: str | None = None,
    retry: Mapping[str, Any] | Literal[False] | None = None,
    retryable: Errors | None = None,
    non_retryable: Errors | None = None,
    isolation: Isolation | None = None,
    memory: str | None = MEMORY,
) -> Any:
    """Declare a function to be an activity; it can be called as before.

    ``name`` is what workflows call, the function's own name if left out. Durations are written as in
    workflows (``10s``), ``retry`` has the keys of the language's ``retry``, or is False for one attempt.
    ``retryable`` and ``non_retryable`` take exception classes or their names, and are part of ``retry``: with
    one of them alone, the rest of it is the language's (three attempts, …). ``isolation`` is ``async`` for
    coroutine functions, else ``thread``, unless it says ``process``; ``memory`` bounds the address space of
    such a process, None is no bound.

    Raises ``UsageError`` for options that make no sense.
    """
    if inspect.isfunction(name):
        return activity()(name)

    def declare(function: F) -> F:
        label = name if name is not None else getattr(function, "__name__", "?")
        try:
            policy = Policy(
                timeout=_duration("timeout", timeout),
                total_timeout=_duration("total_timeout", total_timeout),
                heartbeat_timeout=_duration("heartbeat_timeout", heartbeat_timeout),
                retry=_retry(retry, retryable, non_retryable),
            )
            _check_name(label)
            chosen = _isolation(function, isolation)
            limit = _bytes(memory) if memory is not None else None
        except (ValueError, TypeError) as error:
            raise UsageError(f"@activity {str(label)[:NAME_LIMIT]!r}: {error}") from None
        function.__dict__[_MARK] = Activity(label, function, chosen, policy, limit, _place(function))
        return function

    return declare


def _check_name(name: object) -> None:
    if not isinstance(name, str) or len(name) > NAME_LIMIT or not NAME.match(name):
        raise ValueError("a name consists of words joined by dots, such as payments.charge")


def _duration(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{option} is a duration such as '10s', not {text!r}")
    milliseconds = parse_duration(text)
    if milliseconds == 0:
        raise ValueError(f"{option} is longer than nothing")
    return milliseconds


def _bytes(text: str) -> int:
    match = _MEMORY.match(text)
    if match is None:
        raise ValueError(f"memory is a size such as '512MB' or '2GiB', not {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def _retry(
    retry: Mapping[str, Any] | Literal[False] | None, retryable: Errors | None, non_retryable: Errors | None
) -> RetryPolicy | None:
    if retry is None and retryable is None and non_retryable is None:
        return None
    if retry is False:
        return ONCE
    options = dict(retry or {})
    unknown = options.keys() - set(RetryPolicy.__struct_fields__)
    if unknown:
        raise ValueError(f"retry has no {min(unknown)!r}")
    for key, errors in (("retryable", retryable), ("non_retryable", non_retryable)):
        chosen = options.get(key) if errors is None else errors
        if chosen is not None:
            options[key] = [_error_name(error) for error in ([chosen] if isinstance(chosen, str) else chosen)]
    for key in options.keys() & {"delay", "max_delay"}:
        options[key] = parse_duration(options[key])
    policy = msgspec.convert(options, RetryPolicy)
    if policy.attempts < 1 or policy.factor <= 0:
        raise ValueError("retry needs attempts of at least 1 and a factor above 0")
    return policy


def _error_name(error: type[BaseException] | str) -> str:
    return error if isinstance(error, str) else error.__name__


def _isolation(function: Callable[..., Any], wanted: str | None) -> Isolation:
    if not inspect.isfunction(function):
        raise TypeError("only functions can be activities")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("a generator cannot be an activity, which returns its result")
    is_async = inspect.iscoroutinefunction(function)
    match wanted:
        case None:
            return "async" if is_async else "thread"
        case "process":
            if "<" in function.__qualname__:  # <locals>, <lambda>: no other process finds it
                raise ValueError("isolation='process' needs a function at the top level of a module")
            return "process"
        case "async" if is_async:
            return "async"
        case "thread" if not is_async:
            return "thread"
        case "async" | "thread":
            kind = "an async" if is_async else "a plain"
            raise ValueError(f"isolation={wanted!r} does not fit {kind} function")
    raise ValueError(f"isolation is 'async', 'thread' or 'process', not {wanted!r}")


def _place(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
