"""flowctl from Python: engines, handles and scripts, on real databases, with real threads."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import flowctl
from flowctl import Engine, Handle, Steps, Workflow, activity, expr
from flowctl.backends import open_backend
from flowctl.errors import (
    InvalidDocument,
    InvalidInput,
    NotFound,
    RunCancelled,
    RunClosed,
    RunCompensated,
    RunCompensationFailed,
    RunFailed,
    RunIdConflict,
    RunNotFound,
    RunTerminated,
    RunUnfinished,
    StorageError,
    UnknownActivity,
    UnknownSignal,
    UsageError,
)
from flowctl.state import RunStatus
from flowctl.testing.python import run_workflow
from tests.collector import collector
from tests.console import reader

QUICK = "{dsl: 1, name: quick, steps: [{return: {answer: 42}}]}"
WAITS = """
dsl: 1
name: waits
signals: {go: {payload: {type: object}}}
steps: [{id: go, wait_for_signal: go}]
output: ${{ steps.go.output.payload }}
"""


class Declined(Exception):
    pass


@activity("bank.charge")
def charge(amount: float) -> dict[str, float]:
    if amount > 100:
        raise Declined("the card is declined")
    return {"charged": amount}


@activity("bank.refund")
def refund(amount: float) -> None:
    if amount < 0:
        raise Declined("nobody takes it back")


@activity("shop.ship")
def ship(amount: float) -> None:
    if amount > 50 or amount < 0:
        raise Declined("too heavy")


PLUGINS = [charge, refund, ship]


def order() -> Workflow:
    amount = {"amount": expr("input.amount")}
    return (
        Workflow("order")
        .input({"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}})
        .step(
            "charge",
            charge,
            amount,
            compensate={"activity": refund, "with": amount, "retry": False},
        )
        .step("ship", ship, amount)
        .output(expr("steps.charge.output"))
    )


@pytest.fixture(autouse=True)
def nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project of its own, in the present folder."""
    (tmp_path / ".flowctl").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)


def play(scene: Callable[[Engine], Any], **how: Any) -> Any:
    """A scene with an engine, on a loop of its own."""

    async def playing() -> Any:
        async with Engine(how.pop("db", "runs.db"), **how) as engine:
            return await scene(engine)

    return asyncio.run(playing())


# --- scripts


def test_a_script_gets_the_output_of_a_run() -> None:
    assert flowctl.run(QUICK) == {"answer": 42}
    assert Path(".flowctl/flowctl.db").exists()  # where the command line would look, too


