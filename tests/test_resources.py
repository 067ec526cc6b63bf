"""Resources: who is given which, when they are opened and closed, and what happens if they cannot be."""

from __future__ import annotations

import asyncio
import logging
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from flowctl import activity, hookimpl, replace_resource, resource
from flowctl.activities import Activity, Attempt, Outcome
from flowctl.activities.describe import describe
from flowctl.activities.performer import Performer
from flowctl.errors import Failure, UsageError
from flowctl.plugins import Plugins, load

ATTEMPT = Attempt(
    run_id="run",
    workflow="w",
    version=1,
    path="step",
    attempt=1,
    idempotency_key="run/step",
    name="use",
    args={},
    secrets={},
    timeout=30_000,
    heartbeat_timeout=None,
    principal=None,
    trace_id=None,
    last_heartbeat=None,
    started_at=0,
    deadline=30_000,
)


def plugin(**names: Any) -> Plugins:
    """What comes of a module with these names at its top level."""
    module = types.ModuleType("subject")
    module.__dict__.update(names)
    return load(entry_points=False, objects=[module])


def loaded(**names: Any) -> dict[str, Activity]:
    plugins = plugin(**names)
    assert plugins.problems == []
    return plugins.activities


def complaint(**names: Any) -> str:
    (problem,) = plugin(**names).problems
    return problem.error


class Stage:
    """A performer for a while."""

    def __init__(self, performer: Performer) -> None:
        self.performer = performer

    def begin(self, name: str, **changes: Any) -> tuple[Any, asyncio.Future[Outcome]]:
        ended: asyncio.Future[Outcome] = self.performer.loop.create_future()
        attempt = msgspec.structs.replace(ATTEMPT, name=name, **changes)
        return self.performer.perform(attempt, ended.set_result), ended

    async def value(self, name: str, **args: Any) -> Any:
        """What an attempt returned."""
        outcome = await self.begin(name, args=args)[1]
        assert outcome.value is not None, outcome.failure
        return msgspec.json.decode(outcome.value)

    async def failure(self, name: str, **changes: Any) -> Failure:
        """Why an attempt failed, with nothing left uncertain."""
        outcome = await self.begin(name, **changes)[1]
        assert outcome.failure is not None
        assert not outcome.uncertain
        return outcome.failure


