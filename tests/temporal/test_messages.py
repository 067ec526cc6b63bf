"""Messages that are none: nobody can send what a run cannot take."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from flowctl.backends import Backend, open_backend
from flowctl.embedding.loading import Documents
from flowctl.errors import InputError, InvalidInput
from flowctl.plugins import load
from flowctl.runtimes.temporal.messages import message_from
from tests.temporal.conftest import Begun

WAITS = """
dsl: 1
name: waits
signals: {go: {}}
steps:
  - {id: go, wait_for_signal: go}
output: ${{ steps.go.output }}
"""

OURS = {"flowctl": 1, "payload": 7}
WRONG: list[tuple[str, Any]] = [
    ("go", OURS | {"at": "x"}),
    ("go", OURS | {"at": -1}),
    ("go", OURS | {"at": True}),
    ("go", OURS | {"principal": 5}),
    ("go", OURS | {"dedup_id": 5}),
    ("go", RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{"))),
    ("go", RawValue(Payload(metadata={"encoding": b"binary/plain"}, data=b"{"))),
    ("_cancel", None),
    ("_cancel", 5),
    ("_cancel", {}),
    ("_cancel", {"data": None}),
    ("_cancel", {"data": {"reason": 5}}),
    ("_cancel", {"data": {"reason": "why"}, "principal": []}),
    ("_retry", {}),
    ("_retry", {"data": {"generation": "1"}}),
    ("_pause", {"data": []}),
]


def test_what_is_no_message_is_as_if_it_had_not_been_sent(
    begun: Begun, caplog: pytest.LogCaptureFixture
) -> None:
    backend, run_id = begun(WAITS)
    for name, about in WRONG:
        backend._ask(backend._client.get_workflow_handle(run_id).signal(name, about))
    left = backend.drive(run_id, wait=0)
    assert (left["status"], left["blocked"]) == ("waiting", None)
    assert caplog.text.count("that it does not take") == len(WRONG)
    backend.signal(run_id, "go", 8, dedup_id="once", principal="ada")
    ended = backend.drive(run_id, wait=10_000)
    assert (ended["status"], ended["output"]["payload"]) == ("completed", 8)


@pytest.mark.parametrize("about", [{"dedup_id": "\ud800"}, {"payload": ["\ud800"]}, {"at": 2**64}])
def test_what_no_journal_takes_is_no_message(about: dict[str, Any]) -> None:
    with pytest.raises((InputError, msgspec.ValidationError)):
        message_from("signal", about)


def assert_refuses(backend: Backend, run_id: str) -> None:
    """Whatever is no text where a text belongs, before anything is sent."""
    wrong: Any
    for wrong in (5, ["ada"], "\ud800"):
        with pytest.raises(InvalidInput, match="the dedup_id"):
            backend.signal(run_id, "go", None, dedup_id=wrong)
        with pytest.raises(InvalidInput, match="the principal"):
            backend.signal(run_id, "go", None, principal=wrong)
        with pytest.raises(InvalidInput, match="the principal"):
            backend.cancel(run_id, "never mind", principal=wrong)
        with pytest.raises(InvalidInput, match="the reason"):
            backend.cancel(run_id, wrong)
    assert backend.status(run_id)["status"] in ("created", "waiting")


def test_who_sends_by_flowctl_is_told_so_before(begun: Begun) -> None:
    assert_refuses(*begun(WAITS))


def test_who_sends_by_flowctl_is_told_so_on_sqlite_too(tmp_path: Path) -> None:
    plugins = load(entry_points=False)
    with contextlib.closing(open_backend(str(tmp_path / "runs.db"), plugins=plugins)) as backend:
        request = Documents(backend, plugins).request
        run_id, _ = backend.start(request(WAITS, {}, None, None))
        assert_refuses(backend, run_id)
        wrong: Any = 5
        with pytest.raises(InvalidInput, match="the principal must be a text, not a number"):
            backend.start(request(WAITS, {}, None, wrong))