def test_a_script_runs_files_deployed_versions_and_workflows(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text(QUICK)
    assert flowctl.run("quick.yaml") == flowctl.run(tmp_path / "quick.yaml") == {"answer": 42}
    with contextlib.closing(open_backend(".flowctl/flowctl.db")) as backend:
        loaded = Workflow.from_yaml(QUICK).load()
        backend.deploy(loaded.workflow, loaded.source)
    assert flowctl.run("quick") == flowctl.run("quick@1") == {"answer": 42}
    assert flowctl.run(Workflow("w").return_([1])) == [1]


def test_a_script_that_is_run_again_with_an_id_gets_the_same_run() -> None:
    calls: list[int] = []

    @activity("count.up")
    def count() -> int:
        calls.append(1)
        return len(calls)

    counting = Workflow("counting").step("count", count)
    assert [flowctl.run(counting, id="once", plugins=[count]) for _ in range(2)] == [1, 1]
    with pytest.raises(RunIdConflict):
        flowctl.run(QUICK, id="once")


@pytest.mark.parametrize(
    ("amount", "error", "says"),
    [
        (500, RunFailed, "failed: Declined at charge: the card is declined"),
        (70, RunCompensated, "was undone: Declined at ship: too heavy"),
        (-1, RunCompensationFailed, r"could not be undone: .*\(not undone: charge\)"),
    ],
)
def test_a_run_that_did_not_complete_raises_how_it_ended(
    amount: float, error: type[flowctl.RunError], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        flowctl.run(order(), {"amount": amount}, plugins=PLUGINS)
    found = raised.value
    assert found.error is not None
    assert (found.error["type"], found.status) == ("Declined", found.document["status"])
    assert found.saga["undone"] == (["charge"] if amount == 70 else [])
    assert found.id in str(found)


def test_what_is_wrong_before_a_run_is_accepted_accepts_none() -> None:
    attempts: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: flowctl.run("gone.yaml", db="x.db"), UsageError),
        (lambda: flowctl.run("gone", db="x.db"), NotFound),
        (lambda: flowctl.run("{dsl: 1, name: x, steps: [{slep: 1h}]}", db="x.db"), InvalidDocument),
        (lambda: flowctl.run(order(), {"amount": "much"}, db="x.db", plugins=PLUGINS), InvalidInput),
        (lambda: flowctl.run(order(), [1], db="x.db", plugins=PLUGINS), InvalidInput),
        (lambda: flowctl.run(QUICK, {"set": {1}}, db="x.db"), InvalidInput),
        (lambda: flowctl.run(order(), {"amount": 1}, db="x.db"), UnknownActivity),
        (lambda: flowctl.run(QUICK, db="x.db", wait="soon"), UsageError),
        (lambda: flowctl.run(QUICK, db="postgres://x"), UsageError),
    ]
    for what, error in attempts:
        with pytest.raises(error):
            what()
    with contextlib.closing(open_backend("x.db")) as backend:
        assert backend.select() == []


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (WAITS, "waits for signal go .*flowctl signal"),
        ("{dsl: 1, name: naps, steps: [{sleep: 1h}]}", "waits for timer until"),
        (
            "{dsl: 1, name: s, secrets: [T], steps:"
            " [{id: a, activity: core.echo, with: {value: '${{ secrets.T }}'}}]}",
            "is blocked: nobody here has the secret T",
        ),
    ],
)
def test_a_run_that_only_waits_says_for_what_and_how_to_go_on(document: str, says: str) -> None:
    with pytest.raises(RunUnfinished, match=says) as raised:
        flowctl.run(document, wait=timedelta(seconds=1), id="it")
    assert "id='it'" in str(raised.value)


def test_errors_show_the_callers_line_and_not_how_deep_inside_they_were_noticed() -> None:
    with pytest.raises(UnknownActivity) as raised:
        flowctl.run(order(), {"amount": 1})
    assert len(raised.traceback) == 2  # here, and flowctl.run


def test_a_script_may_be_called_where_a_loop_runs_as_in_a_notebook() -> None:
    async def cell() -> Any:
        return flowctl.run(QUICK)

    assert asyncio.run(cell()) == {"answer": 42}


SCRIPT = """
import sys, threading, flowctl

@flowctl.activity("a.hangs")
def hangs() -> None:
    print("under way", flush=True)
    threading.Event().wait(30)

flowctl.run("{dsl: 1, name: a, steps: [{id: a, activity: a.hangs}]}", id="mine", db="i.db", plugins=[hangs])
"""


def test_ctrl_c_leaves_a_run_that_can_be_resumed_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "run mine was interrupted; nothing durable is lost: `flowctl resume mine` goes on" in errors
    assert "asyncio" not in errors
    with contextlib.closing(open_backend("i.db")) as backend:
        assert backend.select() == [{"id": "mine", "status": "running"}]
        assert not backend.is_live("mine")


def test_the_collector_of_the_program_is_left_as_it_is() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    flowctl.run(QUICK)
    play(lambda engine: engine.run(QUICK))
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


# --- plugins


