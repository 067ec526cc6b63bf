"""What the routes answer: as the command line does, and as the OpenAPI document says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette

import flowctl
from flowctl.server.access import Scope
from flowctl.server.limits import Limits
from flowctl.server.openapi import document as openapi_document
from flowctl.server.routes import ENDPOINTS
from tests.serve_helpers import ORDER, TOKENS, Served, access, plugins, serving

NASTY: tuple[Any, ...] = (
    "", " ", "0", "-1", "1e999", "9" * 40, "null", "[]", "a/b", "../..", "%00", "\x00", "é" * 99,
    "\ud7ff\ue000", "a\nb", "'; DROP TABLE runs; --", "<script>", "@last", "order@1",
    "x=1", "=", "🙂", "a" * 5_000,
)  # fmt: skip
BODIES: tuple[Any, ...] = (
    None, 1, "x", [], {}, {"": 0}, {"input": []}, {"workflow": 1}, {"workflow": "order", "input": {"n": "x"}},
    {"workflow": "order", "id": "../x"}, {"workflow": "../x"}, {"workflow": "order@99999999999999999999"},
    {"payload": 1}, {"payload": None, "dedup_id": "\x00"}, {"reason": "\ud83d"}, {"skip": [""]},
    {"skip": ["a"]}, {"from": ""}, {"from": "a..b"}, {"from": "a", "input": {"n": []}}, {"source": ""},
    {"source": "["},     {"source": "dsl: 1"}, {"code": "x"}, {"token": ""}, {"message": "\x1b[2J"},
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("runs")) as found, found.client() as client:
        answer = client.post("/api/v1/workflows", json={"source": ORDER.format(version=1)})
        assert answer.status_code == 201, answer.text
        yield found


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as found:
        yield found


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Any:
    return client.get("/api/v1/openapi.json").json()


def json_of(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def code_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    return str(problem["code"])


def test_a_run_is_started_by_name_and_looked_at(served: Served, client: httpx.Client) -> None:
    started = json_of(client.post("/api/v1/runs", json={"workflow": "order@1", "id": "first"}), 201)
    assert started == {"id": "first", "workflow_id": "first", "created": True}
    assert not json_of(client.post("/api/v1/runs", json={"workflow": "order", "id": "first"}))["created"]
    served.backend.drive("first", wait=0)
    assert json_of(client.get("/api/v1/runs/first")) == served.backend.status("first")
    assert served.backend.status("first")["principal"] == "admin"


def test_the_same_key_finds_the_same_run_and_other_input_is_a_conflict(client: httpx.Client) -> None:
    headers = {"idempotency-key": "k"}
    first = json_of(client.post("/api/v1/runs", json={"workflow": "order"}, headers=headers), 201)
    assert (
        json_of(client.post("/api/v1/runs", json={"workflow": "order"}, headers=headers))["id"] == first["id"]
    )
    other = {"workflow": "order", "input": {"n": 2}}
    assert code_of(client.post("/api/v1/runs", json=other, headers=headers)) == "RunIdConflict"


def test_the_same_key_with_another_document_is_a_conflict(client: httpx.Client) -> None:
    headers, body = {"idempotency-key": "one document"}, {"workflow": "order"}
    first = json_of(client.post("/api/v1/runs", json=body, headers=headers), 201)
    another = ORDER.format(version=1) + "# said otherwise\ndescription: another\n"
    answer = client.post("/api/v1/runs", json={"document": another}, headers=headers)
    assert json_of(answer, 409)["code"] == "RunIdConflict"
    assert json_of(client.post("/api/v1/runs", json=body, headers=headers)) == first | {"created": False}


def test_a_key_and_an_id_are_not_taken_together(client: httpx.Client) -> None:
    headers = {"idempotency-key": "and an id"}
    first = json_of(client.post("/api/v1/runs", json={"workflow": "order"}, headers=headers), 201)
    for run_id in ("another", first["id"]):
        answer = client.post("/api/v1/runs", json={"workflow": "order", "id": run_id}, headers=headers)
        assert json_of(answer, 422)["code"] == "UsageError"
    assert code_of(client.get("/api/v1/runs/another")) == "RunNotFound"


def test_keys_of_different_clients_are_different(served: Served, client: httpx.Client) -> None:
    headers = {"idempotency-key": "shared"}
    one = client.post("/api/v1/runs", json={"workflow": "order"}, headers=headers)
    two = served.ask("POST", "/api/v1/runs", "operate", json={"workflow": "order"}, headers=headers)
    assert one.json()["id"] != two.json()["id"]


def test_a_list_comes_a_page_at_a_time_without_gaps(served: Served, client: httpx.Client) -> None:
    made = {served.start(drive=False, n=number) for number in range(5)}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, int | str] = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = json_of(client.get("/api/v1/runs", params=query))
        seen += [run["id"] for run in page["runs"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert set(seen) == {run["id"] for run in served.backend.select()}
    assert made <= set(seen)


def test_a_list_is_filtered_as_on_the_command_line(served: Served, client: httpx.Client) -> None:
    waiting = served.start(id="filtered")
    query = {"status": ["waiting", "paused"], "workflow": "order", "where": "customer=c-1"}
    runs = json_of(client.get("/api/v1/runs", params=query))["runs"]
    assert waiting in [run["id"] for run in runs]
    where = [("customer", ["c-1"])]
    assert runs == served.backend.list(statuses=["waiting", "paused"], workflow="order", where=where)
    assert json_of(client.get("/api/v1/runs", params={"where": "customer=c-2"}))["runs"] == []
    [brief] = [
        run for run in json_of(client.get("/api/v1/runs?counts=false"))["runs"] if run["id"] == waiting
    ]
    assert brief["step_counts"] is None
    assert brief["current_steps"] == ["w"]


def test_history_is_read_backwards_as_well(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    everything = [*served.backend.history(run_id)]
    path, before, lines = f"/api/v1/runs/{run_id}/history", everything[-1]["seq"] + 1, list[Any]()
    while before is not None:
        page = json_of(client.get(path, params={"before": before, "limit": 1}))
        lines[:0], before = page["entries"], page["next"]
    assert lines == everything
    both = client.get(path, params={"before": 3, "after": 1})
    assert json_of(both, 400)["code"] == "BadRequest"


def test_history_comes_a_page_at_a_time_in_whole_entries(served: Served, client: httpx.Client) -> None:
    run_id, lines, after = served.start(), [], 0
    while after is not None:
        page = json_of(client.get(f"/api/v1/runs/{run_id}/history", params={"after": after, "limit": 1}))
        lines += page["entries"]
        after = page["next"]
    assert lines == [*served.backend.history(run_id)]


def test_a_run_is_shown_as_it_was_and_in_pages_of_steps(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    assert [
        step["path"] for step in json_of(client.get(f"/api/v1/runs/{run_id}?first=1&count=1"))["steps"]
    ] == ["a"]
    assert json_of(client.get(f"/api/v1/runs/{run_id}?at=a"))["steps"] == []


def test_the_id_of_a_child_is_one_segment(client: httpx.Client) -> None:
    assert code_of(client.get("/api/v1/runs/first%2Fchild")) == "RunNotFound"
    assert code_of(client.get("/api/v1/runs/first/child")) == "NoSuchRoute"


def test_a_signal_is_checked_delivered_once_and_acted_on(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    actions = json_of(client.get(f"/api/v1/runs/{run_id}/actions"))
    assert [(each["name"], each["awaited"]) for each in actions["signals"]] == [("approve", True)]
    assert actions["commands"]["retry"] == "RunOpen"
    path = f"/api/v1/runs/{run_id}/signals/"
    assert code_of(client.post(f"{path}approve", json={"payload": {}})) == "InvalidInput"
    assert code_of(client.post(f"{path}approve", json={})) == "InvalidInput"
    assert code_of(client.post(f"{path}deny", json={})) == "UnknownSignal"
    for _ in range(2):
        answer = client.post(
            f"{path}approve", json={"payload": {"by": "me"}}, headers={"idempotency-key": "s"}
        )
        assert json_of(answer, 202)["id"] == run_id
    done = served.backend.drive(run_id, wait=0)
    assert done["output"]["principal"] == "admin"
    again = client.post(f"{path}approve", json={"payload": {"by": "me"}}, headers={"idempotency-key": "s"})
    assert json_of(again, 202) == {"id": run_id, "status": "completed"}
    assert code_of(client.post(f"{path}approve", json={"payload": {"by": "me"}})) == "RunClosed"


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        (["pause"], "paused"), (["pause", "unpause"], "waiting"), (["pause", "resume"], "waiting"),
        (["terminate"], "terminated"), (["cancel"], "cancelled"),
    ],
)  # fmt: skip
def test_what_people_ask_of_a_run_takes_effect(
    served: Served, client: httpx.Client, commands: list[str], status: str
) -> None:
    run_id = served.start()
    for command in commands:
        assert json_of(client.post(f"/api/v1/runs/{run_id}/{command}"), 202)["id"] == run_id
    served.backend.drive(run_id, wait=0)
    assert served.backend.status(run_id)["status"] == status


def test_who_asked_for_something_is_recorded(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    for command in ("pause", "unpause", "pause", "resume", "terminate"):
        json_of(client.post(f"/api/v1/runs/{run_id}/{command}"), 202)
    told = ("paused", "unpaused", "paused", "unpaused", "ended")
    facts = [fact for fact in served.backend.history(run_id) if fact["kind"] in told and not fact["path"]]
    assert [(fact["kind"], fact["principal"]) for fact in facts] == [(kind, "admin") for kind in told]


def test_who_let_a_run_be_retried_is_recorded(served: Served, client: httpx.Client) -> None:
    for held in ("hold", "compensate"):
        document = HELD.replace("hold", held)
        run_id = json_of(client.post("/api/v1/runs", json={"document": document}), 201)["id"]
        served.backend.drive(run_id, wait=0)
        json_of(client.post(f"/api/v1/runs/{run_id}/retry", json={}), 202)
        [reopened] = [fact for fact in served.backend.history(run_id) if fact["kind"] == "reopened"]
        assert reopened["principal"] == "admin"


HELD = """
dsl: 1
name: held
on_failure: hold
steps:
  - {id: a, activity: core.fail, with: {type: Boom}, retry: false}
