"""Tasks without an event loop: the interpreter's concurrency, deterministic to the last step.

Why not asyncio: its ``wait`` and ``TaskGroup`` follow the order of Python sets, which differs between
processes. A run must take the same course in the process that started it and in the one that
recovers it, so tasks are resumed first come, first served, in an order that only the run itself decides.
And a run that waits is just objects: no loop, no thread, no timer of its own.

Four rules:

1. A task is resumed only by ``Trampoline.run``, never from inside ``Future.set``.
2. Cancellation belongs to *scopes*, which form a tree. It reaches a task when it must wait, at no other
   place; answers that are there already are still served.
3. Of several cancelled scopes around a task the innermost takes effect first, and unwinds to where it
   began.
4. A wait may be *patient*: it is told that its scope was cancelled, and goes on waiting (for an attempt
   that is running).
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import msgspec

from flowctl.errors import Cancelled, Failure

T = TypeVar("T")


class Future(msgspec.Struct, Generic[T], eq=False):
    """An answer that is not there yet. At most one task waits for it."""

    _trampoline: Trampoline
    _waiter: Task | None = None
    _value: Any = None
    _error: BaseException | None = None
    done: bool = False

    def set(self, value: T) -> None:
        """Give the answer. The first one stands; a later one is too late and is dropped."""
        if not self.done:
            self.done, self._value = True, value
            if self._waiter is not None:
                self._trampoline.resume(self._waiter)

    def fail(self, error: BaseException) -> None:
        """Make the wait raise ``error``."""
        if not self.done:
            self.done, self._error = True, error
            if self._waiter is not None:
                self._trampoline.resume(self._waiter)

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]


class Scope:
    """A part of a run that can be cancelled as one. ``reason`` is None until it is."""

    __slots__ = ("_trampoline", "parent", "reason", "shield")

    def __init__(self, trampoline: Trampoline, parent: Scope | None, *, shield: bool = False) -> None:
        self._trampoline = trampoline
        self.parent = parent
        self.shield = shield
        self.reason: Failure | None = None

    def cancelled(self) -> Scope | None:
        """The innermost cancelled scope around here, looking no further than a shield."""
        scope: Scope | None = self
        while scope is not None:
            if scope.reason is not None:
                return scope
            scope = None if scope.shield else scope.parent
        return None

    def contains(self, other: Scope) -> bool:
        """Whether cancelling this scope reaches ``other``."""
        scope: Scope | None = other
        while scope is not None:
            if scope is self:
                return True
            scope = None if scope.shield else scope.parent
        return False

    def cancel(self, reason: Failure) -> None:
        """Cancel, and reach every task that waits in here now. The first reason stands."""
        if self.reason is None:
            self.reason = reason
            self._trampoline.reach(self)


def _nothing() -> None:
    """What a patient wait hears the second time."""


class Task:
    """A coroutine on its way. ``scope`` is the innermost one it is in at the moment."""

    __slots__ = ("_patient", "_waiting_for", "coroutine", "finished", "scope")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], scope: Scope, finished: Future[None]) -> None:
        self.coroutine = coroutine
        self.scope = scope
        self.finished = finished
        self._waiting_for: Future[Any] | None = None
        self._patient: Callable[[], None] | None = None


class Trampoline:
    """The tasks of one run. ``calm`` until something is cancelled: nobody needs to look whether it was."""

    __slots__ = ("__weakref__", "_current", "_ready", "_tasks", "calm", "root")

    def __init__(self) -> None:
        self.calm = True
        self.root = Scope(weakref.proxy(self), None)  # or each run would outlive its end: see ``Core.let_go``
        self._ready: deque[tuple[Task, BaseException | None]] = deque()
        self._tasks: dict[Task, None] = {}  # a dict, because a set has no order
        self._current: Task | None = None

    @property
    def scope(self) -> Scope:
        """The scope of the task that is running."""
        return self._current.scope if self._current is not None else self.root

    def cancelled(self) -> Scope | None:
        """The innermost cancelled scope around the task that is running."""
        return None if self.calm else self.scope.cancelled()

    def future(self) -> Future[Any]:
        """A new answer to wait for."""
        return Future(self)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], scope: Scope | None = None) -> Task:
        """Start a task, in ``scope`` or else in that of the task that is running."""
        task = Task(coroutine, scope or self.scope, Future(self))
        self._tasks[task] = None
        self._ready.append((task, None))
        return task

    def run(self) -> None:
        """Resume tasks until all of them wait. What a task raises comes out here, and ends the run's
        being driven.
        """
        ready = self._ready
        while ready:
            self._step(*ready.popleft())

    def wait(self, future: Future[T], *, patient: Callable[[], None] | None = None) -> Future[T]:
        """Wait for an answer, to be awaited at once: the only place where a task is suspended, and so the
        only one where it is cancelled.

        Raises ``Cancelled`` if the answer is not there and the scope was cancelled, or is before it
        comes. With ``patient`` that is called instead, once, and the wait goes on.
        """
        task = self._current
        assert task is not None, "only a task can wait"
        if not future.done:
            scope = None if self.calm else task.scope.cancelled()
            if scope is not None:
                if patient is None:
                    raise Cancelled(scope)
                patient()
                patient = _nothing
            task._patient = patient
        return future

    def heed(self) -> None:
        """Raise ``Cancelled`` if the scope was cancelled: asked before anything that would have to wait."""
        scope = self.cancelled()
        if scope is not None:
            raise Cancelled(scope)

    def enter(self, *, shield: bool = False) -> Scope:
        """Open a scope inside the running task's; ``leave`` closes it."""
        task = self._current
        assert task is not None, "only a task has scopes"
        task.scope = Scope(self, task.scope, shield=shield)
        return task.scope

    def leave(self, scope: Scope) -> None:
        """Close ``scope``, the innermost one of the running task."""
        task = self._current
        # Nobody runs while the coroutines of a dropped run are closed; their scopes go with them.
        if task is not None and scope.parent is not None:
            task.scope = scope.parent

    def resume(self, task: Task) -> None:
        """A task's answer is there. One that was dropped meanwhile does not hear of it."""
        if task in self._tasks:
            task._waiting_for = None
            task._patient = None
            self._ready.append((task, None))

    def reach(self, cancelled: Scope) -> None:
        """Tell every task that waits inside ``cancelled``, in the order in which they were spawned."""
        self.calm = False
        for task in list(self._tasks):
            future = task._waiting_for
            if future is None or future.done or not cancelled.contains(task.scope):
                continue
            if task._patient is not None:
                told, task._patient = task._patient, _nothing
                told()
            else:
                future._waiter = None
                task._waiting_for = None
                self._ready.append((task, Cancelled(cancelled)))

    def drop(self) -> None:
        """Forget all tasks: the run is being evicted. Nothing is recorded and nothing of the run's is
        executed.
        """
        self._ready.clear()
        tasks, self._tasks = list(self._tasks), {}
        for task in tasks:
            task.coroutine.close()

    def _step(self, task: Task, error: BaseException | None) -> None:
        previous, self._current = self._current, task
        try:
            waited = task.coroutine.throw(error) if error is not None else task.coroutine.send(None)
        except StopIteration:
            self._tasks.pop(task, None)
            task.finished.set(None)
        except BaseException:
            self._tasks.pop(task, None)
            raise
        else:
            waited._waiter = task
            task._waiting_for = waited
            if (
                waited.done
            ):  # set between the check and here cannot happen, but a lost wake-up would be for ever
                self.resume(task)
        finally:
            self._current = previous