def test_plugins_are_modules_their_names_functions_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import flowctl\n@flowctl.activity('greet.{0}')\ndef greet() -> str:\n    return '{0}'\n"
    (tmp_path / "named_greeter.py").write_text(source.format("name"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "greeter.py").write_text(source.format("folder"))
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("given")
    exec(source.format("module"), module.__dict__)
    both = Workflow("w").parallel(
        {kind: Steps().step("greet", f"greet.{kind}") for kind in ("name", "folder", "module")}
    )
    made = flowctl.run(both, plugins=["named_greeter", module], plugins_dir="folder")
    assert made == {"name": "name", "folder": "folder", "module": "module"}


@pytest.mark.parametrize(
    ("plugins", "says"),
    [
        (["no_such_module"], "there is no module 'no_such_module'"),
        (["breaks"], "the plugin breaks cannot be imported: ZeroDivisionError"),
        ([len], "the function len is not an activity.*@flowctl.activity"),
        ([Path("shop.py")], "is not a plugin.*plugins_dir"),
        ("shop", "plugins is not a list"),
        (contextlib, "plugins is not a list"),
    ],
)
def test_a_plugin_that_is_none_is_named_at_once(
    plugins: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=says):
        flowctl.run(QUICK, plugins=plugins)


# --- engines


def test_an_engine_starts_runs_executes_them_and_gives_their_results() -> None:
    async def scene(engine: Engine) -> Any:
        handle = await engine.start(order(), {"amount": 5}, id="first")
        again = await engine.start(order(), {"amount": 5}, id="first")
        assert (handle.created, again.created, again.id) == (True, False, "first")
        assert await handle.result() == {"charged": 5}
        assert (await handle.status())["steps"][0]["path"] == "charge"
        assert [run["id"] for run in await engine.runs(workflow="order", status="completed")] == ["first"]
        assert await engine.runs(status="failed") == []
        return await engine.run(QUICK)

    assert play(scene, plugins=PLUGINS) == {"answer": 42}


def test_input_may_be_typed_data() -> None:
    @dataclasses.dataclass
    class Amount:
        amount: float

    assert play(lambda engine: engine.run(order(), Amount(7)), plugins=PLUGINS) == {"charged": 7}


def test_many_runs_are_waited_for_at_once() -> None:
    async def scene(engine: Engine) -> list[Any]:
        handles = [await engine.start(order(), {"amount": number}) for number in range(1, 31)]
        return list(await asyncio.gather(*(handle.result() for handle in handles)))

    assert play(scene, plugins=PLUGINS) == [{"charged": number} for number in range(1, 31)]


def test_a_run_is_told_and_its_events_are_seen_as_they_come() -> None:
    async def scene(engine: Engine) -> None:
        handle = await engine.start(WAITS)
        seen = []
        async for event in handle.events():
            seen.append((event["path"], event["kind"]))
            if seen[-1] == ("go", "started"):
                with pytest.raises(UnknownSignal):
                    await handle.signal("gone")
                with pytest.raises(InvalidInput):
                    await handle.signal("go", "no object")
                for _ in range(2):
                    await handle.signal("go", {"by": "Ada"}, dedup_id="once", principal="ada")
        assert seen[0] == ("", "created")
        assert seen[-1] == ("", "ended")
        assert await handle.result() == {"by": "Ada"}
        await handle.signal("go", {"by": "Ada"}, dedup_id="once")
        with pytest.raises(RunClosed):
            await handle.signal("go", {"by": "Ada"}, dedup_id="another")
        assert [(each["path"], each["kind"]) for each in await handle.history()] == seen

    play(scene)


def test_a_run_can_be_cancelled_terminated_paused_retried_and_replayed() -> None:
    trouble = [True]

    @activity("a.may")
    def may() -> str:
        if trouble:
            raise Declined("not yet")
        return "done"

    async def scene(engine: Engine) -> None:
        one, two, three = [await engine.start(WAITS) for _ in range(3)]
        await one.cancel("no need", principal="ada")
        with pytest.raises(RunCancelled, match="no need"):
            await one.result()
        await two.terminate()
        with pytest.raises(RunTerminated):
            await two.result()
        with pytest.raises(RunClosed):
            await two.signal("go", {})
        await three.pause()
        await three.unpause()
        await three.signal("go", {"three": 3})
        assert (await three.wait())["output"] == {"three": 3}

        failed = await engine.start(Workflow("may").step("may", may))
        with pytest.raises(RunFailed):
            await failed.result()
        trouble.clear()
        await failed.retry()
        assert await failed.result() == "done"
        repeated = await failed.replay("may")
        assert repeated.id != failed.id
        assert await repeated.result() == "done"

    play(scene, plugins=[may])


def test_a_chain_of_runs_is_followed_to_its_last() -> None:
    counting = (
        Workflow("count")
        .input({"properties": {"n": {"type": "integer"}}})
        .switch(("input.n < 3", Steps().continue_as_new({"n": expr("input.n + 1")})))
        .return_(expr("input.n"))
    )

    async def scene(engine: Engine) -> Any:
        handle = await engine.start(counting, {"n": 0}, id="chain")
        result = await handle.result()
        assert (await engine.handle("chain").status())["id"] == "chain~4"
        return result

    assert play(scene) == 3


def test_waiting_can_be_given_up_and_the_run_goes_on() -> None:
    async def scene(engine: Engine) -> Any:
        handle = await engine.start(WAITS)
        waiting = asyncio.create_task(handle.result())
        async for event in handle.events():
            if event["path"] == "go":
                break
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await handle.signal("go", {"still": "here"})
        return await handle.result()

    assert play(scene) == {"still": "here"}


def test_a_run_that_is_blocked_does_not_let_its_caller_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = Workflow("s").secrets("T").step("a", "core.echo", {"value": expr("secrets.T")})

    async def scene(engine: Engine) -> None:
        with pytest.raises(RunUnfinished, match="nobody here has the secret T"):
            await engine.run(echo)

    play(scene)


def test_runs_outlive_their_engine() -> None:
    async def first(engine: Engine) -> str:
        return (await engine.start(WAITS)).id

    async def second(engine: Engine) -> Any:
        handle = engine.handle(run_id)
        await handle.signal("go", {"second": True})
        return await handle.result()

    run_id = play(first)
    with contextlib.closing(open_backend("runs.db")) as backend:
        assert not backend.is_live(run_id)
    assert play(second) == {"second": True}


HANGS = """
import asyncio, sys, threading, flowctl

@flowctl.activity("a.step")
def step() -> None:
    print("under way", flush=True)
    threading.Event().wait(60)

async def main():
    engine = flowctl.Engine("runs.db", plugins=[step])
    handle = await engine.start("{dsl: 1, name: a, steps: [{id: a, activity: a.step}]}", id="mine")
    await handle.result()

async def leaves():
    engine = flowctl.Engine("runs.db", plugins=[step])
    await engine.start("{dsl: 1, name: a, steps: [{id: a, activity: a.step}]}", id="mine")

asyncio.run(leaves() if "leave" in sys.argv else main())
"""


def test_a_program_that_was_killed_is_succeeded_by_the_next() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        process.kill()
    assert _goes_on() == "done by the next"


def test_a_program_that_ends_without_closing_its_engine_ends_and_leaves_its_runs() -> None:
    subprocess.run([sys.executable, "-c", HANGS, "leave"], check=True, timeout=30, stdout=subprocess.PIPE)
    assert _goes_on() == "done by the next"


def _goes_on() -> Any:
    @activity("a.step")
    def step() -> str:
        return "done by the next"

    return play(lambda engine: engine.handle("mine").result(), plugins=[step])


def test_who_waits_hears_that_the_storage_failed() -> None:
    async def scene(engine: Engine) -> None:
        handle = await engine.start(WAITS)
        async for event in handle.events():
            if event["path"] == "go":
                break
        os.rename("runs.db", "elsewhere.db")
        with pytest.raises(StorageError):
            await handle.signal("go", {})
        with pytest.raises(StorageError):
            await handle.result()

    play(scene)


def test_an_engine_without_a_worker_leaves_runs_to_others() -> None:
    async def scene() -> Any:
        async with Engine("runs.db", worker=False) as front, Engine("runs.db") as back:
            handle = await front.start(QUICK)
            await back.runs()
            return await handle.result()

    assert asyncio.run(scene()) == {"answer": 42}


def test_a_program_may_be_a_worker_until_nothing_is_due() -> None:
    async def scene(engine: Engine) -> Any:
        handle = await engine.start(QUICK)
        await engine.worker(drain=True)
        return (await handle.status())["output"]

    assert play(scene, worker=False) == {"answer": 42}


def test_a_worker_stops_when_its_task_is_cancelled() -> None:
    async def scene(engine: Engine) -> None:
        work = asyncio.create_task(engine.worker())
        assert await engine.run(QUICK) == {"answer": 42}
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    play(scene, worker=False)
    assert not [thread for thread in threading.enumerate() if thread.name == "flowctl worker"]


def test_several_engines_live_in_one_process_each_with_its_runs() -> None:
    async def scene() -> list[Any]:
        async with Engine("one.db") as one, Engine("two.db") as two, Engine("memory:") as three:
            engines = (one, two, three)
            made = [await engine.start(Workflow("w").return_(n)) for n, engine in enumerate(engines)]
            assert [len(await engine.runs()) for engine in engines] == [1, 1, 1]
            return [await handle.result() for handle in made]

    assert asyncio.run(scene()) == [0, 1, 2]


def test_an_engine_may_be_used_without_a_context_and_from_one_loop_after_another() -> None:
    engine = Engine("memory:")
    handle = asyncio.run(engine.start(QUICK))
    assert asyncio.run(handle.result()) == {"answer": 42}
    asyncio.run(engine.close())
    asyncio.run(engine.close())
    with pytest.raises(UsageError, match="the engine was closed"):
        asyncio.run(engine.runs())


def test_who_waits_hears_that_the_engine_was_closed() -> None:
    async def scene() -> None:
        engine = Engine("memory:")
        handle = await engine.start(WAITS)
        waiting = asyncio.create_task(handle.wait())
        async for event in handle.events():
            if event["path"] == "go":
                break
        await engine.close()
        with pytest.raises(UsageError, match="the engine was closed"):
            await waiting

    asyncio.run(scene())


def test_the_loop_of_the_program_waits_for_no_run() -> None:
    """An activity that holds its thread until the loop has turned: were they one, this would never end."""
    turned = threading.Event()

    @activity("a.waits")
    def waits() -> bool:
        return turned.wait(60)

    @activity("a.blocks")
    async def blocks() -> bool:
        return turned.wait(60)  # even one that does what it must not

    async def scene(engine: Engine) -> list[Any]:
        made = [await engine.start(Workflow("w").step("a", f"a.{name}")) for name in ("waits", "blocks")]
        for handle in made:
            async for event in handle.events():
                if (event["path"], event["kind"]) == ("a", "started"):
                    break
        turned.set()
        return [await handle.result() for handle in made]

    assert play(scene, plugins=[waits, blocks]) == [True, True]


def test_versions_are_deployed_and_started_by_name() -> None:
    async def scene(engine: Engine) -> Any:
        assert [await engine.deploy(QUICK) for _ in range(2)] == [True, False]
        assert [each["name"] for each in await engine.workflows()] == ["quick"]
        return await engine.run("quick@1")

    assert play(scene) == {"answer": 42}


def test_children_are_found_beside_a_file_and_among_what_is_deployed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "quick.yaml").write_text(QUICK)
    (tmp_path / "sub" / "parent.yaml").write_text(
        "{dsl: 1, name: parent, steps: [{id: child, workflow: ./quick.yaml}]}"
    )

    async def scene(engine: Engine) -> list[Any]:
        await engine.deploy(QUICK)
        by_name = Workflow("by_name").workflow("child", "quick")
        return [await engine.run("sub/parent.yaml"), await engine.run(by_name)]

    assert play(scene) == [{"answer": 42}, {"answer": 42}]


