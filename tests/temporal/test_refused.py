"""Who is not let in is told so in one line, and no run is harmed. ``refusing`` is the server that refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from flowctl.errors import Unreachable
from flowctl.runtimes.temporal.refusals import refused_by_text
from tests.temporal.refusing import PERMISSION_DENIED, UNAUTHENTICATED, Gate, as_sent
from tests.temporal.server import Server

KEY = "ac01ties"
WITHOUT_TLS = {"TEMPORAL_API_KEY": KEY, "TEMPORAL_TLS": "false"}
EXPIRED = (
    "Temporal does not accept the API key or certificate; it may have expired: set TEMPORAL_API_KEY anew"
)
NOT_OURS = "Temporal does not let this API key or certificate use the namespace default; set TEMPORAL_API_KEY"

DOCUMENT = """
dsl: 1
name: ask
signals: {answer: {}}
steps:
  - {id: ask, wait_for_signal: answer}
"""

Flowctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flowctl(tmp_path: Path) -> Flowctl:
    """A command line in a folder of its own, with nothing of Temporal in the environment but ``more``."""
    (tmp_path / "ask.yaml").write_text(DOCUMENT, encoding="utf-8")
    ours = ("FLOWCTL_", "TEMPORAL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def run(*words: str, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowctl", *words],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def assert_says(done: subprocess.CompletedProcess[str], what: str) -> None:
    """One line, and nothing else."""
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr.startswith(f"error[Unreachable]: {what}")
    assert len(done.stderr.splitlines()) == 1


SAYS = {UNAUTHENTICATED: EXPIRED, PERMISSION_DENIED: NOT_OURS}


@pytest.mark.parametrize("words", [["worker"], ["run", "ask.yaml"], ["list"]], ids=lambda words: words[0])
@pytest.mark.parametrize("code", SAYS)
def test_a_key_that_is_refused_is_one_line(code: int, words: list[str], flowctl: Flowctl) -> None:
    with Gate(code) as gate:
        done = flowctl(*words, "--db", f"temporal://{gate.target}", more=WITHOUT_TLS)
    assert_says(done, SAYS[code])
    assert as_sent(KEY) in gate.heard


def test_with_json_it_is_the_one_document_on_standard_output(flowctl: Flowctl) -> None:
    with Gate(UNAUTHENTICATED) as gate:
        done = flowctl("list", "--json", "--db", f"temporal://{gate.target}", more=WITHOUT_TLS)
    assert (done.returncode, done.stderr) == (74, "")
    assert json.loads(done.stdout)["error"]["code"] == "Unreachable"


def test_address_namespace_and_key_come_from_the_environment_of_temporals_own_tools(flowctl: Flowctl) -> None:
    with Gate(PERMISSION_DENIED) as gate:
        named = {"TEMPORAL_ADDRESS": gate.target, "TEMPORAL_NAMESPACE": "orders"}
        done = flowctl("list", "--db", "temporal://?task_queue=q", more=WITHOUT_TLS | named)
    assert_says(done, NOT_OURS.replace("default", "orders"))
    assert as_sent(KEY) in gate.heard


def test_a_key_brings_tls_along_with_the_name_that_the_environment_expects(flowctl: Flowctl) -> None:
    with Gate(UNAUTHENTICATED) as gate:
        tls = {"TEMPORAL_API_KEY": KEY, "TEMPORAL_TLS_SERVER_NAME": "orders.example"}
        done = flowctl("list", "--db", f"temporal://{gate.target}", more=tls)
    assert_says(done, f"no Temporal server answers with TLS at {gate.target}; an API key brings TLS along")
    assert gate.heard.startswith(b"\x16\x03")  # how TLS begins
    assert b"orders.example" in gate.heard
    assert as_sent(KEY) not in gate.heard


@pytest.mark.parametrize(
    "more",
    [
        {"TEMPORAL_CONFIG_FILE": "temporal.toml"},
        {"TEMPORAL_TLS_CLIENT_CERT_PATH": "nowhere.pem", "TEMPORAL_TLS_CLIENT_KEY_PATH": "nowhere.key"},
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(
    more: dict[str, str], flowctl: Flowctl, tmp_path: Path
) -> None:
    (tmp_path / "temporal.toml").write_text("[profile", encoding="utf-8")
    done = flowctl("list", "--db", "temporal://", more=more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error[UsageError]: Temporal's own configuration cannot be read: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_run_whose_key_expires_while_it_waits_goes_on_with_another(
    server: Server, flowctl: Flowctl
) -> None:
    with Gate(UNAUTHENTICATED, beyond=server.target) as gate:
        behind = {**WITHOUT_TLS, "FLOWCTL_DB": f"temporal://{gate.target}/default?task_queue=expired"}
        assert flowctl("run", "ask.yaml", "--id", "ask-1", more=behind).returncode == 3
        gate.shut()
        assert_says(flowctl("signal", "ask-1", "answer", more=behind), EXPIRED)
        assert_says(flowctl("resume", "ask-1", more=behind), EXPIRED)
    anew = {"FLOWCTL_DB": server.url(task_queue="expired")}
    assert flowctl("signal", "ask-1", "answer", more=anew).returncode == 0
    assert flowctl("resume", "ask-1", more=anew).returncode == 0


def test_what_ends_a_worker_means_the_same_though_it_is_only_a_text() -> None:
    """As temporalio says it, a minute after the key has expired; ``refusing`` plays it, which takes long."""
    said = 'Poll failure: Unhandled grpc error when polling: Status { code: Unauthenticated, message: "no" }'
    error = RuntimeError("Activity worker failed")
    error.__cause__ = RuntimeError(said)
    found = refused_by_text(error, "default")
    assert isinstance(found, Unreachable)
    assert found.message.startswith("Temporal does not accept")
    assert refused_by_text(RuntimeError("Activity worker failed"), "default") is None
