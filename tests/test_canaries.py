"""Canaries: secrets from every provider, used by activities that repeat them in every way they can; and then
every byte that was written anywhere is searched for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowctl.server.routes import ENDPOINTS
from tests import console
from tests.canaries import CANARIES, files, leaks

ROOT = Path(__file__).parent.parent

TELLTALE = """
import base64, json, logging, sys
from urllib.parse import quote, quote_plus

from flowctl import ActivityContext, ActivityError, activity, hookimpl

def forms(text):
    data = text.encode()
    return [json.dumps(text), repr(text), quote(text), quote(text, safe=""), quote_plus(text), data.hex(),
            *(base64.b64encode(b"x" * lead + data).decode() for lead in range(3)),
            base64.urlsafe_b64encode(data).decode()]

def tell(how, text, ctx):
    if how == "result":
        return {"echo": text, text: [text, f"<{text}>", {"deep": text}], "forms": forms(text)}
    if how == "number":
        return {"number": int(text)}
    if how == "error":
        raise ActivityError(f"no {text} here", type=text, details={text: forms(text)}) from KeyError(text)
    if how == "exception":
        raise type(f"Odd{text}", (ValueError,), {})(text, [text])
    if how == "long":
        raise ValueError("x" * (4096 - len(text) // 2) + text)
    if how == "exit":
        raise SystemExit(text)
    if how == "heartbeat":
        ctx.heartbeat({"at": text, "forms": forms(text)})
        if ctx.attempt == 1:
            raise ConnectionError(forms(text))
        return ctx.last_heartbeat
    if how == "log":
        ctx.logger.warning("with %s and %r", text, forms(text), extra={"more": text})
        try:
            raise RuntimeError(text)
        except RuntimeError:
            ctx.logger.exception("it failed")
            logging.getLogger("library").error("it failed with %r", text, exc_info=True)
    if how == "print":
        print(text, forms(text))
        print(text, forms(text), file=sys.stderr)
        print(text, end="", file=sys.stderr, flush=True)
    return "told"

@activity("tell.thread")
def in_thread(how: str, text: str, ctx: ActivityContext) -> object:
    return tell(how, text, ctx)

@activity("tell.loop")
async def on_loop(how: str, text: str, ctx: ActivityContext) -> object:
    return tell(how, text, ctx)

@activity("tell.process", isolation="process")
def in_process(how: str, text: str, ctx: ActivityContext) -> object:
    return tell(how, text, ctx)

@activity("tell.typed")
def typed(text: int) -> None: ...
"""

VAULT = """
import json, pathlib
from flowctl import hookimpl

@hookimpl
def flowctl_resolve_secret(name):
    return json.loads(pathlib.Path(__file__).with_name("vault.json").read_text()).get(name)
"""

KEYRING = """
import json, pathlib
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        assert service == "canaries"
        return json.loads(pathlib.Path(__file__).with_name("keyring.json").read_text()).get(username)

    def set_password(self, service, username, password): ...
    def delete_password(self, service, username): ...
"""

TOML = """
plugins_dir = ["plugins", {folders}]

[secrets]
providers = ["plugins", "environment", "files", "keyring"]
folder = "secrets"
service = "canaries"

[plugins.flowctl_shell]
commands = ["{python}"]
environment = ["TOKEN"]

[plugins.flowctl_http]
allow = ["127.0.0.0/8"]

[plugins.flowctl_sql.databases]
app = "sqlite:///app.db"
"""

PLANTED = ("vault.json", "keyring.json", "FILE", "DIGITS", "w.test.yaml")
"""The files in which the canaries were put: all others are searched."""

SHOUT = (
    "import os, sys; a = [*sys.argv[1:], os.environ['TOKEN'], sys.stdin.read()]; print(*a); print(a * 9); "
)
SHOUT += "print(*a, file=sys.stderr); sys.exit(3)"


class _Echo(BaseHTTPRequestHandler):
    """Answers with all that it was asked, and that this was wrong."""

    def do_GET(self) -> None:
        said = f"{self.path} {dict(self.headers)}".encode()
        self.send_response(418)
        self.send_header("X-Asked", self.headers.get("X-Token", "").encode("latin-1").hex())
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args: object) -> None: ...


@contextlib.contextmanager
def echo() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


IN_PROCESSES = ("VAULT", "KEYRING")


def steps(port: int, *, processes: bool = True) -> Iterator[dict[str, object]]:
    """Every way in which every activity can tell every canary; each may fail. A process takes long to start,
    so not every canary is told by one, and none without ``processes``.
    """
    number = 0
    for name in CANARIES:
        secret = f"${{{{ secrets.{name} }}}}"
        for where in ("thread", "loop", "process"):
            if where == "process" and not (processes and name in IN_PROCESSES):
                continue
            for how in ("result", "error", "exception", "long", "exit", "heartbeat", "log", "print"):
                if (where, how) == ("loop", "print"):
                    continue  # docs/plugins.md: what a coroutine prints is printed as it is
                arguments = {"how": how, "text": secret}
                yield {
                    "activity": f"tell.{where}",
                    "with": arguments,
                    "retry": {"attempts": 2, "delay": "1ms"},
                }
        number += 1
        typed = {"id": f"typed{number}", "activity": "tell.typed", "with": {"text": f"a {secret}"}}
        yield {"try": [typed], "catch": {"errors": ["InvalidInput"]}}
        argv = [sys.executable, "-c", SHOUT, secret]
        yield {"activity": "shell.run", "with": {"argv": argv, "stdin": secret, "env": {"TOKEN": secret}}}
        # a header takes what Latin-1 has, and a query what it is given
        url = f"http://127.0.0.1:{port}/"
        yield {
            "activity": "http.request",
            "retry": False,
            "with": {"url": url, "headers": {"X-Token": secret}},
        }
        yield {
            "activity": "http.request",
            "with": {"url": url, "headers": {"Authorization": f"Bearer {secret}"}},
        }
        yield {"activity": "http.request", "retry": False, "with": {"url": f"{url}?q={secret}"}}
        for sql in ("SELECT :p AS p", "INSERT INTO missing VALUES (:p)"):
            yield {
                "activity": "sql.query",
                "retry": False,
                "with": {"database": "app", "sql": sql, "parameters": {"p": secret}},
            }
        yield {"workflow": "./child.yaml", "with": {"pin": "${{ input.pin }}"}, "secret": True}
    yield {"activity": "tell.thread", "with": {"how": "number", "text": "${{ secrets.DIGITS }}"}}


CHILD = {
    "dsl": 1,
    "name": "child",
    "input": {"type": "object", "properties": {"pin": {"type": "string"}}},
    "steps": [{"id": "own", "activity": "core.echo", "with": {"pin": "${{ input.pin }}"}}],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "secrets").mkdir(mode=0o700)
    for name, text in {
        "plugins/telltale.py": TELLTALE,
        "plugins/vault.py": VAULT,
        "plugins/vault.json": json.dumps({"VAULT": CANARIES["VAULT"], "SHORT": CANARIES["SHORT"]}),
        "canary_keyring.py": KEYRING,
        "keyring.json": json.dumps({"KEYRING": CANARIES["KEYRING"]}),
        "secrets/FILE": CANARIES["FILE"],
        "secrets/DIGITS": CANARIES["DIGITS"] + "\n",
        "child.yaml": json.dumps(CHILD),
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    folders = [str(ROOT / "plugins" / f"flowctl-{name}") for name in ("http", "shell", "sql")]
    text = TOML.format(folders=json.dumps(folders)[1:-1], python=sys.executable)
    (tmp_path / "flowctl.toml").write_text(text)
    return tmp_path


def environment(project: Path) -> dict[str, str]:
    return console.reader() | {
        "FLOWCTL_SECRET_ENVIRONMENT": CANARIES["ENVIRONMENT"],
        "PYTHON_KEYRING_BACKEND": "canary_keyring.Keyring",
        "PYTHONPATH": str(project),
        "XDG_CONFIG_HOME": str(project / "config"),
        "XDG_DATA_HOME": str(project / "data"),
    }


class Terminal:
    """Calls flowctl in a project; ``said`` is all that it wrote, by command."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.said: dict[str, bytes] = {}

    def __call__(self, *arguments: str, expect: int = 0) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "flowctl", *arguments],
            cwd=self.project,
            env=environment(self.project),
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, done.stderr.decode()[-3000:] + done.stdout.decode()[-3000:]
        self._keep(arguments, done.stdout + b"\n" + done.stderr)
        return done.stdout

    def in_colour(self, *arguments: str) -> None:
        """The same on a real terminal, where progress is drawn."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "flowctl", *arguments],
            cwd=self.project,
            env=environment(self.project) | {"TERM": "xterm-256color", "COLUMNS": "400"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            parts = []
            with contextlib.suppress(OSError):  # how Linux says that nobody has it open any more
                while part := os.read(ours, 1 << 16):
                    parts.append(part)
            os.close(ours)
        assert process.returncode == 0
        self._keep(("terminal:", *arguments), re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", b"".join(parts)))

    def _keep(self, arguments: tuple[str, ...], said: bytes) -> None:
        self.said[" ".join(arguments)] = said


def write_workflow(project: Path, body: Iterable[Mapping[str, Any]], *, wait: bool = False) -> None:
    """``wait``: for a signal, in the end."""
    listed = [{"id": f"s{number}", "optional": True, **step} for number, step in enumerate(body)]
    document = {
        "dsl": 1,
        "name": "w",
        "input": {"type": "object", "properties": {"pin": {"type": "string", "default": "4711"}}},
        "defaults": {"retry": False},
        "secrets": [*CANARIES],
        "steps": listed,
    }
    if wait:
        document["signals"] = {"go": {}}
        listed.append({"id": "wait", "wait_for_signal": "go"})
    (project / "w.yaml").write_text(json.dumps(document))


def _is_quiet(step: Mapping[str, Any]) -> bool:
    """On a terminal, what threads print is wrapped before it is masked: docs/plugins.md."""
    return step.get("activity") == "tell.thread" and step["with"]["how"] not in ("print", "log")


def test_no_canary_is_in_any_byte_that_is_written(project: Path) -> None:
    flowctl = Terminal(project)
    with echo() as port:
        write_workflow(project, steps(port))
        flowctl("run", "w.yaml", "--id", "plain")
        write_workflow(project, steps(port, processes=False))
        ran = json.loads(flowctl("run", "w.yaml", "--id", "json", "--json"))
        few = (step for step in steps(port, processes=False) if _is_quiet(step))
        write_workflow(project, few)
        flowctl.in_colour("run", "w.yaml", "--id", "colour")
    told = {step["path"]: step for step in ran["steps"]}
    assert told["s0"]["status"] == "completed", told["s0"]
    assert told["s0"]["output"]["echo"] == "***"
    kinds = {(step["name"], step["status"]) for step in ran["steps"]}
    for name in ("shell.run", "http.request", "tell.typed"):
        assert (name, "failed") in kinds
    assert {("sql.query", "completed"), ("sql.query", "failed"), ("./child.yaml", "completed")} <= kinds
    for run in ("plain", "json", "colour"):
        flowctl("history", run, "--export", f"{run}.jsonl")
    for command in (
        *("status plain", "status plain --json", "history plain", "history plain --jsonl", "list --json"),
        *("graph plain", "graph plain --format svg", "graph plain --format mermaid", "diff plain json"),
        *("verify", "doctor", "activities", "plugins --json", "backup copy.db"),
    ):
        flowctl(*command.split())
    assert b"***" in flowctl.said["history plain"]
    assert leaks(flowctl.said | files(project, planted=PLANTED)) == []


TO_BE_READ = tuple(
    route.path.replace("{run}", "live").replace("{name}", "w").replace("{version}", "1")
    for route in ENDPOINTS
    if route.method == "GET"
)
LIVE = {"/api/v1/events", "/api/v1/runs/live/events"}
"""Routes that go on answering."""


def test_no_canary_is_in_what_a_server_answers_and_keeps_while_it_lives(project: Path) -> None:
    """All that can be read of it, both live streams, and the files of the session that has the run."""
    flowctl = Terminal(project)
    with echo() as port:
        alone = (step for step in steps(port, processes=False) if "workflow" not in step)
        write_workflow(project, alone, wait=True)
        flowctl("deploy", "w.yaml")
        with served(project, flowctl) as client:
            said = {"/api/v1/events": b"", "/api/v1/runs/live/events": b""}
            with client.stream("GET", "/api/v1/events") as every:
                started = client.post("/api/v1/runs", json={"workflow": "w", "id": "live"})
                assert started.status_code == 201, started.text
                with client.stream("GET", "/api/v1/runs/live/events") as one:
                    for where, stream in (("/api/v1/runs/live/events", one), ("/api/v1/events", every)):
                        for line in stream.iter_lines():
                            said[where] += line.encode() + b"\n"
                            if '"status":"waiting"' in line:
                                break
            for path in TO_BE_READ:
                if path not in LIVE:
                    params = {"left": "live", "right": "live"} if path.endswith("/diff") else {}
                    answer = client.get(path, params=params)
                    assert answer.status_code == 200, (path, answer.text)
                    said[path] = answer.content
            client.post("/api/v1/runs/live/signals/go", json={"payload": "no"})
            there = files(project, planted=PLANTED)
    assert b"***" in said["/api/v1/runs/live/events"]
    assert b"***" in said["/api/v1/runs/live/history"]
    assert any(".sessions" in name for name in there), "no session was alive"
    assert leaks(flowctl.said | said | there) == []


@contextlib.contextmanager
def served(project: Path, flowctl: Terminal) -> Iterator[httpx.Client]:
    """A client of a server with a worker, all of whose output is kept."""
    command = [sys.executable, "-m", "flowctl", "serve", "--port", "0", "--workers", "1", "--json"]
    with (
        open(project / "serve.log", "w+b") as out,
        subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=out
        ) as process,
    ):
        assert process.stdout is not None
        lines: list[bytes] = []
        try:
            while not lines or lines[-1].rstrip() != b"}":
                lines.append(process.stdout.readline())
            origin, _, code = json.loads(b"".join(lines))["url"].partition("/#code=")
            with httpx.Client(base_url=origin, timeout=60, verify=False) as client:
                session = client.post("/api/v1/session", json={"code": code}).json()
                client.headers["x-csrf-token"] = session["csrf"]
                client.headers["origin"] = origin
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            lines += process.stdout.readlines()
        assert process.wait(60) == 0
        out.seek(0)
        flowctl.said["serve"] = b"".join(lines) + out.read()


def test_a_child_of_a_secret_step_is_seen_nowhere(project: Path) -> None:
    """It is in the journal, which is what ``secret: true`` promises to nobody else."""
    flowctl = Terminal(project)
    pin = "pin-of-a-secret-child"
    child = {"workflow": "./child.yaml", "with": {"pin": "${{ input.pin }}-inside"}, "secret": True}
    write_workflow(project, iter([child]))
    flowctl("run", "w.yaml", "--id", "r", "-i", f"pin={pin}")
    flowctl("history", "r/s0", "--export", "child.jsonl")
    for command in (
        "status r/s0",
        "status r/s0 --json",
        "history r/s0",
        "history r/s0 --jsonl",
        "list --json",
    ):
        flowctl(*command.split())
    exported = (project / "child.jsonl").read_bytes()
    assert json.loads(exported.splitlines()[0])["redacted"] is True
    assert [where for where, said in {**flowctl.said, "export": exported}.items() if b"-inside" in said] == []
    status = json.loads(flowctl("status", "r/s0", "--json"))
    assert (status["input"], status["output"], status["status"]) == (None, None, "completed")
    assert status["steps"][0]["path"] == "own"


TESTS = """
workflow: ./w.yaml
secrets: {secrets}
unmocked: real
cases:
  - case: everything is told
    expect: {{status: completed}}
  - case: this is not so
    mocks: {{tell.thread: {{return: "${{{{ args.text }}}}"}}}}
    expect: {{status: failed, calls: [s9#2]}}
"""


def test_no_canary_is_in_reports_of_tests(project: Path) -> None:
    flowctl = Terminal(project)
    told = (step for step in steps(1) if step.get("activity") == "tell.thread")
    write_workflow(project, told)
    (project / "w.test.yaml").write_text(TESTS.format(secrets=json.dumps(dict(CANARIES))))
    flowctl("test", "w.test.yaml", "--junit", "report.xml", expect=1)
    flowctl("test", "w.test.yaml", "--json", expect=1)
    assert b"this is not so" in (project / "report.xml").read_bytes()
    assert leaks(flowctl.said | files(project, planted=PLANTED)) == []


def test_no_canary_is_in_the_report_of_a_torture(project: Path) -> None:
    flowctl = Terminal(project)
    told = (
        {"activity": "tell.thread", "with": {"how": "result", "text": f"${{{{ secrets.{name} }}}}"}}
        for name in CANARIES
    )
    write_workflow(project, told)
    case = 'mocks: {tell.thread: {return: "${{ args.text }}"}}\n'
    case += "cases: [{case: told, expect: {status: completed}}]\n"
    (project / "w.test.yaml").write_text(f"workflow: ./w.yaml\nsecrets: {json.dumps(dict(CANARIES))}\n{case}")
    flowctl("torture", "w.test.yaml", "--points", "2")
    flowctl("torture", "w.test.yaml", "--points", "2", "--json")
    assert leaks(flowctl.said | files(project, planted=PLANTED)) == []


@pytest.mark.parametrize("name", CANARIES)
def test_a_planted_leak_is_found(project: Path, name: str) -> None:
    """In each form, and inside of a database as well: a search that finds nothing would be worth nothing."""
    from tests.canaries import forms

    for kind, form in forms(CANARIES[name]):
        if len(form) > 4:
            assert leaks({"here": b"before " + form + b" after"}), kind
    leaky = textwrap.dedent(
        """
        from flowctl import ActivityContext, activity
        @activity("leak.it")
        def leak(text: str) -> str:
            return "|".join(text)  # past the mask
        """
    )
    (project / "plugins" / "leaky.py").write_text(leaky)
    leak: Mapping[str, object] = {"activity": "leak.it", "with": {"text": f"${{{{ secrets.{name} }}}}"}}
    spelled: Mapping[str, object] = {"set": {"told": "${{ join(split(steps.s0.output, '|'), '') }}"}}
    write_workflow(project, [dict(leak), spelled])
    flowctl = Terminal(project)
    flowctl("run", "w.yaml", "--id", "leaky")
    found = leaks({"database": b"".join(files(project, planted=(*PLANTED, "keyring.json")).values())})
    found += leaks(flowctl.said)
    assert any(each.startswith(name) for each in found)