"""


def test_what_can_be_done_is_what_a_request_would_get(served: Served, client: httpx.Client) -> None:
    paused, ended = served.start(), served.start()
    client.post(f"/api/v1/runs/{paused}/pause")
    client.post(f"/api/v1/runs/{ended}/terminate")
    json_of(client.post("/api/v1/runs", json={"document": HELD, "id": "held"}), 201)
    assert served.backend.drive("held", wait=0)["status"] == "paused"
    told = {}
    for run_id in (served.start(), paused, "held", ended):
        told[run_id] = json_of(client.get(f"/api/v1/runs/{run_id}/actions"))["commands"]["retry"]
        answer = client.post(f"/api/v1/runs/{run_id}/retry", json={})
        assert (answer.json().get("code") or "do") == told[run_id]
    assert [*told.values()] == ["RunOpen", "RunOpen", "do", "RunClosed"]


def test_a_run_is_repeated_from_a_step(served: Served, client: httpx.Client) -> None:
    run_id = served.start()
    new = json_of(client.post(f"/api/v1/runs/{run_id}/replay", json={"from": "a"}), 202)["id"]
    assert new != run_id
    assert served.backend.drive(new, wait=0)["steps"][0]["path"] == "a"
    difference = json_of(client.get("/api/v1/diff", params={"left": run_id, "right": new}))
    assert [run["id"] for run in difference["runs"]] == [run_id, new]
    assert code_of(client.post(f"/api/v1/runs/{run_id}/retry", json={})) == "RunOpen"


def test_to_change_a_run_takes_its_whole_id(served: Served, client: httpx.Client) -> None:
    run_id = served.start(id="whole-id")
    assert json_of(client.get("/api/v1/runs/whole-"))["id"] == run_id
    assert code_of(client.post("/api/v1/runs/whole-/terminate")) == "RunNotFound"
    assert code_of(client.post("/api/v1/runs/@last/terminate")) == "RunNotFound"


@pytest.mark.parametrize(
    ("chosen", "begins"), [("svg", "<svg"), ("mermaid", "flowchart"), ("dot", "digraph")]
)
def test_pictures_are_those_of_the_command_line(
    served: Served, client: httpx.Client, chosen: str, begins: str
) -> None:
    run_id = served.start()
    for path in (f"/api/v1/runs/{run_id}/graph", "/api/v1/workflows/order/versions/1/graph"):
        answer = client.get(path, params={"format": chosen})
        assert answer.status_code == 200
        assert answer.text.startswith(begins) or begins in answer.text[:200]
        assert json_of(client.get(path))["nodes"][0]["path"] == "a"
    assert json_of(client.get(f"/api/v1/runs/{run_id}/graph"))["state"]["status"] == "waiting"


def test_versions_are_listed_shown_and_deprecated(served: Served, client: httpx.Client) -> None:
    source = ORDER.format(version=7)
    checked = json_of(client.post("/api/v1/workflows", json={"source": source, "check": True}))
    assert checked["deployed"][0]["version"] == 7
    assert code_of(client.get("/api/v1/workflows/order/versions/7")) == "NotFound"
    assert json_of(client.post("/api/v1/workflows", json={"source": source}), 201)["deployed"][0]["created"]
    assert [each["version"] for each in json_of(client.get("/api/v1/workflows/order"))["workflows"]] == [7, 1]
    shown = json_of(client.get("/api/v1/workflows/order/versions/7"))
    assert shown["source"] == source
    assert shown["signals"][0]["payload_schema"]["required"] == ["by"]
    path = "/api/v1/workflows/order/versions/7/deprecate"
    assert json_of(client.post(path, json={"message": "use 1"}))["deprecated"] == "use 1"
    assert json_of(client.get("/api/v1/workflows"))["workflows"] == served.backend.workflows()


def test_the_mistakes_of_a_document_are_all_listed(client: httpx.Client) -> None:
    answer = client.post("/api/v1/workflows", json={"source": "dsl: 1\nnam: x\n"})
    assert code_of(answer) == "InvalidDocument"
    assert {each["code"] for each in answer.json()["details"]["errors"]} >= {"MissingKey", "UnknownKey"}


def test_documents_are_refused_unless_the_server_takes_them(tmp_path: Path) -> None:
    with serving(tmp_path, allow_deploy=False) as served:
        source = ORDER.format(version=1)
        assert code_of(served.ask("POST", "/api/v1/workflows", json={"source": source})) == "Forbidden"
        assert code_of(served.ask("POST", "/api/v1/runs", json={"document": source})) == "Forbidden"


def test_a_document_is_started_only_by_those_who_may_deploy(served: Served) -> None:
    body = {"document": ORDER.format(version=3), "id": "from-text"}
    assert code_of(served.ask("POST", "/api/v1/runs", "operate", json=body)) == "Forbidden"
    assert json_of(served.ask("POST", "/api/v1/runs", "deploy", json=body), 201)["created"]


def test_a_document_over_http_names_no_file(served: Served, tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(ORDER.format(version=1))
    source = f"dsl: 1\nname: parent\nversion: 1\nsteps:\n  - id: c\n    workflow: {tmp_path}/child.yaml\n"
    for path, body in (("workflows", {"source": source}), ("runs", {"document": source})):
        answer = served.ask("POST", f"/api/v1/{path}", json=body)
        assert answer.status_code == 422
        [found] = answer.json()["details"]["errors"]
        assert (found["code"], found["line"], "folder" in found["message"]) == ("UnknownWorkflow", 6, True)


SECRET = """
dsl: 1
name: hidden
version: 1
steps:
  - id: s
    activity: core.echo
    secret: true
    with: {value: the-canary}
