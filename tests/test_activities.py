"""Activities: what is declared, how arguments become parameters, how one attempt ends."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import gc
import logging
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest

from flowctl.activities import (
    Activity,
    ActivityContext,
    ActivityError,
    Attempt,
    MissingSecret,
    Outcome,
    activity,
    declared,
)
from flowctl.activities.binding import result_bytes
from flowctl.activities.describe import describe
from flowctl.activities.performer import Performer
from flowctl.errors import Failure, InvalidInput, InvalidOutput, PayloadTooLarge, UsageError
from flowctl.expressions import SecretRef
from flowctl.model import Policy
from flowctl.retry import ONCE, RetryPolicy
from flowctl.testing.loop import VirtualTimeLoop, run_in_virtual_time

if TYPE_CHECKING:
    from flowctl.activities import ActivityContext as LaterContext

ATTEMPT = Attempt(
    run_id="order-1",
    workflow="order",
    version=2,
    path="charge",
    attempt=3,
    idempotency_key="order-1/charge",
    name="subject",
    args={},
    secrets={},
    timeout=30_000,
    heartbeat_timeout=None,
    principal="ada",
    trace_id="trace",
    last_heartbeat={"page": 7},
    started_at=0,
    deadline=1_700_000_000_000,
)


def entry(function: Callable[..., Any], **options: Any) -> Activity:
    found = declared(activity("subject", **options)(function))
    assert found is not None
    return found


def nobody(name: str) -> str | None:
    """Has no secret."""
    return None


class Stage:
    """A performer with one activity, on a loop of its own."""

    def __init__(
        self, function: Callable[..., Any], *, secrets: Mapping[str, str] | None = None, **options: Any
    ):
        self.activity = entry(function, **options)
        self.secrets = secrets or {}
        self.outcomes: list[Outcome] = []

    def play(
        self,
        *,
        then: Callable[[Any, Performer], object] | None = None,
        threads: int = 4,
        heard: Callable[[bytes], None] = lambda details: None,
        **changes: Any,
    ) -> Outcome:
        """The outcome of an attempt; ``then`` is called with its handle once it was begun."""

        async def scene() -> Outcome:
            loop = asyncio.get_running_loop()
            performer = Performer(
                {"subject": self.activity}, resolve_secret=self.secrets.get, loop=loop, threads=threads
            )
            ended: asyncio.Future[Outcome] = loop.create_future()

            def done(outcome: Outcome) -> None:
                self.outcomes.append(outcome)
                if not ended.done():
                    ended.set_result(outcome)

            handle = performer.perform(msgspec.structs.replace(ATTEMPT, **changes), done, heard)
            assert self.outcomes == [], "an outcome within perform()"
            if then is not None:
                then(handle, performer)
            try:
                return await ended
            finally:
                for _ in range(5):  # whatever else would come
                    await asyncio.sleep(0)
                performer.close()

        return asyncio.run(scene())


def play(function: Callable[..., Any], args: dict[str, Any] | None = None, **changes: Any) -> Outcome:
    return Stage(function).play(args=args or {}, **changes)


def failure(outcome: Outcome) -> Failure:
    assert outcome.value is None
    assert outcome.failure is not None
    return outcome.failure


# --- declaration


def test_a_decorated_function_can_be_called_as_before() -> None:
    @activity("math.double")
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8
    assert double.__name__ == "double"


def test_the_name_is_the_functions_own_if_none_is_given() -> None:
    @activity
    def plain() -> None: ...

    @activity()
    def called() -> None: ...

    assert [found.name for found in map(declared, (plain, called)) if found] == ["plain", "called"]


def test_options_become_a_policy_in_milliseconds() -> None:
    class CardDeclined(Exception):
        pass

    found = entry(
        lambda: None,
        timeout="10s",
        total_timeout="1h",
        heartbeat_timeout="500ms",
        retry={"attempts": 5, "delay": "2s", "backoff": "linear"},
        non_retryable=[CardDeclined, "Closed"],
    )
    retry = RetryPolicy(attempts=5, delay=2_000, backoff="linear", non_retryable=("CardDeclined", "Closed"))
    assert found.policy == Policy(timeout=10_000, total_timeout=3_600_000, heartbeat_timeout=500, retry=retry)


def test_an_activity_that_declares_nothing_leaves_everything_open() -> None:
    assert entry(lambda: None).policy == Policy()


def test_retry_false_is_one_attempt() -> None:
    assert entry(lambda: None, retry=False).policy.retry == ONCE


def test_isolation_follows_from_the_function() -> None:
    async def coroutine() -> None: ...

    assert (entry(coroutine).isolation, entry(lambda: None).isolation) == ("async", "thread")


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (lambda: None, {"timeout": "10"}, "unit"),
        (lambda: None, {"timeout": 10}, "timeout"),
        (lambda: None, {"timeout": "0s"}, "timeout"),
        (lambda: None, {"retry": {"max_attempts": 3}}, "max_attempts"),
        (lambda: None, {"retry": {"attempts": 0}}, "attempts"),
        (lambda: None, {"retry": {"backoff": "wild"}}, "wild"),
        (lambda: None, {"isolation": "container"}, "container"),
        (lambda: None, {"isolation": "async"}, "plain function"),
        (coroutine, {"isolation": "thread"}, "async function"),
        (lambda: None, {"isolation": "process"}, "top level"),
        (coroutine, {"memory": "lots"}, "memory"),
        (generator, {}, "generator"),
        (print, {}, "only functions"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_where_it_is_written(
    function: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        entry(function, **options)
    assert "subject" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a..b", "1a", "x" * 201, "a/b", 7])
def test_a_name_that_no_document_could_write_is_refused(name: Any) -> None:
    with pytest.raises(UsageError):
        activity(name)(coroutine)


def test_a_decorator_above_activity_is_not_passed_by() -> None:
    @activity("inner")
    def inner() -> str:
        return "inner"

    @functools.wraps(inner)
    def outer() -> str:
        return f"outer {inner()}"

    found = declared(outer)
    assert found is not None
    assert found.function() == "outer inner"


def test_what_is_no_activity_has_no_declaration() -> None:
    assert declared(coroutine) is declared(3) is declared(Activity) is None


# --- binding


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Item:
    sku: str
    price: Decimal
    tags: list[str] = dataclasses.field(default_factory=list)


class Address(TypedDict):
    city: str


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Model:
    """Shaped like a pydantic model."""

    def __init__(self, n: int) -> None:
        self.n = n

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if not isinstance(value, dict) or "n" not in value:
            raise ValueError("n is required")
        return cls(value["n"])

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return {"n": self.n, "mode": mode}


def bind(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    return entry(function).binding.bind(arguments)


CONVERSIONS: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 3, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (Any, {"x": [1]}, {"x": [1]}),
    (dict[str, Any], {"x": 1}, {"x": 1}),
    (list[int], [1, 2], [1, 2]),
    (set[int], [1, 2, 2], {1, 2}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (str | None, None, None),
    (int | str, "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (Decimal, "1.10", Decimal("1.10")),
    (UUID, "12345678123456781234567812345678", UUID(int=0x12345678123456781234567812345678)),
    (Colour, "red", Colour.RED),
    (Item, {"sku": "a", "price": 2}, Item("a", Decimal(2))),
    (list[Item], [{"sku": "a", "price": 2, "tags": ["x"]}], [Item("a", Decimal(2), ["x"])]),
    (Address, {"city": "Bern"}, {"city": "Bern"}),
    (Point, {"x": 1}, Point(1)),
    (bytes, "aGk=", b"hi"),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), CONVERSIONS, ids=lambda value: str(value)[:40])
def test_an_argument_becomes_what_its_annotation_says(annotation: Any, value: Any, expected: Any) -> None:
    def function(it: Any) -> None: ...

    function.__annotations__["it"] = annotation
    bound = bind(function, it=value)
    assert bound == {"it": expected}
    assert type(bound["it"]) is type(expected)


MISFITS: list[tuple[Any, Any]] = [
    (int, "1"),
    (int, True),
    (int, 1.5),
    (str, 1),
    (str, None),
    (dict, []),
    (list[int], ["a"]),
    (Literal["a"], "c"),
    (datetime, "yesterday"),
    (Colour, "blue"),
    (Item, {"sku": "a"}),
    (Model, {}),
    (Callable, 1),
]


@pytest.mark.parametrize(("annotation", "value"), MISFITS, ids=lambda value: str(value)[:40])
def test_an_argument_that_does_not_fit_is_named(annotation: Any, value: Any) -> None:
    def function(it: Any) -> None: ...

    function.__annotations__["it"] = annotation
    with pytest.raises(InvalidInput, match="argument 'it'") as caught:
        bind(function, it=value)
    assert caught.value.details == {"argument": "it"}


def test_a_model_that_validates_itself_is_asked_to() -> None:
    def function(it: Model) -> None: ...

    assert bind(function, it={"n": 3})["it"].n == 3


def test_without_an_annotation_a_value_comes_as_it_is() -> None:
    def function(it) -> None: ...  # type: ignore[no-untyped-def]

    value = {"any": ["thing"]}
    assert bind(function, it=value)["it"] is value


def test_a_missing_argument_is_named_with_what_was_given_instead() -> None:
    def function(amount: int, key: str = "k") -> None: ...

    with pytest.raises(InvalidInput, match="needs the argument 'amount'; it was given 'amuont'"):
        bind(function, amuont=1)


def test_an_unknown_argument_is_named_with_the_nearest_known_one() -> None:
    def function(amount: int = 0, key: str = "k") -> None: ...

    with pytest.raises(InvalidInput, match="takes no argument 'amuont'; did you mean 'amount'"):
        bind(function, amuont=1)


def test_an_argument_that_was_left_out_keeps_the_functions_default() -> None:
    def function(a: int, b: int = 2) -> int:
        return a + b

    assert play(function, {"a": 1}).value == b"3"


def test_keyword_arguments_take_the_rest() -> None:
    def function(a: int, **rest: Any) -> None: ...

    assert bind(function, a=1, b=2, c=3) == {"a": 1, "b": 2, "c": 3}


def star(*values: int) -> None: ...


def positional(value: int, /) -> None: ...


def unresolved(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def ambiguous(value: list[int] | set[int]) -> None: ...


@pytest.mark.parametrize("function", [star, positional, unresolved, ambiguous])
def test_a_signature_that_cannot_be_called_by_name_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="subject"):
        _ = entry(function).binding


def test_a_context_imported_for_type_checkers_only_is_understood() -> None:
    def function(ctx: LaterContext) -> str:
        return ctx.run_id

    function.__annotations__["ctx"] = "ActivityContext"
    apart = types.FunctionType(function.__code__, {}, "function")  # a module that does not know the name
    apart.__annotations__ = function.__annotations__
    assert entry(apart).binding.context == "ctx"


# --- results


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"null"),
        ({"b": 1, "a": [True, 1.5, "é"]}, '{"a":[true,1.5,"é"],"b":1}'.encode()),
        (Item("a", Decimal("1.10")), b'{"price":"1.10","sku":"a","tags":[]}'),
        ([Point(1)], b'[{"x":1,"y":0}]'),
        ((1, (2, 3)), b"[1,[2,3]]"),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, b'{"at":"2026-01-02T00:00:00Z"}'),
        (Colour.RED, b'"red"'),
        ({"m": Model(1)}, b'{"m":{"mode":"json","n":1}}'),
    ],
)
def test_a_result_becomes_canonical_json(value: Any, data: bytes) -> None:
    assert result_bytes(value, "subject") == data


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> Any:
    value: Any = ()
    for _ in range(100_000):
        value = (value,)
    return value


def shared() -> Any:
    value: Any = (1,)
    for _ in range(60):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {"a": [1, {2}]},
        b"bytes",
        float("nan"),
        2**64,
        "\ud800",
        {1: 2},
        (n for n in [1]),
        lambda: None,
        cyclic(),
        {"a": Item("a", Decimal(1), [b"x"])},  # type: ignore[list-item]
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_is_not_json_is_invalid_output(value: Any) -> None:
    with pytest.raises(InvalidOutput, match="the result of subject"):
        result_bytes(value, "subject")


def test_a_result_that_is_nested_too_deep_is_invalid_output() -> None:
    with pytest.raises(InvalidOutput):
        result_bytes(deep(), "subject")


def test_the_place_in_a_result_that_is_not_json_is_named() -> None:
    with pytest.raises(InvalidOutput, match=r"\$\.a\[3\]"):
        result_bytes({"a": [1, 2, 3, {4}]}, "subject")


@pytest.mark.parametrize("value", ["x" * (1 << 20), shared()], ids=["long", "shared"])
def test_a_result_over_the_limit_is_payload_too_large(value: Any) -> None:
    with pytest.raises(PayloadTooLarge):
        result_bytes(value, "subject")


# --- attempts


async def in_a_coroutine(n: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"n": n}


def in_a_thread(n: int) -> dict[str, int]:
    assert threading.current_thread() is not threading.main_thread()
    return {"n": n}


@pytest.mark.parametrize("function", [in_a_coroutine, in_a_thread])
def test_a_result_is_handed_over_once(function: Callable[..., Any]) -> None:
    stage = Stage(function)
    assert stage.play(args={"n": 1}) == Outcome(value=b'{"n":1}')
    assert len(stage.outcomes) == 1


def test_the_context_tells_an_activity_about_its_attempt() -> None:
    async def function(anything: ActivityContext) -> list[Any]:
        ctx = anything
        return [
            *(ctx.run_id, ctx.workflow, ctx.version, ctx.path, ctx.attempt, ctx.idempotency_key),
            *(ctx.deadline, ctx.principal, ctx.trace_id, ctx.last_heartbeat, ctx.cancelled),
        ]

    told = (
        b'["order-1","order",2,"charge",3,"order-1/charge",'
        b'"2023-11-14T22:13:20Z","ada","trace",{"page":7},false]'
    )
    assert play(function).value == told


def test_a_context_can_be_made_by_hand() -> None:
    def function(n: int, ctx: ActivityContext) -> int:
        ctx.heartbeat({"n": n})
        ctx.logger.info("here")
        return n * ctx.attempt

    assert entry(function).function(2, ActivityContext(attempt=2)) == 4


class Refused(Exception):
    def __init__(self) -> None:
        super().__init__("refused by the bank")
        self.details = {"code": 51}


class Declined(Refused):
    pass


def test_an_exception_becomes_a_failure_with_types_details_and_cause() -> None:
    def function() -> None:
        try:
            raise KeyError("card")
        except KeyError as error:
            raise Declined from error

    found = failure(play(function))
    assert (found.type, found.types) == ("Declined", ("Declined", "Refused"))
    assert (found.message, found.details) == ("refused by the bank", {"code": 51})
    assert found.cause is not None
    assert found.cause.type == "KeyError"


def test_an_activity_error_chooses_its_type() -> None:
    def function() -> None:
        raise ActivityError("none left", type="OutOfStock", details=[1])

    found = failure(play(function))
    assert (found.type, found.types, found.details) == ("OutOfStock", ("OutOfStock",), [1])


@pytest.mark.parametrize("details", [object(), float("nan"), "x" * 100_000])
def test_details_that_are_no_small_json_are_left_out(details: Any) -> None:
    def function() -> None:
        raise ActivityError("no", details=details)

    assert failure(play(function)).details is None


class Hostile(Exception):
    def __str__(self) -> str:
        raise SystemExit

    @property
    def details(self) -> Any:
        raise KeyboardInterrupt


def test_an_exception_that_resists_is_a_failure_all_the_same() -> None:
    def function() -> None:
        error = Hostile()
        error.__cause__ = error
        raise error

    assert failure(play(function)).type == "Hostile"


ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException, MemoryError]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("isolation", ["async", "thread"])
def test_whatever_an_activity_raises_is_a_failed_attempt(ending: type[BaseException], isolation: str) -> None:
    def plain() -> None:
        raise ending

    async def coroutine() -> None:
        raise ending

    outcome = play(coroutine if isolation == "async" else plain)
    assert failure(outcome).type == ending.__name__
    assert not outcome.uncertain


def test_arguments_that_do_not_fit_fail_the_attempt_before_anything_happens() -> None:
    outcome = play(in_a_coroutine, {"m": 1})
    assert failure(outcome).type == "InvalidInput"
    assert not outcome.uncertain


@pytest.mark.parametrize(
    ("value", "type_"),
    [(object(), "InvalidOutput"), ("x" * 100_000_000, "PayloadTooLarge")],
    ids=["object", "100 MB"],
)
def test_an_unusable_result_leaves_open_what_happened(value: Any, type_: str) -> None:
    def function() -> Any:
        return value

    outcome = play(function)
    assert failure(outcome).type == type_
    assert outcome.uncertain


# --- time


async def hanging_coroutine() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # one that will not hear
            return


def hanging_thread() -> None:
    threading.Event().wait()


@pytest.mark.parametrize("function", [hanging_coroutine, hanging_thread])
def test_an_attempt_without_an_answer_times_out_once(function: Callable[..., Any]) -> None:
    stage = Stage(function)
    outcome = stage.play(timeout=20)
    assert failure(outcome).type == "Timeout"
    assert outcome.uncertain
    assert not outcome.cancelled
    assert len(stage.outcomes) == 1


def test_the_loop_does_not_wait_for_a_coroutine_that_never_heeds_nor_complains(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def function() -> None:
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                continue

    assert failure(play(function, timeout=20)).type == "Timeout"
    gc.collect()
    assert caplog.records == []


def test_a_result_after_the_timeout_is_ignored() -> None:
    async def function() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            return "late"  # noqa: B012  # swallowing the cancellation is the point

    stage = Stage(function)
    assert failure(stage.play(timeout=20)).type == "Timeout"
    assert len(stage.outcomes) == 1


def test_an_attempt_without_a_heartbeat_has_lost_it() -> None:
    async def function(ctx: ActivityContext) -> None:
        ctx.heartbeat({"done": 1})
        await asyncio.Event().wait()

    outcome = play(function, heartbeat_timeout=20)
    assert failure(outcome).type == "HeartbeatTimeout"
    assert outcome.uncertain
    assert outcome.heartbeat == b'{"done":1}'


def test_an_attempt_that_beats_outlives_its_heartbeat_timeout() -> None:
    async def function(ctx: ActivityContext) -> int:
        for beat in range(8):
            await asyncio.sleep(0.1)
            ctx.heartbeat(beat)
        return 1

    assert play(function, heartbeat_timeout=600) == Outcome(value=b"1", heartbeat=b"7")


def test_of_a_thousand_heartbeats_a_few_are_passed_on() -> None:
    """The first at once, for who knows when the process dies; then the latest of each second."""

    async def function(ctx: ActivityContext) -> None:
        rows: dict[str, int] = {}
        for row in range(2500):
            rows["row"] = row
            ctx.heartbeat(rows)
            await asyncio.sleep(0.001)
            ctx.heartbeat()

    heard: list[bytes] = []
    loop = VirtualTimeLoop()

    async def scene() -> Outcome:
        performer = Performer({"subject": entry(function)}, resolve_secret=lambda name: None, loop=loop)
        ended: asyncio.Future[Outcome] = loop.create_future()
        attempt = msgspec.structs.replace(ATTEMPT, args={}, timeout=60_000)
        performer.perform(attempt, ended.set_result, heard.append)
        return await ended

    outcome = run_in_virtual_time(scene(), loop)
    assert outcome.heartbeat == b'{"row":2499}'
    assert [round(msgspec.json.decode(details)["row"], -2) for details in heard] == [0, 1000, 2000]


def test_a_secret_that_a_heartbeat_repeats_is_not_passed_on() -> None:
    heard: list[bytes] = []

    async def function(headers: Any, plain: Any, ctx: ActivityContext) -> None:
        ctx.heartbeat({TOKEN: [headers]})
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    Stage(function, secrets={"TOKEN": TOKEN}).play(**SECRET_ARGS, heard=heard.append)
    assert heard
    assert TOKEN.encode() not in heard[0]
    assert b"***" in heard[0]


def test_a_heartbeat_that_is_not_json_is_refused_to_the_activity() -> None:
    def function(ctx: ActivityContext) -> None:
        ctx.heartbeat(object())

    assert failure(play(function)).type == "InvalidInput"


def test_time_begins_with_the_call_and_not_in_the_queue() -> None:
    """One thread for two attempts: the second waits for the first longer than it may take itself."""
    calls: list[int] = []
    release = threading.Event()

    def function(n: int) -> None:
        calls.append(n)
        if n == 1:
            release.wait()

    async def scene() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        performer = Performer({"subject": entry(function)}, resolve_secret=nobody, loop=loop, threads=1)
        ended: asyncio.Queue[Outcome] = asyncio.Queue()
        performer.perform(msgspec.structs.replace(ATTEMPT, args={"n": 1}), ended.put_nowait)
        performer.perform(msgspec.structs.replace(ATTEMPT, args={"n": 2}, timeout=100), ended.put_nowait)
        loop.call_later(0.2, release.set)
        return [await ended.get(), await ended.get()]

    assert asyncio.run(scene()) == [Outcome(value=b"null")] * 2
    assert calls == [1, 2]


def test_a_thread_that_hangs_does_not_keep_its_place() -> None:
    async def scene() -> list[str | None]:
        performer = Performer(
            {"subject": entry(hanging_thread)},
            resolve_secret=nobody,
            loop=asyncio.get_running_loop(),
            threads=1,
        )
        ended: asyncio.Queue[Outcome] = asyncio.Queue()
        for _ in range(3):
            performer.perform(msgspec.structs.replace(ATTEMPT, timeout=20), ended.put_nowait)
        return [failure(await ended.get()).type for _ in range(3)]

    assert asyncio.run(scene()) == ["Timeout"] * 3


# --- cancellation


def soon_told(handle: Any, performer: Performer) -> None:
    performer.loop.call_later(0.01, handle.cancel)


def test_a_coroutine_that_is_told_is_interrupted_and_uncertain() -> None:
    async def function() -> None:
        await asyncio.Event().wait()

    outcome = Stage(function).play(then=soon_told)
    assert failure(outcome).type == "Cancelled"
    assert outcome.uncertain
    assert outcome.cancelled


def test_an_activity_that_answers_after_it_was_told_has_succeeded() -> None:
    async def function(ctx: ActivityContext) -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ctx.cancelled
        return False

    outcome = Stage(function).play(then=soon_told)
    assert outcome == Outcome(value=b"true")


def test_an_activity_that_fails_after_it_was_told_keeps_its_error() -> None:
    async def function() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    outcome = Stage(function).play(then=soon_told)
    assert failure(outcome).type == "ValueError"
    assert outcome.cancelled
    assert not outcome.uncertain


def test_a_thread_sees_that_it_was_told() -> None:
    def function(ctx: ActivityContext) -> str:
        while not ctx.cancelled:
            started.set()
        return "stopped"

    def tell(handle: Any, performer: Performer) -> None:
        started.wait()
        handle.cancel()

    started = threading.Event()
    assert Stage(function).play(then=tell) == Outcome(value=b'"stopped"')


def test_an_activity_that_does_not_heed_still_times_out() -> None:
    def function() -> None:
        threading.Event().wait()

    outcome = Stage(function).play(then=lambda handle, _: handle.cancel(), timeout=20)
    assert failure(outcome).type == "Timeout"
    assert outcome.cancelled


def test_what_is_told_before_it_began_has_certainly_done_nothing() -> None:
    calls: list[int] = []

    async def function() -> None:
        calls.append(1)

    outcome = Stage(function).play(then=lambda handle, _: handle.cancel())
    assert failure(outcome).type == "Cancelled"
    assert (outcome.cancelled, outcome.uncertain, calls) == (True, False, [])


def test_nothing_comes_after_closing() -> None:
    async def scene() -> list[Outcome]:
        outcomes: list[Outcome] = []
        performer = Performer(
            {"subject": entry(coroutine)}, resolve_secret=nobody, loop=asyncio.get_running_loop()
        )
        performer.perform(ATTEMPT, outcomes.append)
        performer.close()
        for _ in range(5):
            await asyncio.sleep(0)
        return outcomes

    assert asyncio.run(scene()) == []


# --- secrets

TOKEN = "s3cr3t-token"
SECRET_ARGS: dict[str, Any] = {
    "args": {"headers": [{"a/b": None}], "plain": 1},
    "secrets": {"/headers/0/a~1b": ["Bearer ", SecretRef("TOKEN")]},
}


def test_a_secret_is_put_in_just_before_the_call() -> None:
    seen: list[Any] = []

    def function(headers: list[Any], plain: int) -> None:
        seen.append(headers)

    given = msgspec.structs.replace(ATTEMPT, **SECRET_ARGS)
    Stage(function, secrets={"TOKEN": TOKEN}).play(args=given.args, secrets=given.secrets)
    assert seen == [[{"a/b": f"Bearer {TOKEN}"}]]
    assert given.args["headers"] == [{"a/b": None}]


def test_a_missing_secret_is_said_before_anything_happens() -> None:
    stage = Stage(lambda headers, plain: None)
    with pytest.raises(MissingSecret, match="TOKEN") as caught:
        stage.play(**SECRET_ARGS)
    assert caught.value.name == "TOKEN"
    assert stage.outcomes == []


def test_a_secret_comes_back_in_no_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def answers(headers: Any, plain: int, ctx: ActivityContext) -> Any:
        ctx.heartbeat({TOKEN: [TOKEN]})
        ctx.logger.info("with %s", headers)
        return {"echo": headers, TOKEN: f"<{TOKEN}>"}

    def raises(headers: Any, plain: int) -> None:
        try:
            raise KeyError(TOKEN)
        except KeyError as error:
            raise ActivityError(f"no entry for {TOKEN}", details=[TOKEN]) from error

    def mistyped(headers: Literal["x"], plain: Any) -> None: ...

    def long(headers: Any, plain: int) -> None:
        raise ValueError("x" * (4096 - 8) + TOKEN)

    for function in (answers, raises, mistyped, long):
        outcome = Stage(function, secrets={"TOKEN": TOKEN}).play(**SECRET_ARGS)
        assert TOKEN not in repr(outcome)
        assert TOKEN[:6] not in repr(outcome)
    assert "with" in caplog.text
    assert TOKEN not in caplog.text


# --- description


def test_an_activity_describes_itself() -> None:
    def charge(amount: Decimal, item: Item, ctx: ActivityContext, note: str = "none") -> Item:
        """Charge a card."""
        return item

    shown = describe(entry(charge, timeout="10s", retry={"delay": "2s"}))
    assert shown["doc"] == "Charge a card."
    assert [(p["name"], p["required"], p["default"]) for p in shown["parameters"]] == [
        ("amount", True, None),
        ("item", True, None),
        ("note", False, "none"),
    ]
    assert shown["parameters"][0]["schema"]["type"] == "string"
    assert "Item" in shown["result"]["$ref"]
    assert shown["policy"]["timeout"] == "10s"
    assert shown["policy"]["retry"]["delay"] == "2s"
    assert shown["origin"].rpartition(":")[0] == __file__
    msgspec.json.encode(shown)
