"""Commands as activities of flowctl: those that a project allows, and no shell.

Rules:

1. Nothing is executed but what ``[plugins.shell] commands`` in ``flowctl.toml`` names; without it, nothing
   is.
2. A command is a list of arguments. There is no string that a shell would take apart, so no data can become
   a command.
3. A command sees an environment of its own: ``PATH``, ``HOME``, ``LANG``, the step's key, and the variables
   that the project lets documents set. Its folder is made for it, and removed afterwards, unless the project
   names one.
4. It has limits: time (the step's timeout), processor time, memory, the size of files and of what it prints.
5. When it has ended, in whatever way, so has all that it started. A supervisor of ours leads its process
   group, and kills the group when the command ends, when the attempt is over, or when the engine is gone,
   ``kill -9`` included. Only what leaves the group on purpose (``setsid``) gets away.

Only what the standard library has is needed, on Linux or macOS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from flowctl import ActivityContext, activity, hookimpl

GRACE = 1.0
"""Seconds in which the output of a command ends after the command has. What holds it open longer has left
the group."""

EXCERPT = 2_000
"""Characters of what was printed that an error shows."""

_SUPERVISOR = """
import json, os, resource, select, signal, sys
control, status, (limits, argv) = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
ended, wake = os.pipe()
os.set_blocking(wake, False)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(wake)
pid = os.fork()
if pid == 0:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(control)
    os.close(status)
    try:
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, name), (limit, limit))
        os.execv(argv[0], argv)
    except BaseException as error:
        os.write(2, str(error).encode())
    os._exit(127)
for descriptor in (0, 1, 2):  # whoever waits for the command's output does not wait for us
    os.close(descriptor)
code = None
while code is None and control not in select.select([ended, control], [], [])[0]:
    os.read(ended, 100)
    found, how = os.waitpid(pid, os.WNOHANG)
    code = os.waitstatus_to_exitcode(how) if found else None
if code is not None:
    os.write(status, str(code).encode())