"""


def test_what_a_secret_step_holds_is_shown_nowhere(served: Served, client: httpx.Client) -> None:
    json_of(client.post("/api/v1/runs", json={"document": SECRET.replace("\n", "\n"), "id": "hidden-1"}), 201)
    served.backend.drive("hidden-1", wait=0)
    for path in ("", "/history", "/graph?format=json", "/graph?format=svg"):
        answer = client.get(f"/api/v1/runs/hidden-1{path}")
        assert answer.status_code == 200
        assert "the-canary" not in answer.text.replace(SECRET, "")


# --- limits and headers


def test_what_is_too_large_too_deep_or_no_json_is_refused(served: Served, client: httpx.Client) -> None:
    path, kind = "/api/v1/runs", {"content-type": "application/json"}
    assert code_of(client.post(path, content=b'"' + b"x" * (1 << 20) + b'"', headers=kind)) == "TooLarge"

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * (1 << 15)

    assert code_of(client.post(path, content=chunks(), headers=kind)) == "TooLarge"
    assert client.post(path, content=b"[" * 5_000 + b"]" * 5_000, headers=kind).status_code in (400, 422)
    for broken in (b"{", b"NaN", b'{"a": NaN}', b"\xff", b'{"input": {"a": 1, "a": 2}}', b"{}{}"):
        assert client.post(path, content=broken, headers=kind).status_code in (400, 422), broken
    assert (
        code_of(client.post(path, content=b"{}", headers={"content-type": "text/plain"}))
        == "UnsupportedMediaType"
    )
    assert code_of(client.get("/api/v1/runs?workflow=" + "x" * 9_000)) == "TooLarge"
    assert code_of(client.get("/api/v1/runs", headers={"x-long": "x" * 17_000})) == "HeadersTooLarge"
    assert code_of(client.get("/api/v1/runs?limit=501")) == "BadRequest"
    assert code_of(client.get("/api/v1/runs?limit=1&limit=2")) == "BadRequest"
    assert code_of(client.get("/api/v1/runs?sort=x")) == "BadRequest"
    assert code_of(client.post(path, json={"workflow": "order", "more": 1})) == "BadRequest"


def test_streams_are_counted_for_each_client(tmp_path: Path) -> None:
    limits = Limits(streams=3, streams_per_client=2)
    with (
        serving(tmp_path, limits=limits) as served,
        served.client() as client,
        served.client("read") as other,
        client.stream("GET", "/api/v1/events"),
        client.stream("GET", "/api/v1/events"),
    ):
        assert code_of(client.get("/api/v1/events")) == "TooMany"
        with other.stream("GET", "/api/v1/events") as third:
            assert third.status_code == 200
            assert code_of(other.get("/api/v1/events")) == "TooMany"


def test_every_answer_has_the_headers_that_protect_browsers(served: Served, client: httpx.Client) -> None:
    for path in ("/", "/api/v1/runs", "/api/v1/nothing", "/metrics", "/runs/x"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"


def test_paths_that_are_not_the_apis_give_the_page(served: Served) -> None:
    page = served.ask("GET", "/", token=None)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/runs/order-1", "/..%2f..%2fetc/passwd", "/static/../app.py", "/app.py"):
        assert served.ask("GET", path, token=None).text == page.text
    again = served.ask("GET", "/", token=None, headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304
    assert served.ask("HEAD", "/", token=None).content == b""
    assert served.ask("POST", "/", token=None).status_code == 405


def test_metrics_are_what_prometheus_reads(served: Served, client: httpx.Client) -> None:
    served.start()
    text = client.get("/metrics").text
    sample = re.compile(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\])*",?)+\})? -?[0-9.e+-]+')
    lines = text.splitlines()
    assert lines
    for line in lines:
        assert line.startswith(("# HELP flowctl_", "# TYPE flowctl_")) or sample.fullmatch(line), line
    assert any(line.startswith('flowctl_runs{workflow="order",status="waiting"}') for line in lines)
    assert any(line.startswith("flowctl_workers ") for line in lines)


def test_the_server_tells_about_itself(served: Served, client: httpx.Client) -> None:
    told = json_of(client.get("/api/v1/server"))
    assert told["runs"]["waiting"] == len(served.backend.select(statuses=["waiting"]))
    assert json_of(client.get("/readyz")) == {"status": "ok"}


# --- the OpenAPI document


def test_the_document_describes_every_route_but_sockets(document: Any) -> None:
    described = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    assert described == {(each.method, each.path) for each in ENDPOINTS if each.method != "WS"}
    assert document == json.loads(json.dumps(openapi_document(ENDPOINTS, flowctl.__version__)))


def test_every_schema_that_the_document_refers_to_is_there_and_one(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_whatever_is_asked_the_answer_is_one_that_the_document_knows(
    served: Served, client: httpx.Client, document: Any
) -> None:
    """Every operation with nasty values in every place: a documented status, and the schema it promises."""
    run_id = served.start(id="asked")
    asked = 0
    for endpoint in ENDPOINTS:
        if endpoint.method == "WS" or endpoint.streams is not None or endpoint.name == "logOut":
            continue
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        good = {"run": run_id, "name": "order", "version": "1"}
        places = [part for part in good if f"{{{part}}}" in endpoint.path]
        trials: list[tuple[dict[str, str], list[tuple[str, str]], Any]] = [(good, [], {})]
        trials += [({**good, part: value}, [], {}) for part in places for value in NASTY if value]
        names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        trials += [(good, [(name, value)], {}) for name in names for value in NASTY]
        trials += [(good, [], body) for body in BODIES if endpoint.body is not None]
        for parts, query, body in trials:
            content = json.dumps(body).encode() if endpoint.body is not None else None
            answer = client.request(
                endpoint.method, endpoint.url(**parts), params=httpx.QueryParams(tuple(query)),
                content=content, headers={"content-type": "application/json"},
            )  # fmt: skip
            check(answer, operation, document, (endpoint.name, parts, query, body))
            asked += 1
    assert asked > 500


def check(answer: httpx.Response, operation: Any, document: Any, asked: object) -> None:
    responses = operation["responses"]
    assert str(answer.status_code) in responses, (asked, answer.status_code, answer.text[:500])
    media = answer.headers["content-type"].partition(";")[0]
    content = responses[str(answer.status_code)]["content"]
    assert media in content, asked
    if media.endswith("json"):
        schema = {**content[media]["schema"], "components": document["components"]}
        jsonschema.validate(answer.json(), schema)


# --- in an application of one's own


def test_it_is_mounted_in_another_application_in_one_line(tmp_path: Path) -> None:
    app = Starlette()
    flows = flowctl.serve_app(
        str(tmp_path / "f.db"), access=access(), hosts=["testserver"], plugins=plugins()
    )
    app.mount("/flows", flows)
    try:
        asyncio.run(mounted(app))
    finally:
        flows.close()


async def mounted(app: Starlette) -> None:
    headers = {"authorization": f"Bearer {TOKENS['read'].text}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as client:
        assert (await client.get("/flows/api/v1/runs")).json()["runs"] == []
        assert (await client.get("/flows/healthz")).json() == {"status": "ok"}
        assert "<title>flowctl" in (await client.get("/flows/")).text
        assert (await client.get("/api/v1/runs")).status_code == 404
        login = await client.post("/flows/api/v1/session", json={"token": TOKENS["read"].text})
        assert "Path=/flows" in login.headers["set-cookie"]


def test_a_database_in_memory_has_tokens_in_memory() -> None:
    flows = flowctl.serve_app("memory:", plugins=plugins())
    try:
        [token] = flows.access.tokens().values()
        assert token.scope is Scope.ADMIN
        assert flows.access.path is None
    finally:
        flows.close()