def test_what_has_a_child_in_a_file_is_not_deployed(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text(QUICK)
    text = "{dsl: 1, name: parent, steps: [{id: child, workflow: ./quick.yaml}]}"
    (tmp_path / "parent.yaml").write_text(text)
    written = Workflow("written").workflow("child", "./quick.yaml")
    by_way_of = Workflow("grandparent").workflow("w", written)

    async def scene(engine: Engine) -> None:
        await engine.run("parent.yaml")
        for source in ("parent.yaml", text, written, by_way_of):
            with pytest.raises(InvalidDocument) as raised:
                await engine.deploy(source)
            [found] = raised.value.diagnostics
            assert (found.code, "by its name" in str(found.hint)) == ("UnknownWorkflow", True)
        assert await engine.workflows() == []
        assert await engine.run(written) == {"answer": 42}

    play(scene)


def test_a_workflow_brings_the_children_that_it_was_given() -> None:
    innermost = Workflow("innermost").return_("deep")
    child = Workflow("child", version=3).workflow("it", innermost)
    parent = Workflow("parent").workflow("child", child).output({"child": expr("steps.child.output")})
    assert flowctl.run(parent) == {"child": "deep"}
    assert run_workflow(parent).output == {"child": "deep"}

    async def scene(engine: Engine) -> Any:
        assert await engine.deploy(parent)
        assert {each["name"] for each in await engine.workflows()} == {"parent", "child", "innermost"}
        return await engine.run("parent")

    assert play(scene) == {"child": "deep"}
    with pytest.raises(UsageError, match="two workflows child@3"):
        parent.workflow("other", Workflow("child", version=3).sleep("1s")).children()


def test_a_mistake_in_a_workflow_is_found_with_what_the_plugins_know() -> None:
    async def scene(engine: Engine) -> None:
        with pytest.raises(InvalidDocument) as raised:
            await engine.start(Workflow("w").step("charge", charge, {"amuont": 1}))
        [found] = raised.value.diagnostics
        assert (found.code, found.hint) == ("UnknownArgument", "did you mean 'amount'?")
        assert found.file.endswith("test_embedding.py")

    play(scene, plugins=PLUGINS)


def test_slips_get_an_answer_that_helps() -> None:
    with pytest.raises(UsageError, match="async with"), Engine("memory:"):  # type: ignore[attr-defined]
        pass

    async def scene(engine: Engine) -> None:
        with pytest.raises(RunNotFound, match="there is no run nobody"):
            await engine.handle("nobody").result()
        with pytest.raises(UsageError, match="is not a workflow"):
            await engine.start(42)  # type: ignore[arg-type]
        assert repr(engine.handle("x")) == "<flowctl.Handle of x>"

    play(scene)


@pytest.mark.parametrize(
    "filters",
    [
        {"limit": "x"}, {"limit": -1}, {"limit": 0}, {"limit": True}, {"limit": None}, {"limit": 10**30},
        {"status": "foo"}, {"status": ["failed", "foo"]}, {"status": 5}, {"status": None},
        {"workflow": 5}, {"workflow": object()}, {"workflow": "\ud800"},
        {"where": "customer"}, {"where": {"customer": {}}}, {"where": {5: "c-1"}}, {"where": {"n": 10**30}},
    ],
)  # fmt: skip
def test_filters_that_are_none_are_refused_and_the_engine_goes_on(filters: dict[str, Any]) -> None:
    async def scene(engine: Engine) -> None:
        with pytest.raises(InvalidInput):
            await engine.runs(**filters)
        assert await engine.runs(status=("failed", RunStatus.PAUSED), where={"n": (1, "x")}, limit=1) == []

    play(scene, worker=False)


def test_what_is_no_text_is_refused_and_the_engine_goes_on() -> None:
    async def scene(engine: Engine) -> None:
        nothing: Any = object()
        handle = await engine.start(WAITS, id="it")
        for refused in (
            engine.start(WAITS, principal=nothing),
            handle.signal("go", {}, dedup_id=nothing),
            handle.cancel(nothing),
            handle.replay("go", principal="\ud800"),
        ):
            with pytest.raises(InvalidInput):
                await refused
        with pytest.raises(InvalidInput):
            engine.handle(nothing)
        assert [run["id"] for run in await engine.runs()] == ["it"]

    play(scene, worker=False)


def test_a_forgotten_await_is_warned_of() -> None:
    async def scene(engine: Engine) -> None:
        engine.start(QUICK)  # type: ignore[unused-coroutine]

    with pytest.warns(RuntimeWarning, match=r"'Engine.start' was never awaited"):
        play(scene)


def test_a_workflow_is_tested_in_virtual_time() -> None:
    month = (
        Workflow("month", timeout="60d")
        .step("charge", charge, {"amount": 5}, compensate={"activity": refund, "with": {"amount": 5}})
        .sleep("30d")
        .step("ship", ship, {"amount": 5})
    )
    mocks = {"bank.charge": {}, "bank.refund": {}, "shop.ship": {"raise": "Lost"}}
    tested = run_workflow(month, {}, mocks)
    assert (tested.status, tested.elapsed, tested.compensations) == ("compensated", 30 * 86_400, ["charge"])


async def _collect(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


class Ears:
    """A plugin that listens."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @flowctl.hookimpl
    def flowctl_on_event(self, event: dict[str, Any]) -> None:
        self.heard.append(event["type"].removeprefix("dev.flowctl."))


def test_plugins_of_an_engine_and_of_a_script_hear_of_events_before_these_are_over() -> None:
    async def scene(engine: Engine) -> None:
        await (await engine.start(one)).result()

    one = "{dsl: 1, name: one, steps: [{id: a, activity: core.echo}]}"
    ears = Ears()
    play(scene, plugins=[ears])
    assert ears.heard == ["run.started", "step.started", "step.completed", "run.completed"]
    ears = Ears()
    flowctl.run(one, db="memory:", plugins=[ears])
    assert ears.heard == ["run.started", "step.started", "step.completed", "run.completed"]


EMBEDDING = """
import asyncio, flowctl

@flowctl.activity("t.speak")
def speak() -> None:
    from opentelemetry import trace
    with trace.get_tracer("mine").start_as_current_span("in an activity"): ...

async def main() -> None:
    async with flowctl.Engine("t.db", plugins=[speak]) as engine:
        await (await engine.start("{dsl: 1, name: told, steps: [{id: a, activity: t.speak}]}")).result()

asyncio.run(main())
"""


def test_an_engine_in_a_program_exports_traces_as_a_worker_does(tmp_path: Path) -> None:
    with collector() as collected:
        asked = reader() | {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url}
        done = subprocess.run(
            [sys.executable, "-c", EMBEDDING], cwd=tmp_path, env=asked, capture_output=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert collected.tree() == ["run told", "  step a", "    attempt t.speak", "      in an activity"]
    assert collected.count("flowctl.runs.completed") == 1


def test_events_can_be_taken_up_where_one_left_off() -> None:
    async def scene(engine: Engine) -> None:
        handle: Handle = await engine.start(QUICK)
        await handle.result()
        everything = await _collect(handle.events())
        known = everything[1]["seq"]
        later = await _collect(handle.events(after=known))
        assert later == [event for event in everything if event["seq"] > known]

    play(scene)
