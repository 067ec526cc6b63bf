"""Routes about deployed workflows, and what others need to know of documents.

Whoever may submit a document decides what is executed here. So deploying over HTTP is turned off unless the
server was started with it, and then takes a scope of its own; a document that came over HTTP never names a
file: its children must be deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowctl.backends import Backend
from flowctl.backends.finding import Finder, name_and_version
from flowctl.errors import NotFound
from flowctl.server.access import Scope
from flowctl.server.pictures import MEDIA, GraphQuery, picture
from flowctl.server.problems import Forbidden
from flowctl.server.table import API, Answer, Ask, Endpoint

if TYPE_CHECKING:
    from flowctl.document.closure import Closure
    from flowctl.model import Workflow


class DeployBody(msgspec.Struct, forbid_unknown_fields=True):
    """A document's text; or, with ``check``, only say what deploying it would mean."""

    source: str
    check: bool = False


class DeprecateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why, and what to use instead."""

    message: Annotated[str, Meta(max_length=4_000)] = "no reason given"


def may_deploy(ask: Ask) -> None:
    """``Forbidden`` unless this server takes documents, and whoever asks may hand them in."""
    if not ask.app.deploys:
        raise Forbidden("this server takes no documents", hint="start it with --allow-deploy")
    if ask.grant.scope < Scope.DEPLOY:
        raise Forbidden(f"the token {ask.grant.name} may not hand in documents", hint="it takes scope deploy")


def read(ask: Ask, source: str) -> Workflow:
    """A document that came over HTTP. ``InvalidDocument``."""
    from flowctl import document

    functions, world = ask.app.vocabulary, document.REGISTRY
    return document.load(source, "the document", functions=functions, world=world).workflow


def deployed(backend: Backend, reference: str) -> tuple[Workflow, str]:
    """The deployed document that NAME[@V] means, and its text. ``NotFound``, ``UsageError``."""
    workflow, source, _ = backend.document(*name_and_version(reference))
    return workflow, source


def closure_of(backend: Backend, workflow: Workflow) -> Closure | None:
    """The documents of its children, which must be deployed. ``NotFound``, ``UsageError``."""
    finder = Finder(backend, dict, warn=lambda _: None, remark=lambda _: None)
    return finder.closure_of(workflow, None)


def described(workflow: Workflow, source: str) -> dict[str, Any]:
    """A document for those who start runs of it, send them signals, or read it."""
    return {
        "name": workflow.name,
        "version": workflow.version,
        "digest": workflow.digest,
        "description": workflow.description,
        "deprecated": workflow.deprecated,
        "input_schema": workflow.input_schema,
        "signals": signals_of(workflow),
        "source": source,
        "body": workflow.body,
    }


def signals_of(workflow: Workflow) -> list[dict[str, Any]]:
    """The signals that a document declares, with the schemas of their payloads: what a form is made of."""
    return [
        {"name": signal.name, "description": signal.description, "payload_schema": signal.payload_schema}
        for signal in workflow.signals.values()
    ]


def _list(backend: Backend, ask: Ask) -> Any:
    return {"workflows": backend.workflows()}


def _versions(backend: Backend, ask: Ask) -> Any:
    name = ask.parts["name"]
    found = [each for each in backend.workflows() if each["name"] == name]
    if not found:
        raise NotFound(f"no workflow {name} is deployed")
    return {"workflows": found}


def _found(backend: Backend, ask: Ask) -> tuple[Workflow, str, str | None]:
    version = ask.parts["version"]
    if not (version.isascii() and version.isdecimal() and len(version) < 19):
        raise NotFound(f"{version!r} is no version", hint="versions are 1, 2, 3 and so on")
    return backend.document(ask.parts["name"], int(version))


def _get(backend: Backend, ask: Ask) -> Any:
    workflow, source, deprecated = _found(backend, ask)
    return described(workflow, source) | {"deprecated": deprecated}


def _graph(backend: Backend, ask: Ask) -> Answer:
    return picture(_found(backend, ask)[0], ask.query.format)


def _deploy(backend: Backend, ask: Ask) -> Any:
    may_deploy(ask)
    workflow = read(ask, ask.body.source)
    closure_of(backend, workflow)
    open_runs = backend.verdicts(workflow)
    created = False if ask.body.check else backend.deploy(workflow, ask.body.source)
    identity = {"name": workflow.name, "version": workflow.version, "digest": workflow.digest}
    answer = {"deployed": [{**identity, "created": created}], "open_runs": open_runs}
    return Answer(answer, status=201 if created else 200)


def _deprecate(backend: Backend, ask: Ask) -> Mapping[str, Any]:
    may_deploy(ask)
    workflow, _, _ = _found(backend, ask)
    backend.deprecate(workflow.name, workflow.version, ask.body.message)
    return {"name": workflow.name, "version": workflow.version, "deprecated": ask.body.message}


_WORKFLOW, _VERSION = f"{API}/workflows/{{name}}", f"{API}/workflows/{{name}}/versions/{{version}}"

ENDPOINTS = (
    Endpoint(
        method="GET", path=f"{API}/workflows", scope=Scope.READ, name="listWorkflows",
        summary="Deployed versions of workflows.", reads=_list, result="Workflows",
    ),
    Endpoint(
        method="POST", path=f"{API}/workflows", scope=Scope.DEPLOY, name="deployWorkflow",
        summary="Register a document under its name and version; off unless the server allows it.",
        writes=_deploy, body=DeployBody, result="Deployed", accepted=201, errors=(404, 409, 413, 422),
    ),
    Endpoint(
        method="GET", path=_WORKFLOW, scope=Scope.READ, name="getWorkflow",
        summary="The versions of a workflow, newest first.", reads=_versions, result="Workflows",
        errors=(404,),
    ),
    Endpoint(
        method="GET", path=_VERSION, scope=Scope.READ, name="getVersion",
        summary="A version: its document, the schema of its input, its signals.", reads=_get,
        result="Document", errors=(404,),
    ),
    Endpoint(
        method="GET", path=f"{_VERSION}/graph", scope=Scope.READ, name="getVersionGraph",
        summary="A picture of a version.", reads=_graph, query=GraphQuery, result="Graph",
        media=MEDIA, errors=(404, 422),
    ),
    Endpoint(
        method="POST", path=f"{_VERSION}/deprecate", scope=Scope.DEPLOY, name="deprecateVersion",
        summary="Mark a version as deprecated; off unless the server allows it.", writes=_deprecate,
        body=DeprecateBody, result="Deprecated", errors=(404, 422),
    ),
)  # fmt: skip
