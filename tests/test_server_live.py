"""What happens is told as it happens: the feed, the watcher, and the streams that they feed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from flowctl.backends import StartRequest, open_backend
from flowctl.backends.local import LocalBackend
from flowctl.document import load
from flowctl.journal.memory import MemoryJournal
from flowctl.server.limits import Limits
from flowctl.server.live import CHUNK, Channel, Event, Feed, Tally, Watcher
from tests.serve_helpers import ORDER, TOKENS, Served, plugins, serving, stream


def change(name: str, workflow: str = "order") -> dict[str, tuple[str, bytes]]:
    return {name: (workflow, f'"{name}"'.encode())}


def texts(events: list[Event]) -> list[str]:
    return [json.loads(event.data) for event in events]


# --- the feed


def test_who_has_seen_a_number_gets_what_came_after_it() -> None:
    feed = Feed()
    feed.put(change("a"))
    feed.put(change("b"))
    events, seen = feed.after(0, None) or ([], 0)
    assert (texts(events), seen) == (["a", "b"], 2)
    assert feed.after(2, None) == ([], 2)


def test_who_is_behind_is_told_of_each_run_once_as_it_is_now() -> None:
    feed = Feed()
    for _ in range(50):
        feed.put(change("a"))
        feed.put(change("b"))
    events, _ = feed.after(3, None) or ([], 0)
    assert texts(events) == ["a", "b"]


def test_changes_come_in_chunks_and_all_of_them() -> None:
    feed, seen, told = Feed(), 0, list[str]()
    feed.put({str(number): ("order", f'"{number}"'.encode()) for number in range(3 * CHUNK + 1)})
    sizes = []
    while True:
        events, seen = feed.after(seen, None) or ([], 0)
        if not events:
            break
        sizes.append(len(events))
        told += texts(events)
    assert sizes == [CHUNK, CHUNK, CHUNK, 1]
    assert told == [str(number) for number in range(3 * CHUNK + 1)]


def test_who_asks_for_one_workflow_is_told_of_no_other_and_is_not_behind() -> None:
    feed = Feed()
    feed.put(change("a"))
    feed.put(change("b", "other"))
    events, seen = feed.after(0, "other") or ([], 0)
    assert (texts(events), seen) == (["b"], 2)


def test_what_is_forgotten_is_admitted() -> None:
    feed = Feed(kept=3)
    for name in "abcde":
        feed.put(change(name))
    assert feed.after(1, None) is None
    assert feed.find(feed.place(1)) is None
    events, _ = feed.after(2, None) or ([], 0)
    assert texts(events) == ["c", "d", "e"]


@pytest.mark.parametrize(
    "place", ["", ".", "x.1", "1", "abc", "{}.-1", "{}.x", "{}.9", "{}.99999999999999999999"]
)
def test_a_place_that_is_not_of_this_feed_is_not_known(place: str) -> None:
    feed = Feed()
    feed.put(change("a"))
    assert feed.find(place.format(feed.epoch)) is None
    assert feed.find(feed.place()) == feed.find(None) == 1


def test_who_has_fallen_out_of_a_channels_window_must_ask_the_journal() -> None:
    channel = Channel(10)
    channel.put([{"seq": seq} for seq in range(11, 11 + 1_005)])
    assert channel.after(10) is None
    events = channel.after(channel.start)
    assert events is not None
    assert int(events[0].id) == channel.start + 1


# --- the watcher


def test_the_watcher_sees_a_run_from_its_beginning_to_its_end_and_counts_it() -> None:
    store = MemoryJournal()
    backend, tally = LocalBackend(store, plugins()), Tally()
    watcher = Watcher(LocalBackend(store.another(), None), tally)
    seen: list[str] = []

    def look() -> None:
        found, _ = watcher.look({})
        seen.extend(json.loads(data)["status"] for _, data in found.values())

    workflow = load(ORDER.format(version=1), "order.yaml").workflow
    run_id, _ = backend.start(StartRequest(workflow, "", {}))
    look()
    backend.drive(run_id, wait=0)
    look()
    backend.pause(run_id)
    look()
    backend.unpause(run_id)
    backend.signal(run_id, "approve", {"by": "me"})
    look()
    look()
    backend.drive(run_id, wait=0)
    look()
    look()
    assert seen == ["created", "waiting", "paused", "waiting", "completed"]
    assert tally.started == {"order": 1}
    assert tally.ended == {("order", "completed"): 1}
    assert sum(tally.buckets["order"]) == 1


def test_the_watcher_sees_a_run_that_is_blocked_though_no_entry_tells_of_it(tmp_path: Path) -> None:
    path = str(tmp_path / "f.db")
    backend, nobody = open_backend(path, plugins=plugins()), open_backend(path)
    reader = open_backend(path, read_only=True)
    try:
        workflow = load(ORDER.format(version=1), "order.yaml").workflow
        run_id, _ = backend.start(StartRequest(workflow, "", {}))
        watcher = Watcher(reader, Tally())
        nobody.drive(run_id, wait=0)  # without plugins
        found, _ = watcher.look({})
        assert json.loads(found[run_id][1])["status"] == "blocked"
    finally:
        for each in (backend, nobody, reader):
            each.close()


# --- streams


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("live")) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as found:
        yield found


def test_a_list_is_kept_true_by_what_comes_after_its_place(served: Served, client: httpx.Client) -> None:
    first = served.start()
    place = client.get("/api/v1/runs").json()["place"]
    with stream(client, f"/api/v1/events?after={place}") as events:
        second = served.start()
        events.until("run", id=second, status="waiting")
        client.post(f"/api/v1/runs/{first}/terminate")
        assert events.until("run", id=first, status="terminated")["step_counts"] is None


def test_a_stream_is_resumed_without_missing_anything(served: Served, client: httpx.Client) -> None:
    with stream(client, "/api/v1/events") as events:
        place, name, _ = events.next()
        assert name == "ready"
    missed = served.start()
    with stream(client, "/api/v1/events", **{"last-event-id": place}) as events:
        assert events.until("run", id=missed, status="waiting")


def test_after_a_restart_the_list_is_to_be_read_again(client: httpx.Client) -> None:
    with stream(client, "/api/v1/events?after=0123456789ab.7") as events:
        _, name, _ = events.next()
        assert name == "reset"


def test_a_stream_of_one_workflow_has_no_others(served: Served, client: httpx.Client) -> None:
    with stream(client, "/api/v1/events?workflow=another") as events:
        events.next()
        served.start()
        source = ORDER.format(version=1).replace("name: order", "name: another")
        started = client.post("/api/v1/runs", json={"document": source})
        assert events.next()[2]["id"] == started.json()["id"]


def lines_until_the_end(events: Any) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    while not lines or lines[-1]["kind"] != "ended":
        _, name, data = events.next()
        lines += data if name == "history" else []
    return lines


def test_a_run_is_followed_to_its_end_and_nothing_is_missing(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        events.until("run", status="waiting")
        served.backend.signal(run_id, "approve", {"by": "me"})
        served.backend.drive(run_id, wait=0)
        told = lines_until_the_end(events)
        assert events.until("run", status="completed")["id"] == run_id
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        everything = lines_until_the_end(events)
    assert everything == [*served.backend.history(run_id)]
    assert told == everything[-len(told) :]


def test_that_a_run_was_created_is_told_once_before_anybody_takes_it_up(
    served: Served, client: httpx.Client
) -> None:
    run_id = served.start(drive=False)
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        assert [name for _, name, _ in (events.next(), events.next())] == ["history", "run"]
        served.backend.drive(run_id, wait=0)
        _, name, lines = events.next()
        assert (name, lines[0]["kind"]) == ("history", "started")


def test_a_run_is_resumed_after_the_last_entry_seen(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        seen: list[Any] = []
        while True:
            number, name, data = events.next()
            if name == "run":
                break
            seen += data
    served.backend.signal(run_id, "approve", {"by": "me"})
    served.backend.drive(run_id, wait=0)
    with stream(client, f"/api/v1/runs/{run_id}/events", **{"last-event-id": number}) as events:
        assert seen + lines_until_the_end(events) == [*served.backend.history(run_id)]


def test_of_a_long_history_only_the_last_lines_come_and_it_is_said_so(
    served: Served, client: httpx.Client
) -> None:
    run_id = served.start()
    everything = [*served.backend.history(run_id)]
    with stream(client, f"/api/v1/runs/{run_id}/events?last=1") as events:
        place, name, _ = events.next()
        assert (int(place), name) == (everything[-1]["seq"] - 1, "reset")
        _, _, lines = events.next()
        assert lines == [line for line in everything if line["seq"] == everything[-1]["seq"]]
        assert events.next()[1] == "run"


def test_who_missed_less_than_the_last_lines_gets_what_he_missed(
    served: Served, client: httpx.Client
) -> None:
    run_id = served.start()
    everything = [*served.backend.history(run_id)]
    for after in (0, everything[1]["seq"]):
        with stream(client, f"/api/v1/runs/{run_id}/events?last=1000&after={after}") as events:
            seen: list[Any] = []
            while (event := events.next())[1] != "run":
                assert event[1] == "history"
                seen += event[2]
        assert seen == [line for line in everything if line["seq"] > after or not after]


def test_a_socket_has_the_same_events_as_a_stream(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        streamed = [events.next() for _ in range(4)]
    messages = asyncio.run(received(served, f"/api/v1/runs/{run_id}/socket", 4))
    assert [(each["id"], each["event"], each["data"]) for each in messages] == streamed


async def received(served: Served, path: str, count: int) -> list[Any]:
    headers = {"authorization": f"Bearer {TOKENS['read'].text}"}
    messages: list[Any] = []
    async with websockets.connect(
        f"ws://localhost:{served.port}{path}", additional_headers=headers
    ) as socket:
        while len(messages) < count:
            messages += json.loads(await socket.recv())
    return messages


def test_a_stream_of_no_run_is_refused_before_it_begins(client: httpx.Client) -> None:
    assert client.get("/api/v1/runs/nobody/events").json()["code"] == "RunNotFound"


def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as served,
        served.client() as client,
        stream(client, "/api/v1/events") as events,
    ):
        events.next()
        served.stop()
        with pytest.raises(EOFError):
            events.next()


def test_a_run_that_is_discarded_while_somebody_looks_at_it_harms_nobody_else(tmp_path: Path) -> None:
    path = str(tmp_path / "f.db")
    backend, reader = open_backend(path, plugins=plugins()), open_backend(path)
    try:
        watcher = Watcher(reader, Tally())
        watcher.look({"gone": Channel(0)})
        workflow = load(ORDER.format(version=1), "order.yaml").workflow
        run_id, _ = backend.start(StartRequest(workflow, "", {}))
        found, _ = watcher.look({"gone": Channel(0)})
        assert list(found) == [run_id]
    finally:
        backend.close()
        reader.close()


def test_who_takes_nothing_is_dropped_and_costs_no_more_than_what_was_on_its_way(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(stall=0.2)) as served, served.client() as client:
        request = (
            f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['read'].text}"
        )
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as idle:
            idle.sendall(f"{request}\r\n\r\n".encode())
            assert idle.recv(1_000).startswith(b"HTTP/1.1 200")
            large = b'"' + b"x" * 60_000 + b'"'
            served.on_loop(lambda: served.app.hub.feed.put({str(i): ("order", large) for i in range(300)}))
            while client.get("/metrics").text.count("flowctl_server_live_streams 1"):
                pass


def test_a_retry_of_a_run_that_had_ended_is_followed_too(served: Served, client: httpx.Client) -> None:
    source = ORDER.format(version=9).replace("core.echo", "core.fail").split("  - attributes")[0]
    source = source.replace('with: {value: "${{ input.n }}"}', "with: {message: no}")
    started = client.post("/api/v1/runs", json={"document": source})
    if started.status_code != 201:
        pytest.fail(started.text)
    run_id = started.json()["id"]
    served.backend.drive(run_id, wait=0)
    with stream(client, f"/api/v1/runs/{run_id}/events") as events:
        events.until("run", status="failed")
        client.post(f"/api/v1/runs/{run_id}/retry", json={})
        served.backend.drive(run_id, wait=0)
        kinds = [line["kind"] for line in lines_until_the_end(events)]
        assert "reopened" in kinds
