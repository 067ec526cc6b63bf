"""The interpreter's concurrency: order, scopes, cancellation, patience."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

import pytest

from flowctl.errors import Cancelled, Failure
from flowctl.trampoline import Future, Scope, Trampoline

WHY = Failure("Cancelled", "enough")


class Story:
    """A trampoline and what its tasks said, in order."""

    def __init__(self) -> None:
        self.trampoline = Trampoline()
        self.said: list[str] = []

    async def wait(self, name: str, future: Future[str], *, patient: bool = False) -> None:
        """Wait for an answer and say how that went."""
        told = (lambda: self.said.append(f"{name} was told")) if patient else None
        try:
            answer = await self.trampoline.wait(future, patient=told)
            self.said.append(f"{name} heard {answer}")
        except Cancelled:
            self.said.append(f"{name} was cancelled")
            raise


def test_tasks_are_resumed_in_the_order_in_which_their_answers_came() -> None:
    story = Story()
    futures = [story.trampoline.future() for _ in range(3)]
    for name, future in zip("abc", futures, strict=True):
        story.trampoline.spawn(story.wait(name, future))
    story.trampoline.run()
    for index in (1, 2, 0):
        futures[index].set("x")
    story.trampoline.run()
    assert story.said == ["b heard x", "c heard x", "a heard x"]


def test_an_answer_resumes_nobody_before_run_is_called() -> None:
    story = Story()
    future = story.trampoline.future()
    story.trampoline.spawn(story.wait("a", future))
    story.trampoline.run()
    future.set("x")
    assert story.said == []


def test_the_first_answer_stands() -> None:
    story = Story()
    future = story.trampoline.future()
    future.set("first")
    future.set("second")
    story.trampoline.spawn(story.wait("a", future))
    story.trampoline.run()
    assert story.said == ["a heard first"]


def test_a_future_that_fails_raises_where_it_is_awaited() -> None:
    trampoline = Trampoline()
    future = trampoline.future()

    async def main() -> None:
        with pytest.raises(ValueError, match="broken"):
            await trampoline.wait(future)

    trampoline.spawn(main())
    trampoline.run()
    future.fail(ValueError("broken"))
    trampoline.run()


def test_cancelling_a_scope_reaches_every_task_that_waits_in_it_in_order() -> None:
    story = Story()
    scope = Scope(story.trampoline, story.trampoline.root)
    for name in "ab":
        story.trampoline.spawn(_absorb(story.wait(name, story.trampoline.future())), scope)
    story.trampoline.spawn(story.wait("outside", story.trampoline.future()))
    story.trampoline.run()
    scope.cancel(WHY)
    story.trampoline.run()
    assert story.said == ["a was cancelled", "b was cancelled"]


def test_an_answer_that_is_there_already_is_served_in_a_cancelled_scope() -> None:
    story = Story()
    ready = story.trampoline.future()
    ready.set("x")

    async def main() -> None:
        await story.wait("a", ready)
        await story.wait("b", story.trampoline.future())

    story.trampoline.root.cancel(WHY)
    story.trampoline.spawn(_absorb(main()))
    story.trampoline.run()
    assert story.said == ["a heard x", "b was cancelled"]


def test_a_patient_wait_is_told_once_and_goes_on_waiting() -> None:
    story = Story()
    future = story.trampoline.future()
    outer = Scope(story.trampoline, story.trampoline.root)
    inner = Scope(story.trampoline, outer)
    story.trampoline.spawn(story.wait("a", future, patient=True), inner)
    story.trampoline.run()
    inner.cancel(WHY)
    outer.cancel(WHY)
    story.trampoline.run()
    future.set("done all the same")
    story.trampoline.run()
    assert story.said == ["a was told", "a heard done all the same"]


def test_a_patient_wait_in_a_scope_that_was_cancelled_before_is_told_at_once() -> None:
    story = Story()
    story.trampoline.root.cancel(WHY)
    story.trampoline.spawn(story.wait("a", story.trampoline.future(), patient=True))
    story.trampoline.run()
    assert story.said == ["a was told"]


def test_a_shield_keeps_cancellation_out() -> None:
    story = Story()
    future = story.trampoline.future()

    async def main() -> None:
        shield = story.trampoline.enter(shield=True)
        await story.wait("shielded", future)
        story.trampoline.leave(shield)
        await story.wait("after", story.trampoline.future())

    story.trampoline.spawn(_absorb(main()))
    story.trampoline.run()
    story.trampoline.root.cancel(WHY)
    future.set("x")
    story.trampoline.run()
    assert story.said == ["shielded heard x", "after was cancelled"]


def test_of_two_cancelled_scopes_the_inner_one_takes_effect_first() -> None:
    trampoline = Trampoline()
    caught: list[object] = []
    scopes: list[Scope] = []

    async def main() -> None:
        scopes.append(trampoline.enter())
        try:
            await trampoline.wait(trampoline.future())
        except Cancelled as cancelled:
            caught.append(cancelled.scope)
        trampoline.leave(scopes[0])
        try:
            await trampoline.wait(trampoline.future())
        except Cancelled as cancelled:
            caught.append(cancelled.scope)

    trampoline.spawn(main())
    trampoline.run()
    scopes[0].cancel(WHY)
    trampoline.root.cancel(WHY)
    trampoline.run()
    assert caught == [scopes[0], trampoline.root]


def test_the_first_reason_stands() -> None:
    trampoline = Trampoline()
    scope = trampoline.root
    scope.cancel(Failure("Timeout", "first"))
    scope.cancel(WHY)
    assert scope.reason == Failure("Timeout", "first")


def test_a_dropped_run_executes_nothing_more() -> None:
    story = Story()
    future = story.trampoline.future()
    story.trampoline.spawn(story.wait("a", future))
    story.trampoline.run()
    story.trampoline.drop()
    future.set("x")
    story.trampoline.run()
    assert story.said == []


async def _absorb(coroutine: Awaitable[None]) -> None:
    with contextlib.suppress(Cancelled):
        await coroutine
