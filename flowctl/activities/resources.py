"""``@resource``: what activities share and somebody must open and close, such as a pool of connections.

A resource is a generator function, like a fixture of pytest: it opens, yields once, and closes when it is
resumed. A parameter of an activity, or of another resource, that has its name is given what it yielded.

Rules:

1. Names are lexical: an activity is given the resources of its own plugin, those its module imports
   included. So no parameter changes its meaning because somebody else's plugin is installed.
2. A resource is opened once, for the first attempt that needs it, and closed with the engine; what was opened
   last is closed first. One that cannot be opened fails the attempts that wait for it (``ResourceFailed``),
   for certain before anything has happened, and is opened anew for the next.
3. Async generators live on the loop, each in one task from beginning to end. Plain ones are opened and closed
   in a thread, for opening may take its time.
4. What goes wrong while a resource is closed is logged, and one that takes longer than ``PATIENCE`` is left
   to itself: no resource keeps a process from leaving.
5. A resource lives in the engine's process. A child process is given none: what can be shared cannot be sent
   there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from flowctl.activities.failures import failure_from
from flowctl.errors import Failure, UsageError, safe_text

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 5.0
"""Seconds that closing one resource may take."""

_MARK = "__flowctl_resource__"
_log = logging.getLogger(__name__)
_replaced: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class Resource:
    """A generator function that was declared to be a resource. ``origin`` is its ``FILE:LINE``; ``needs`` are
    the resources that its parameters name, once a plugin was loaded."""

    name: str
    function: Callable[..., Any]
    origin: str
    needs: Mapping[str, Resource] = dataclasses.field(default_factory=dict)


def resource(function: F) -> F:
    """Declare a generator function, plain or async, to be a resource; it can be called as before.

    Raises ``UsageError`` for anything else.
    """
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        name = getattr(function, "__name__", repr(function))
        raise UsageError(
            f"@resource {name!r:.200}: a resource is a generator function",
            hint="yield what it opens, and close that after the yield",
        )
    code = inspect.unwrap(function).__code__
    origin = f"{code.co_filename}:{code.co_firstlineno}"
    function.__dict__[_MARK] = Resource(function.__name__, function, origin)
    return function


def declared_resource(thing: object) -> Resource | None:
    """The declaration of a decorated function, or None for anything else."""
    found = thing.__dict__.get(_MARK) if inspect.isfunction(thing) else None
    return found if isinstance(found, Resource) else None


def named_by(function: Callable[..., Any], scope: Mapping[str, Resource]) -> dict[str, Resource]:
    """The resources of ``scope`` that parameters of an activity name, each with all it needs. ``UsageError``
    if one needs what is no resource, or itself."""
    return {name: _link(scope[name], scope, ()) for name in _parameters(function) if name in scope}


def _link(wanted: Resource, scope: Mapping[str, Resource], above: tuple[str, ...]) -> Resource:
    way = (*above, wanted.name)
    if wanted.name in above:
        raise UsageError(f"the resource {wanted.name!r} needs itself: {' needs '.join(way)}")
    needs = {}
    for name in _parameters(wanted.function):
        # what it was written beside, wherever it was imported to
        found = declared_resource(wanted.function.__globals__.get(name)) or scope.get(name)
        if found is None:
            raise UsageError(
                f"the resource {wanted.name!r} needs {name!r}, which is no resource",
                hint="its parameters are given other resources of the plugin, nothing else",
            )
        needs[name] = _link(found, scope, way)
    return dataclasses.replace(wanted, needs=needs)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@contextlib.contextmanager
def replace_resource(function: Callable[..., Any], value: Any) -> Iterator[None]:
    """While the context lasts, whoever in this process needs the resource ``function`` is given ``value``.

    For tests. ``value`` is handed out as it is, and closing it is the test's business. It also holds for a
    second import of the same file, as a test and the engine may have. ``UsageError`` for what is no resource.
    """
    found = declared_resource(function)
    if found is None:
        raise UsageError(
            f"replace_resource() takes a function declared with @resource, not {function!r:.100}"
        )
    before = dict(_replaced)
    _replaced[found.origin] = value
    try:
        yield
    finally:
        _replaced.clear()
        _replaced.update(before)


class ResourceFailed(Exception):
    """A resource cannot be opened. ``failure`` says why; its types are those of the cause as well."""

    def __init__(self, name: str, cause: Failure) -> None:
        text = f"the resource {name!r} cannot be opened: {cause.type}: {cause.message}"
        super().__init__(text)
        self.failure = Failure("ResourceFailed", text, ("ResourceFailed", *cause.types), cause=cause)


class Resources:
    """What is open on one loop. All methods are called on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lives: dict[Callable[..., Any], _Life] = {}  # in the order in which they began
        self._closed = False

    def at_hand(self, wanted: Mapping[str, Resource]) -> dict[str, Any] | None:
        """The values of resources, if nothing must be opened for them."""
        values = {}
        for name, each in wanted.items():
            if each.origin in _replaced:
                values[name] = _replaced[each.origin]
                continue
            life = self._lives.get(each.function)
            if life is None or not life.is_open:
                return None
            values[name] = life.value
        return values

    async def open(self, wanted: Mapping[str, Resource]) -> dict[str, Any]:
        """The values of resources, opened if they are not. ``ResourceFailed``."""
        return {name: await self._value(each) for name, each in wanted.items()}

    async def _value(self, wanted: Resource) -> Any:
        if wanted.origin in _replaced:
            return _replaced[wanted.origin]
        needs = await self.open(wanted.needs)  # before itself, and so closed after it
        life = self._lives.get(wanted.function)
        if life is None and self._closed:  # who still waited for what this one needs
            raise ResourceFailed(wanted.name, Failure("Cancelled", "the engine is leaving"))
        if life is None:
            life = self._lives[wanted.function] = _Life(wanted, needs, self._loop)
        await asyncio.wait([life.opened])  # whoever stops waiting does not stop the others
        if life.failure is not None:
            if self._lives.get(wanted.function) is life:
                del self._lives[wanted.function]
            raise ResourceFailed(wanted.name, life.failure)
        return life.value

    async def close(self) -> None:
        """Close all that is open, what was opened last first. Raises nothing."""
        self._closed = True
        while self._lives:
            _, life = self._lives.popitem()
            await life.end()


