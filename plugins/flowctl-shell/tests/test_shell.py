"""Real commands: what is executed, what is refused, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flowctl_shell as shell
from flowctl import ActivityContext
from flowctl.activities.failures import failure_from
from flowctl.plugins import load


@pytest.fixture(autouse=True)
def configure(tmp_path: Path) -> Iterator[Callable[..., None]]:
    def set_up(*commands: str, **settings: Any) -> None:
        shell.flowctl_configure({"commands": list(commands), **settings}, str(tmp_path))

    set_up("sh", "echo", "cat", sys.executable)
    yield set_up
    shell.flowctl_configure({}, ".")


Configure = Callable[..., None]


def run(*argv: str, **options: Any) -> dict[str, Any]:
    ctx = ActivityContext(idempotency_key="order-1/pack")
    return asyncio.run(shell.run(list(argv), ctx, **options))


def refused(error: type[shell.ShellError], *argv: str, **options: Any) -> shell.ShellError:
    with pytest.raises(error) as caught:
        run(*argv, **options)
    return caught.value


def test_a_command_says_what_it_printed_and_how_it_ended() -> None:
    assert run("sh", "-c", "echo out; echo err >&2; exit 3", expect=[0, 3]) == {
        "exit_code": 3,
        "stdout": "out\n",
        "stderr": "err\n",
    }


def test_no_argument_is_ever_a_command(tmp_path: Path) -> None:
    evil = f"; touch {tmp_path}/gone; $(touch {tmp_path}/gone) `touch {tmp_path}/gone`"
    assert run("echo", evil)["stdout"] == evil + "\n"
    assert list(tmp_path.iterdir()) == []


def test_input_goes_in_and_need_not_be_read() -> None:
    assert run("cat", stdin="grüße")["stdout"] == "grüße"
    assert run("echo", stdin="x" * 1_000_000)["stdout"] == "\n"
    assert run("cat")["stdout"] == ""


def test_a_command_has_an_environment_and_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    monkeypatch.setenv("HUSH", "secret")
    configure("sh", environment=["COLOUR"])
    lines = run("sh", "-c", 'env; pwd; touch file; echo "$HOME"', env={"COLOUR": "red"})[
        "stdout"
    ].splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert {"PATH", "HOME", "COLOUR", "FLOWCTL_IDEMPOTENCY_KEY"} <= names
    assert "HUSH" not in names
    assert "FLOWCTL_IDEMPOTENCY_KEY=order-1/pack" in lines
    assert lines[-1] == lines[-2], "at home"
    assert not Path(lines[-1]).exists(), "and gone"


def test_the_folder_can_be_the_projects(tmp_path: Path, configure: Configure) -> None:
    (tmp_path / "work").mkdir()
    configure("sh", folder="work")
    run("sh", "-c", "echo hello > made")
    assert (tmp_path / "work" / "made").read_text() == "hello\n"


def test_a_command_of_the_project_is_named_by_its_path(tmp_path: Path, configure: Configure) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho tool $1\n")
    (tmp_path / "tool").chmod(0o700)
    configure("./tool")
    assert run("./tool", "x")["stdout"] == "tool x\n"


# --- refused


@pytest.mark.parametrize(
    "argv", [["rm", "-rf", "x"], ["/bin/sh", "-c", "true"], ["../sh"], [], ["echo", "a\0b"], [""]]
)
def test_what_the_project_does_not_name_is_not_executed(argv: list[str]) -> None:
    refused(shell.NotAllowed, *argv)


def test_without_settings_nothing_is_executed(configure: Configure) -> None:
    shell.flowctl_configure({}, ".")
    error = refused(shell.NotAllowed, "echo")
    assert str(error).endswith("in flowctl.toml, which has none")


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "FLOWCTL_IDEMPOTENCY_KEY"])
def test_a_variable_that_the_project_does_not_name_is_not_set(name: str) -> None:
    refused(shell.NotAllowed, "echo", env={name: "x"})


def test_an_allowed_command_that_is_not_there_is_said_to_be_so(configure: Configure) -> None:
    configure("no-such-command")
    assert "cannot be found" in str(refused(shell.NotAllowed, "no-such-command"))


@pytest.mark.parametrize("settings", [{"commands": "sh"}, {"command": ["sh"]}, {"memory_mb": "1"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[shell], settings={"flowctl_shell": settings})
    assert len(plugins.problems) == 1
    assert "shell.run" not in plugins.activities


# --- failures


def test_an_exit_code_is_a_typed_error() -> None:
    failure = failure_from(refused(shell.CommandFailed, "sh", "-c", "echo a; echo no such item >&2; exit 75"))
    assert failure.types == ("Exit75", "CommandFailed", "ShellError")
    assert failure.message == "sh exited with 75: no such item"
    assert failure.details == {"exit_code": 75, "stdout": "a\n", "stderr": "no such item\n"}


def test_a_signal_is_another() -> None:
    error = refused(shell.CommandKilled, "sh", "-c", "kill -SEGV $$")
    assert error.details["signal"] == "SIGSEGV"


def test_a_command_is_executed_once() -> None:
    policy = load(entry_points=False, objects=[shell]).activities["shell.run"].policy.retry
    assert policy is not None
    assert policy.attempts == 1


# --- limits

BOUNDS = {
    "memory": ({"memory_mb": 200}, "hoard = bytearray(1 << 30)", "Exit1"),
    "processor time": ({"cpu_seconds": 1}, "while True: pass", "CommandKilled"),
    "files": ({"file_mb": 1}, "open('f', 'wb').write(b'x' * (2 << 20))", "Exit1"),
}


@pytest.mark.parametrize(("settings", "code", "type_"), BOUNDS.values(), ids=BOUNDS)
def test_a_command_has_limits(settings: dict[str, int], code: str, type_: str, configure: Configure) -> None:
    configure(sys.executable, **settings)
    failure = failure_from(refused(shell.ShellError, sys.executable, "-c", code))
    assert failure.type == type_, failure.message


def test_output_without_end_is_cut_off_and_its_command_killed(configure: Configure) -> None:
    configure("sh", max_output=10_000)
    refused(shell.OutputTooLarge, "sh", "-c", "while :; do echo $$; done")
    refused(shell.OutputTooLarge, "sh", "-c", "while :; do echo $$ >&2; done")
    assert len(run("sh", "-c", "printf %010000d 0")["stdout"]) == 10_000


# --- what is left


LOITER = 'trap "" TERM HUP INT; sh -c \'trap "" TERM HUP; echo $$ > "$1"; exec sleep 600\' x "$1" & %s'
"""A command that starts another, which ignores what can be ignored, and writes down its number."""


def gone(number: int) -> bool:
    """Whether a process is no more, or only waits to be buried."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # another process sets no event of ours
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("ending", ["ends", "is cancelled"])
def test_nothing_is_left_when_a_command(ending: str, tmp_path: Path) -> None:
    mark = tmp_path / "number"
    wait = 'while ! [ -s "$1" ]; do :; done' if ending == "ends" else "wait; wait"

    async def scene() -> None:
        ctx = ActivityContext()
        task = asyncio.ensure_future(shell.run(["sh", "-c", LOITER % wait, "x", str(mark)], ctx))
        if ending == "is cancelled":
            await until(lambda: mark.exists() and mark.read_text().endswith("\n"))
            task.cancel()
        outcome = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome[0], dict if ending == "ends" else asyncio.CancelledError)
        number = int(mark.read_text())
        await until(lambda: gone(number))

    asyncio.run(scene())


