"""Addresses of Temporal. These tests need no server."""

from __future__ import annotations

import socket

import pytest

from flowctl.activities import Attempt, Outcome
from flowctl.errors import Failure, Unreachable, UsageError
from flowctl.expressions import SecretRef
from flowctl.runtimes.temporal.begin import CHUNK, Begin, from_chunks, to_chunks
from flowctl.runtimes.temporal.connection import Address
from flowctl.runtimes.temporal.wire import (
    attempt_from_json,
    attempt_to_json,
    outcome_from_json,
    outcome_to_json,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("temporal://there:1234/orders?task_queue=q", Address("there:1234", "orders", "q")),
        ("temporal://there/orders", Address("there:7233", "orders", "flowctl")),
        ("temporal://there:1234", Address("there:1234", None, "flowctl")),
        ("temporal://there:1234/", Address("there:1234", None, "flowctl")),
        ("temporal://", Address(None, None, "flowctl")),
        ("temporal:///orders?task_queue=q", Address(None, "orders", "q")),
        ("temporal://[::1]:1234/a%20b", Address("[::1]:1234", "a b", "flowctl")),
    ],
)
def test_an_address_says_where_and_what_it_leaves_out_is_left_to_the_environment(
    url: str, address: Address
) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("temporal://there:port/orders", "no valid port"),
        ("temporal://there:99999/orders", "no valid port"),
        ("temporal://there/a/b", "is no address"),
        ("temporal://me:secret@there/orders", "is no address"),
        ("temporal://there/orders?queue=q", "asks for queue"),
    ],
)
def test_an_address_with_a_mistake_is_refused_and_shows_the_form(url: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        Address.parse(url)
    assert says in refused.value.message
    assert "temporal://host:port/namespace?task_queue=NAME" in str(refused.value.hint)


def test_where_nobody_listens_one_line_says_so() -> None:
    from flowctl.backends import open_backend

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="no Temporal server answers at"):
            open_backend(f"temporal://127.0.0.1:{nobody.getsockname()[1]}/default")


def test_an_attempt_and_its_outcome_come_across_the_network_as_they_are() -> None:
    attempt = Attempt(
        "run", "order", 2, "a.b", 3, "run/a.b", "shop.sell", {"n": 1, "token": None},
        {"/token": ["Bearer ", SecretRef("TOKEN")]}, 1000, None, "ada", None, {"done": 3}, 5, 1005,
    )  # fmt: skip
    assert attempt_from_json(attempt_to_json(attempt)) == attempt
    for outcome in (
        Outcome(value=b"null"),
        Outcome(value=b'{"a":[1,2.5,"\xc3\xa9"]}', secret=True),
        Outcome(failure=Failure("Boom", "no", ("Boom", "Base"), {"x": 1}), uncertain=True, cancelled=True),
        Outcome(blocked={"code": "UnknownActivity", "reason": "none"}),
    ):
        assert outcome_from_json(outcome_to_json(outcome)) == outcome


def test_what_a_run_begins_with_is_cut_into_payloads_that_temporal_takes() -> None:
    begin = Begin("order-1", bytes(range(256)) * 6_000, task_queue="q")
    chunks = to_chunks(begin)
    assert len(chunks) == 2
    assert max(map(len, chunks)) <= CHUNK
    assert from_chunks(chunks) == begin