os.killpg(0, signal.SIGKILL)
"""
"""Leads the process group. It is told that it is over by the end of a pipe, which no kill can prevent."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.shell]``. ``commands`` are names, looked up in ``PATH``, or paths, relative to the project;
    ``environment`` are the variables that documents may set; ``folder`` is where commands run, a new one
    each time without it. 0 is no limit of processor time, memory or files.
    """

    commands: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    folder: str | None = None
    max_output: int = 300_000
    cpu_seconds: int = 300
    memory_mb: int = 2_048
    file_mb: int = 1_024


class ShellError(Exception):
    """What goes wrong with a command."""

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.details = details


class NotAllowed(ShellError):
    """``flowctl.toml`` does not allow the command, or the variable."""


class CommandFailed(ShellError):
    """The exit code is not an expected one. Its type is named for the code: ``Exit3`` is a
    ``CommandFailed``."""


class CommandKilled(ShellError):
    """A signal ended the command: ``details.signal``."""


class OutputTooLarge(ShellError):
    """Over ``max_output`` bytes on stdout or stderr; the command was killed."""


_settings = Settings()
_project = "."


@hookimpl
def flowctl_configure(settings: Mapping[str, Any], folder: str) -> None:
    """Take ``[plugins.shell]``."""
    global _settings, _project
    _settings, _project = msgspec.convert(settings, Settings), folder


@activity("shell.run", timeout="5m", retry=False)
async def run(
    argv: list[str],
    ctx: ActivityContext,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    expect: list[int] | None = None,
) -> dict[str, Any]:
    """Execute a command; returns ``{exit_code, stdout, stderr}``.

    ``argv`` is the command and its arguments, ``expect`` the exit codes that are results (0). It is executed
    once: a ``retry`` of the step's says which errors are worth another attempt.
    """
    executable, environment = _executable(argv), _environment(env or {}, ctx)
    with _folder() as folder:
        environment["HOME"] = folder
        code, out, err = await _execute([executable, *argv[1:]], stdin, environment, folder)
    shown = {"stdout": out.decode("utf-8", "replace"), "stderr": err.decode("utf-8", "replace")}
    if code in (expect if expect is not None else [0]):
        return {"exit_code": code, **shown}
    raise _failure(argv[0], code, {name: text[-EXCERPT:] for name, text in shown.items()})


def _failure(command: str, code: int, printed: dict[str, str]) -> ShellError:
    said = printed["stderr"].strip().rpartition("\n")[2]
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
        return CommandKilled(f"{command} was ended by {name}", {"signal": name, **printed})
    kind = type(f"Exit{code}", (CommandFailed,), {})
    text = f"{command} exited with {code}" + (f": {said}" if said else "")
    failure: ShellError = kind(text, {"exit_code": code, **printed})
    return failure


def _executable(argv: list[str]) -> str:
    """The file to execute. ``NotAllowed``."""
    if not argv:
        raise NotAllowed("argv is empty; its first element is the command")
    if any("\0" in argument for argument in argv):
        raise NotAllowed("an argument has a NUL in it")
    command = argv[0]
    if command not in _settings.commands:
        known = ", ".join(_settings.commands) or "none"
        raise NotAllowed(
            f"{command!r} is not among [plugins.shell] commands in flowctl.toml, which has {known}"
        )
    found = shutil.which(os.path.join(_project, command) if "/" in command else command)
    if found is None:
        raise NotAllowed(f"{command!r} is allowed, and cannot be found or executed")
    return os.path.abspath(found)


def _environment(wanted: Mapping[str, str], ctx: ActivityContext) -> dict[str, str]:
    refused = sorted(wanted.keys() - set(_settings.environment))
    if refused or any("\0" in value for value in wanted.values()):
        raise NotAllowed(
            f"the variables {', '.join(refused)} are not among [plugins.shell] environment in flowctl.toml"
            if refused
            else "a variable has a NUL in it"
        )
    own = {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}
    return {**own, "FLOWCTL_IDEMPOTENCY_KEY": ctx.idempotency_key, **wanted}


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    if _settings.folder is not None:
        yield os.path.abspath(os.path.join(_project, _settings.folder))
        return
    with tempfile.TemporaryDirectory(prefix="flowctl-shell-", ignore_cleanup_errors=True) as made:
        yield made


def _limits() -> dict[str, int]:
    wanted = {
        "RLIMIT_CPU": _settings.cpu_seconds,
        "RLIMIT_AS": _settings.memory_mb << 20,
        "RLIMIT_FSIZE": _settings.file_mb << 20,
    }
    return {"RLIMIT_CORE": 0, **{name: limit for name, limit in wanted.items() if limit}}


async def _execute(
    argv: list[str], stdin: str | None, environment: dict[str, str], folder: str
) -> tuple[int, bytes, bytes]:
    """The exit code, negative for a signal, and what was printed."""
    process, control, answer = _start(argv, stdin or "", environment, folder)
    with process:  # the end of which waits for it, no longer than a kill takes
        try:
            return await _listen(process, answer)
        finally:
            # at once and without waiting: nobody may be there to wait any more
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            os.close(control)
            os.close(answer)


def _start(
    argv: list[str], stdin: str, environment: dict[str, str], folder: str
) -> tuple[subprocess.Popen[bytes], int, int]:
    """The supervisor, the pipe whose end tells it that it is over, and the one with its answer.

    Not by asyncio: its processes are not over before everybody has closed their pipes, nor buried if the
    loop ends first.
    """
    supervised, control = os.pipe()
    answer, status = os.pipe()
    task = json.dumps([_limits(), argv])
    try:
        with tempfile.TemporaryFile() as source:  # a pipe would have to be fed
            source.write(stdin.encode())
            source.seek(0)
            process = subprocess.Popen(  # noqa: S603  # a list, whose command the project has allowed
                [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(supervised), str(status), task],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=folder,
                env=environment,
                start_new_session=True,
                pass_fds=(supervised, status),
            )
    except BaseException:
        os.close(control)
        os.close(answer)
        raise
    finally:
        os.close(supervised)
        os.close(status)
    return process, control, answer


async def _listen(process: subprocess.Popen[bytes], answer: int) -> tuple[int, bytes, bytes]:
    """Wait for the end of the command, and for the rest of what it printed."""
    assert process.stdout is not None
    assert process.stderr is not None
    ear = _Ear(process.stdout.fileno(), process.stderr.fileno(), answer)
    try:
        await ear.answered.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ear.silent.wait(), GRACE)
    finally:
        ear.close()
    if ear.too_much:
        raise OutputTooLarge(f"the command printed more than {_settings.max_output:,} bytes")
    code = os.read(answer, 20)  # nothing: the supervisor was killed
    out, err = ear.heard.values()
    return int(code) if code else -signal.SIGKILL, bytes(out), bytes(err)


class _Ear:
    """Listens to what a command prints, and for the supervisor's answer."""

    def __init__(self, out: int, err: int, answer: int) -> None:
        self.heard = {out: bytearray(), err: bytearray()}
        self.answered, self.silent = asyncio.Event(), asyncio.Event()
        self.too_much = False
        self._loop = asyncio.get_running_loop()
        self._open = {out, err, answer}
        for descriptor in self.heard:
            self._loop.add_reader(descriptor, self._read, descriptor)
        self._loop.add_reader(answer, self._answer, answer)

    def close(self) -> None:
        """Listen no more."""
        for descriptor in self._open:
            self._loop.remove_reader(descriptor)

    def _answer(self, descriptor: int) -> None:
        self._done(descriptor)
        self.answered.set()

    def _read(self, descriptor: int) -> None:
        chunk, heard = os.read(descriptor, 1 << 16), self.heard[descriptor]
        heard += chunk
        if len(heard) > _settings.max_output:
            self.too_much = True
            self.answered.set()
            self.silent.set()
        elif not chunk:
            self._done(descriptor)

    def _done(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._open.discard(descriptor)
        if self._open.isdisjoint(self.heard):
            self.silent.set()
