"""Routes about runs. What they answer with has the shapes of the command line's ``--json`` (docs/cli.md)."""

from __future__ import annotations

import hashlib
import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowctl.backends import Backend, StartRequest
from flowctl.errors import InvalidInput, RunNotFound, UsageError
from flowctl.server import documents, streams
from flowctl.server.access import Scope
from flowctl.server.pictures import MEDIA, GraphQuery, picture
from flowctl.server.problems import BadRequest
from flowctl.server.table import API, Answer, Ask, Endpoint

Status = Literal[
    "created", "running", "waiting", "paused", "blocked", "compensating", "completed", "compensated",
    "compensation_failed", "failed", "cancelled", "terminated", "continued",
]  # fmt: skip

Count = Annotated[int, Meta(ge=1, le=1_000)]
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4_000)]


class ListQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The filters of ``list``: of one kind any may hold, of different kinds all must."""

    status: Annotated[list[Status], Meta(max_length=13)] = []
    workflow: Name | None = None
    where: Annotated[list[Annotated[str, Meta(max_length=1_000)]], Meta(max_length=20)] = []
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    cursor: Annotated[str, Meta(max_length=200)] | None = None
    counts: bool = True


class StatusQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``count`` steps: the last, or from number ``first`` on; with ``at``, as it was before that step."""

    first: Annotated[int, Meta(ge=1, le=1 << 31)] | None = None
    count: Count = 200
    at: Text | None = None


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``after`` is a ``seq``: what follows it; ``before`` one: what leads to it. Whole entries come, so a few
    lines more than ``limit`` may.
    """

    after: Annotated[int, Meta(ge=0, le=1 << 62)] = 0
    before: Annotated[int, Meta(ge=1, le=1 << 62)] | None = None
    limit: Count = 500


class DiffQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Two runs."""

    left: Text
    right: Text


class StartBody(msgspec.Struct, forbid_unknown_fields=True):
    """``workflow`` is NAME or NAME@V; ``document`` a text, for those who may deploy. One of them."""

    workflow: Name | None = None
    document: str | None = None
    input: dict[str, Any] = {}
    id: Name | None = None


class SignalBody(msgspec.Struct, forbid_unknown_fields=True):
    """``dedup_id`` makes a second delivery a no-op, like the header ``Idempotency-Key``."""

    payload: Any = None
    dedup_id: Name | None = None


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """The reason becomes the message of the run's error."""

    reason: Text = "cancelled over HTTP"