class _Life:
    """One resource from its opening to its end. ``failure`` says why it could not be opened."""

    def __init__(self, own: Resource, needs: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self.value: Any = None
        self.failure: Failure | None = None
        self._loop = loop
        self._name = own.name
        self._over = asyncio.Event()
        self._task = loop.create_task(self._live(own, needs))

    @property
    def is_open(self) -> bool:
        return self.opened.done() and self.failure is None

    async def end(self) -> None:
        self._over.set()
        await asyncio.wait([self._task], timeout=PATIENCE)
        if not self._task.done():
            _log.warning("the resource %s does not close, and is left to itself", self._name)
            self._task.cancel()
            # asyncio.run waits for all tasks it knows of, and this one may never end
            asyncio.tasks._unregister_task(self._task)

    async def _live(self, own: Resource, needs: dict[str, Any]) -> None:
        try:
            generator = own.function(**needs)
            ended, self.value = await self._resume(generator)
            if ended:
                raise UsageError("it yielded nothing")
        except BaseException as error:  # SystemExit would end the loop
            self.failure = failure_from(error)
            return
        finally:
            self.opened.set_result(None)
        await self._over.wait()
        self.value = None
        try:
            ended, _ = await self._resume(generator)
            if not ended:
                raise UsageError("it yielded a second time, where it was to end")
        except BaseException as error:
            _log.warning(
                "closing the resource %s: %s: %s", self._name, type(error).__name__, safe_text(error)
            )

    async def _resume(self, generator: Any) -> tuple[bool, Any]:
        """Go on to the next yield: whether it has ended instead, and what was yielded."""
        if hasattr(generator, "__anext__"):
            try:
                return False, await anext(generator)
            except StopAsyncIteration:
                return True, None
        answer: tuple[bool, Any] = await _in_thread(self._loop, lambda: _next(generator))
        return answer


def _next(generator: Iterator[Any]) -> tuple[bool, Any]:
    try:
        return False, next(generator)
    except StopIteration:
        return True, None


def _answer(question: asyncio.Future[Any], answer: Any) -> None:
    if not question.done():  # the task that asked may have been cancelled
        question.set_result(answer)


async def _in_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> Any:
    """What a function returns or raises in a thread that nobody joins: it may hang."""
    answer: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def work() -> None:
        try:
            result, error = function(), None
        except BaseException as raised:
            result, error = None, raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_answer, answer, (result, error))

    threading.Thread(target=work, name="flowctl-resource", daemon=True).start()
    value, error = await answer
    if error is not None:
        raise error
    return value