ENGINE = """
import asyncio, sys
import flowctl_shell as shell
from flowctl import ActivityContext
shell.flowctl_configure({"commands": ["sh"]}, ".")
asyncio.run(shell.run(["sh", "-c", sys.argv[1], "x", sys.argv[2]], ActivityContext()))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_killed_engine_leaves_no_command_behind(tmp_path: Path) -> None:
    mark = tmp_path / "number"
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, LOITER % "wait; wait", str(mark)])

    async def scene() -> None:
        await until(lambda: mark.exists() and mark.read_text().endswith("\n"))
        number = int(mark.read_text())
        assert not gone(number)
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: gone(number))

    try:
        asyncio.run(scene())
    finally:
        engine.kill()
        engine.wait()


def test_what_leaves_the_group_holds_up_nobody(tmp_path: Path) -> None:
    """It is the documented limit, and keeps the pipe open."""
    code = (
        "import subprocess, sys; print('done', flush=True);"
        "print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)"
    )
    done, number = run(sys.executable, "-c", code)["stdout"].split()
    assert done == "done"
    os.kill(int(number), signal.SIGKILL)


WORKFLOW = """
dsl: 1
name: shout
steps:
  - {id: hang, activity: shell.run, timeout: 300ms, optional: true, with: {argv: [sleep, "600"]}}
  - {id: say, activity: shell.run, with: {argv: [tr, a-z, A-Z], stdin: hello}}
output: "${{ steps.say.output.stdout }}"
"""


def test_an_installed_plugin_serves_workflows_by_the_settings_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "shout.yaml").write_text(WORKFLOW)
    (tmp_path / "flowctl.toml").write_text('[plugins.shell]\ncommands = ["tr", "sleep"]\n')
    command = [sys.executable, "-m", "flowctl", "run", "shout.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert (done.returncode, document["output"]) == (0, "HELLO"), document
    assert document["steps"][0]["error"]["type"] == "Timeout"