class RetryBody(msgspec.Struct, forbid_unknown_fields=True):
    """``skip``: paths of steps that a person has undone."""

    skip: Annotated[list[Text], Meta(max_length=1_000)] = []


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """The step to repeat from; another input, or the run's own."""

    start: Text
    input: dict[str, Any] | None = None


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing to say."""


def _list(backend: Backend, ask: Ask) -> Any:
    query, place = ask.query, ask.app.hub.feed.place()  # before reading: what comes meanwhile comes twice
    runs, cursor = backend.page(
        statuses=query.status,
        workflow=query.workflow,
        where=_where(query.where),
        limit=query.limit,
        after=query.cursor,
        counts=query.counts,
    )
    return {"runs": runs, "next": cursor, "place": place}


def _where(pairs: list[str]) -> list[tuple[str, list[Any]]]:
    """``KEY=VALUE``: as on the command line, ``42`` means the text as well as the number."""
    from flowctl.document import scalar

    conditions: dict[str, list[Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise BadRequest("a condition of where is KEY=VALUE, such as customer=c-1")
        allowed = conditions.setdefault(name, [])
        allowed.append(text)
        try:
            allowed.append(scalar(text))
        except (ValueError, InvalidInput):
            continue
    return list(conditions.items())


def run_of(backend: Backend, ask: Ask, name: str = "run") -> str:
    """The run that a path means, to be looked at: an id, a unique beginning of one, or @last."""
    return backend.resolve(ask.parts[name])


def exactly(backend: Backend, ask: Ask) -> str:
    """The run that a path means, to be changed: its run id or workflow id, whole. ``RunNotFound``."""
    given = ask.parts["run"]
    run_id = run_of(backend, ask)
    if given not in (run_id, run_id.partition("~")[0]):
        raise RunNotFound(f"there is no run {given}", hint="to change a run takes its whole id")
    return run_id


def _status(backend: Backend, ask: Ask) -> Any:
    query = ask.query
    return backend.status(run_of(backend, ask), first=query.first, count=query.count, before=query.at)


def _history(backend: Backend, ask: Ask) -> Any:
    run_id, query = run_of(backend, ask), ask.query
    if query.before is None:
        lines, place = streams.history_page(backend, run_id, query.after, query.limit)
    elif query.after:
        raise BadRequest("give either after or before")
    else:
        lines, place = backend.earlier(run_id, before=query.before, limit=query.limit)
    return {"entries": lines, "next": place}


def _graph(backend: Backend, ask: Ask) -> Any:
    run_id = run_of(backend, ask)
    document = backend.status(run_id, first=1, count=sys.maxsize)
    return picture(backend.pinned(run_id)[0], ask.query.format, document)


def _document(backend: Backend, ask: Ask) -> Any:
    return documents.described(*backend.pinned(run_of(backend, ask)))


def _actions(backend: Backend, ask: Ask) -> Any:
    run_id = run_of(backend, ask)
    run = streams.glance(backend, run_id)
    workflow, _ = backend.pinned(run_id)
    awaited = {name for each in run["waiting_for"] if each["kind"] == "signal" for name in each["names"]}
    signals = documents.signals_of(workflow)
    reactions = backend.reactions(run_id)
    commands = ("signal", "cancel", "pause", "unpause", "terminate", "retry", "replay", "resume")
    return {
        "id": run_id,
        "status": run["status"],
        "live": backend.is_live(run_id),
        "commands": {name: reactions[name] for name in commands},
        "signals": [{**each, "awaited": each["name"] in awaited} for each in signals],
    }


def _diff(backend: Backend, ask: Ask) -> Any:
    from flowctl.backends.difference import difference

    pair = (ask.query.left, ask.query.right)
    return difference(*(backend.status(backend.resolve(one), count=sys.maxsize) for one in pair))


def _start(backend: Backend, ask: Ask) -> Any:
    body = ask.body
    if (body.workflow is None) == (body.document is None):
        raise BadRequest("give either workflow or document")
    if body.document is not None:
        documents.may_deploy(ask)
        workflow, source = documents.read(ask, body.document), body.document
    else:
        workflow, source = documents.deployed(backend, body.workflow)
    children = documents.closure_of(backend, workflow)
    chosen = _id_for(ask, workflow.name)
    asked = StartRequest(workflow, source, body.input, id=chosen, principal=ask.grant.name, children=children)
    run_id, created = backend.start(asked)
    answer = {"id": run_id, "workflow_id": run_id.partition("~")[0], "created": created}
    return Answer(answer, status=201 if created else 200)


def _id_for(ask: Ask, workflow: str) -> str | None:
    """The id that was asked for, or that the client's idempotency key stands for: asking again finds the run
    that is there. People read it, so it begins with the workflow's name: a key is of one workflow.
    """
    key = ask.key()
    if key is None:
        return ask.body.id  # type: ignore[no-any-return]
    if ask.body.id is not None:
        raise UsageError(
            "a run has either an id or an Idempotency-Key",
            hint="leave out the header: a start with an id can be repeated as it is",
        )
    digest = hashlib.sha256(f"{ask.grant.name}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{workflow[:60]}-{digest[:26]}"


def _signal(backend: Backend, ask: Ask) -> Any:
    body = ask.body
    return backend.signal(
        exactly(backend, ask),
        ask.parts["name"],
        body.payload,
        dedup_id=body.dedup_id or ask.key(),
        principal=ask.grant.name,
    )


def _cancel(backend: Backend, ask: Ask) -> Any:
    return backend.cancel(exactly(backend, ask), ask.body.reason, principal=ask.grant.name)


def _retry(backend: Backend, ask: Ask) -> Any:
    return backend.retry(exactly(backend, ask), skip=ask.body.skip, principal=ask.grant.name)


def _replay(backend: Backend, ask: Ask) -> Any:
    if not ask.body.start:
        raise UsageError("the step to repeat from is empty", hint="the run's document lists its steps")
    run_id, body = exactly(backend, ask), ask.body
    return backend.replay(run_id, body.start, input=body.input, principal=ask.grant.name)


def _simple(command: str) -> Any:
    def act(backend: Backend, ask: Ask) -> Any:
        return getattr(backend, command)(exactly(backend, ask), principal=ask.grant.name)

    return act


RUN = f"{API}/runs/{{run}}"
_ABOUT_A_RUN = (404, 422)
_CHANGES_A_RUN = (404, 409, 422)


def _command(
    name: str, summary: str, writes: Any, body: Any = EmptyBody, path: str | None = None
) -> Endpoint:
    return Endpoint(
        method="POST", path=f"{RUN}/{path or name}", scope=Scope.OPERATE, name=f"{name}Run", summary=summary,
        writes=writes, body=body, result="Accepted", accepted=202, errors=_CHANGES_A_RUN,
        idempotent=name == "signal",
    )  # fmt: skip


def _reading(path: str, name: str, summary: str, reads: Any, result: str, **more: Any) -> Endpoint:
    return Endpoint(
        method="GET", path=f"{RUN}{path}", scope=Scope.READ, name=name, summary=summary, reads=reads,
        result=result, errors=_ABOUT_A_RUN, **more,
    )  # fmt: skip


ENDPOINTS = (
    Endpoint(
        method="GET", path=f"{API}/runs", scope=Scope.READ, name="listRuns",
        summary="Runs, newest first, a page at a time.",
        reads=_list, query=ListQuery, result="RunPage", errors=(422,),
    ),
    Endpoint(
        method="POST", path=f"{API}/runs", scope=Scope.OPERATE, name="startRun",
        summary="Accept a run durably and leave it to a worker.",
        writes=_start, body=StartBody, result="Started", accepted=201, errors=(404, 409, 413, 422),
        idempotent=True,
    ),
    _reading("", "getRun", "Everything about a run.", _status, "RunStatus", query=StatusQuery),
    _reading("/history", "getHistory", "The journal of a run.", _history, "History", query=HistoryQuery),
    _reading("/graph", "getRunGraph", "A picture of a run with the states of its steps.", _graph, "Graph",
             query=GraphQuery, media=MEDIA),
    _reading("/document", "getRunDocument", "The document that a run goes on with.", _document, "Document"),
    _reading("/actions", "getRunActions", "What can be done with a run as it stands, and its signals.",
             _actions, "Actions"),
    Endpoint(
        method="GET", path=f"{API}/diff", scope=Scope.READ, name="diffRuns", summary="Where two runs differ.",
        reads=_diff, query=DiffQuery, result="Difference", errors=_ABOUT_A_RUN,
    ),
    _command("signal", "Deliver a signal.", _signal, SignalBody, "signals/{name}"),
    _command("cancel", "Cancel the run and undo what it did.", _cancel, CancelBody),
    _command("pause", "Let nothing new begin.", _simple("pause")),
    _command("unpause", "Let a paused run go on.", _simple("unpause")),
    _command("resume", "Let a paused, blocked or interrupted run go on.", _simple("resume")),
    _command("terminate", "End the run at once, and undo nothing.", _simple("terminate")),
    _command("retry", "Let the run go on from what failed.", _retry, RetryBody),
    _command("replay", "Accept a new run that repeats this one from a step on.", _replay, ReplayBody),
    Endpoint(
        method="GET", path=f"{API}/events", scope=Scope.READ, name="streamRuns",
        summary="How runs stand, each time one changes, as server-sent events.",
        streams=streams.all_runs, query=streams.AllQuery, media=("text/event-stream",), errors=(429,),
    ),
    Endpoint(
        method="GET", path=f"{RUN}/events", scope=Scope.READ, name="streamRun",
        summary="The history of a run and how it stands, as it happens, as server-sent events.",
        streams=streams.one_run, query=streams.RunQuery, media=("text/event-stream",),
        errors=(*_ABOUT_A_RUN, 429),
    ),
    Endpoint(
        method="WS", path=f"{API}/socket", scope=Scope.READ, name="socketRuns",
        summary="The same as streamRuns over a WebSocket.",
        streams=streams.all_runs, query=streams.AllQuery,
    ),
    Endpoint(
        method="WS", path=f"{RUN}/socket", scope=Scope.READ, name="socketRun",
        summary="The same as streamRun over a WebSocket.",
        streams=streams.one_run, query=streams.RunQuery,
    ),
)  # fmt: skip