def play(activities: dict[str, Activity], scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        performer = Performer(activities, resolve_secret=lambda name: None, loop=loop)
        try:
            await scene(Stage(performer))
        finally:
            await performer.leave()

    asyncio.run(main())


class Diary:
    """Two resources, one plain and one async, that needs the other, and activities that use them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.threads: set[str] = set()
        lines, threads = self.lines, self.threads

        @resource
        def base() -> Iterator[list[str]]:
            threads.add(threading.current_thread().name)
            lines.append("open base")
            yield ["base"]
            lines.append("close base")

        @resource
        async def client(base: list[str]) -> AsyncIterator[list[str]]:
            lines.append("open client")
            yield [*base, "client"]
            await asyncio.sleep(0)
            lines.append("close client")

        @activity("in_thread")
        def in_thread(client: list[str], word: str) -> list[str]:
            return [*client, word]

        @activity("on_loop")
        async def on_loop(word: str, base: list[str], client: list[str]) -> list[str]:
            return [*base, *client, word]

        self.names: dict[str, Any] = {"base": base, "client": client, "t": in_thread, "l": on_loop}


def test_a_parameter_that_names_a_resource_is_given_what_it_yielded() -> None:
    diary = Diary()

    async def scene(stage: Stage) -> None:
        assert diary.lines == []
        assert await stage.value("in_thread", word="one") == ["base", "client", "one"]
        assert await stage.value("on_loop", word="two") == ["base", "base", "client", "two"]

    play(loaded(**diary.names), scene)
    assert diary.lines == ["open base", "open client", "close client", "close base"]
    assert "MainThread" not in diary.threads


def test_many_attempts_at_once_open_a_resource_once() -> None:
    diary = Diary()

    async def scene(stage: Stage) -> None:
        words = [str(n) for n in range(20)]
        answers = await asyncio.gather(*(stage.value("in_thread", word=word) for word in words))
        assert [answer[-1] for answer in answers] == words

    play(loaded(**diary.names), scene)
    assert diary.lines.count("open base") == diary.lines.count("open client") == 1


def test_a_resource_is_no_argument() -> None:
    (use,) = (each for name, each in loaded(**Diary().names).items() if name == "in_thread")
    shown = describe(use)
    assert [parameter["name"] for parameter in shown["parameters"]] == ["word"]
    assert shown["resources"] == ["client"]
    assert shown["signature"] == "in_thread(word: str) -> list[str]"

    async def scene(stage: Stage) -> None:
        failure = await stage.failure("in_thread", args={"word": "a", "client": []})
        assert (failure.type, failure.details) == ("InvalidInput", {"argument": "client"})

    play({"in_thread": use}, scene)


def test_nobody_elses_parameter_is_taken_for_a_resource() -> None:
    @activity("mine")
    def mine(base: str) -> str:
        return base

    diary, other = Diary(), types.ModuleType("other")
    other.__dict__["mine"] = mine
    subject = types.ModuleType("subject")
    subject.__dict__.update(diary.names)
    plugins = load(entry_points=False, objects=[subject, other])

    async def scene(stage: Stage) -> None:
        assert await stage.value("mine", base="text") == "text"

    play(plugins.activities, scene)
    assert diary.lines == []


def test_a_resource_that_was_imported_is_known_by_its_name_there() -> None:
    @activity("use")
    def use(api: list[str]) -> list[str]:
        return api

    diary = Diary()

    async def scene(stage: Stage) -> None:
        assert await stage.value("use") == ["base", "client"]

    play(loaded(api=diary.names["client"], base=diary.names["base"], use=use), scene)
    assert diary.lines[-1] == "close base"


def test_what_is_only_in_an_annotation_of_a_resource_need_not_be_there() -> None:
    """Costly imports belong into the function that opens."""
    diary = Diary()

    @activity("use")
    def use(client: NotImported, word: str) -> str:  # type: ignore[name-defined]  # noqa: F821
        return word + diary.lines[-1]  # a closure too

    async def scene(stage: Stage) -> None:
        assert await stage.value("use", word="after ") == "after open client"

    play(loaded(**{**diary.names, "use": use}), scene)


def test_a_hook_registers_what_is_made_by_code() -> None:
    diary = Diary()

    class Hooks:
        @hookimpl
        def flowctl_register_resources(self, register: Callable[[str, Any], None]) -> None:
            register("client", diary.names["client"])
            register("base", diary.names["base"])

        @hookimpl
        def flowctl_register_activities(self, register: Callable[[Any], None]) -> None:
            register(diary.names["t"])

    plugins = load(entry_points=False, objects=[Hooks()])
    assert plugins.problems == []

    async def scene(stage: Stage) -> None:
        assert await stage.value("in_thread", word="one") == ["base", "client", "one"]

    play(plugins.activities, scene)


# --- what makes no sense


def test_a_resource_is_a_generator_function() -> None:
    def plain() -> int:
        return 1

    with pytest.raises(UsageError, match="@resource 'plain': a resource is a generator function; yield"):
        resource(plain)


def test_a_resource_needs_nothing_but_resources() -> None:
    @resource
    def client(url: str) -> Iterator[str]:
        yield url

    @activity("use")
    def use(client: str) -> str:
        return client

    assert "the resource 'client' needs 'url', which is no resource" in complaint(client=client, use=use)


def test_resources_that_need_each_other_are_refused() -> None:
    @resource
    def one(two: str) -> Iterator[str]:
        yield two

    @resource
    def two(one: str) -> Iterator[str]:
        yield one

    @activity("use")
    def use(one: str) -> str:
        return one

    assert "needs itself: one needs two needs one" in complaint(one=one, two=two, use=use)


def test_a_child_process_is_given_no_resource() -> None:
    """At the top level, as ``isolation="process"`` wants it."""
    assert "a child process cannot be given the resource 'base'" in complaint(
        base=Diary().names["base"], use=in_a_process
    )


@activity("use", isolation="process")
def in_a_process(base: list[str]) -> list[str]:
    return base


@pytest.mark.parametrize("given", [("base", print), ("not a name", None), (1, None)])
def test_a_hook_that_registers_what_is_no_resource_is_a_problem(given: tuple[Any, Any]) -> None:
    name, function = given

    class Hooks:
        @hookimpl
        def flowctl_register_resources(self, register: Callable[[str, Any], None]) -> None:
            register(name, function or Diary().names["base"])

    (problem,) = load(entry_points=False, objects=[Hooks()]).problems
    assert "register() takes the name of a parameter and a function" in problem.error


# --- what goes wrong


class Down(Exception):
    """A database that is not there."""


def failing(*endings: BaseException | None, is_async: bool) -> dict[str, Any]:
    """A resource whose openings end like this, one after the other, and an activity that uses it."""
    left = list(endings)

    def begin() -> str:
        if (ending := left.pop(0)) is not None:
            raise ending
        return "open"

    @resource
    def plain() -> Iterator[str]:
        yield begin()

    @resource
    async def coroutine() -> AsyncIterator[str]:
        yield begin()

    @activity("use")
    def use(it: str) -> str:
        return it

    return {"it": coroutine if is_async else plain, "use": use}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("ending", [Down("refused"), SystemExit("refused"), KeyboardInterrupt("refused")])
def test_a_resource_that_cannot_be_opened_fails_the_attempt_and_is_tried_again(
    ending: BaseException, is_async: bool
) -> None:
    async def scene(stage: Stage) -> None:
        failure = await stage.failure("use")
        name = type(ending).__name__
        assert failure.type == "ResourceFailed"
        assert failure.matches((name,)), "a retry can be about the cause"
        assert f"cannot be opened: {name}: refused" in failure.message
        assert failure.cause is not None
        assert failure.cause.type == name
        assert await stage.value("use") == "open"

    play(loaded(**failing(ending, None, is_async=is_async)), scene)


def test_a_resource_that_yields_nothing_is_not_open() -> None:
    @resource
    def it() -> Iterator[str]:
        yield from ()

    @activity("use")
    def use(it: str) -> str:
        return it

    async def scene(stage: Stage) -> None:
        assert "it yielded nothing" in (await stage.failure("use")).message

    play(loaded(it=it, use=use), scene)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_goes_wrong_while_closing_is_logged_and_the_others_are_closed(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()

    @resource
    def broken(base: list[str]) -> Iterator[str]:
        yield "open"
        raise SystemExit("stuck")

    @resource
    async def broken_too(base: list[str]) -> AsyncIterator[str]:
        yield "open"
        raise SystemExit("stuck")

    @activity("use")
    def use(broken: str) -> str:
        return broken

    async def scene(stage: Stage) -> None:
        assert await stage.value("use") == "open"

    names = {"broken": broken_too if is_async else broken, "base": diary.names["base"], "use": use}
    with caplog.at_level(logging.WARNING):
        play(loaded(**names), scene)
    assert "SystemExit: stuck" in caplog.text
    assert diary.lines == ["open base", "close base"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_resource_that_does_not_close_keeps_nobody(
    is_async: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flowctl.activities.resources.PATIENCE", 0.01)
    release = threading.Event()

    @resource
    def plain() -> Iterator[str]:
        yield "open"
        release.wait()

    @resource
    async def coroutine() -> AsyncIterator[str]:
        yield "open"
        while not release.is_set():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    @activity("use")
    def use(it: str) -> str:
        return it

    async def scene(stage: Stage) -> None:
        assert await stage.value("use") == "open"

    with caplog.at_level(logging.WARNING):
        play(loaded(it=coroutine if is_async else plain, use=use), scene)
    release.set()
    assert "does not close, and is left to itself" in caplog.text


class Slow:
    """A resource that opens when it is told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.called: list[str] = []
        gate, called = self.gate, self.called

        @resource
        def it() -> Iterator[str]:
            gate.wait()
            yield "open"

        @activity("use")
        def use(it: str) -> str:
            called.append(it)
            return it

        self.names = {"it": it, "use": use}


def test_a_resource_that_takes_too_long_fails_the_attempt_and_serves_the_next() -> None:
    slow = Slow()

    async def scene(stage: Stage) -> None:
        failure = await stage.failure("use", timeout=5)
        assert (failure.type, failure.message) == ("Timeout", "its resources were not open within 5ms")
        slow.gate.set()
        assert await stage.value("use") == "open"

    play(loaded(**slow.names), scene)
    assert slow.called == ["open"], "the attempt that timed out is not called late"


def test_an_attempt_that_is_told_to_stop_while_a_resource_opens_has_done_nothing() -> None:
    slow = Slow()

    async def scene(stage: Stage) -> None:
        handle, ended = stage.begin("use")
        await asyncio.sleep(0)
        handle.cancel()
        slow.gate.set()
        outcome = await ended
        assert outcome.failure is not None
        assert (outcome.failure.type, outcome.cancelled, outcome.uncertain) == ("Cancelled", True, False)
        assert await stage.value("use") == "open"

    play(loaded(**slow.names), scene)
    assert slow.called == ["open"]


def test_nothing_is_opened_any_more_when_the_engine_leaves() -> None:
    """An attempt waits for one resource, on the way to another."""
    slow, opened = Slow(), []

    @resource
    def outer(it: str) -> Iterator[str]:
        opened.append(it)
        yield it

    @activity("late")
    def late(outer: str) -> str:
        return outer

    async def scene(stage: Stage) -> None:
        stage.begin("late")
        await asyncio.sleep(0)
        leaving = asyncio.ensure_future(stage.performer.leave())
        slow.gate.set()
        await leaving

    play(loaded(**slow.names, outer=outer, late=late), scene)
    assert opened == []


# --- in tests


def test_a_resource_is_replaced_in_a_test() -> None:
    diary = Diary()
    activities = loaded(**diary.names)

    async def scene(stage: Stage) -> None:
        with replace_resource(diary.names["base"], ["fake"]):
            assert await stage.value("in_thread", word="one") == ["fake", "client", "one"]
        with replace_resource(diary.names["client"], ["other"]):
            assert await stage.value("in_thread", word="two") == ["other", "two"]
            assert await stage.value("on_loop", word="three") == ["base", "other", "three"]

    play(activities, scene)
    assert diary.lines == ["open client", "open base", "close base", "close client"]


def test_what_is_no_resource_cannot_be_replaced() -> None:
    with pytest.raises(UsageError, match="a function declared with @resource"), replace_resource(print, None):
        pass
