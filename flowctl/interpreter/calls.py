"""Calls: from a step, its policies and the scope to what a runtime is asked to call.

A policy is looked up attribute by attribute, each taken whole from the first place that states it
(``_policy``): the step over its activity entry (merged when the document is read), the activity's own
declaration, the document's ``defaults``, the installation's settings, and at last ``BUILT_IN``. For a
compensation ``defaults.retry`` does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from flowctl import values
from flowctl.errors import ExpressionError
from flowctl.expressions import Rendered, Template
from flowctl.interpreter.branch import Branch
from flowctl.model import ActivityStep, Compensation, Policy, ResolvedPolicy, WorkflowStep
from flowctl.path import Path
from flowctl.retry import COMPENSATION, ONCE
from flowctl.runtime import Call, CallKind

BUILT_IN = Policy(timeout=300_000, retry=ONCE)
"""One attempt of at most five minutes."""

_CHILD = Policy(timeout=0, retry=ONCE)
"""What the engine does has no timeout of its own, and is done once unless the step says otherwise."""


def step_call(step: ActivityStep, branch: Branch, path: Path) -> Call:
    """The call that an ``activity`` step makes. Raises ``ExpressionError``, ``PayloadTooLarge``."""
    if step.idempotency_key is not None:  # first, because the arguments may name it
        branch.scope.key = _text(step.idempotency_key, branch, "idempotency_key")
    key = branch.scope.key or path.idempotency_key(branch.rt.info.id)
    rendered = step.arguments.render(branch.scope)
    policy = _step_policy(step, branch)
    return _call(step.name, rendered, policy, key, secret=step.secret)


def child_call(step: WorkflowStep, branch: Branch, path: Path) -> Call:
    """The call that a ``workflow`` step makes. Raises ``ExpressionError``, ``PayloadTooLarge``."""
    rendered = step.arguments.render(branch.scope)
    kind: CallKind = "detached" if step.detached else "workflow"
    policy = Policy(retry=step.policy.retry).over(_CHILD)
    key = path.idempotency_key(branch.rt.info.id)
    call = _call(step.child.text, rendered, policy, key, secret=step.secret, kind=kind)
    return msgspec.structs.replace(call, closes=True) if closes_with_parent(step) else call


def closes_with_parent(step: WorkflowStep) -> bool:
    """Whether the child is left to itself, but for its parent's end."""
    return step.detached and step.on_parent_close == "cancel"


def engine_call(
    kind: CallKind,
    name: str,
    arguments: Mapping[str, Any],
    path: Path,
    branch: Branch,
    *,
    secret: bool = False,
) -> Call:
    """A call of the engine itself."""
    key = path.idempotency_key(branch.rt.info.id)
    return _call(name, Rendered(arguments, {}), _CHILD, key, secret=secret, kind=kind)


def undo_call(compensation: Compensation, branch: Branch, path: Path, *, secret: bool) -> Call:
    """The call that undoes a step, of an activity or a child. ``path`` is the compensation's own
    (``charge.undo``); ``secret`` as the step is.
    """
    rendered = compensation.arguments.render(branch.scope)
    if compensation.child is not None:
        policy = Policy(retry=compensation.policy.retry or COMPENSATION).over(_CHILD)
        key = path.idempotency_key(branch.rt.info.id)
        return _call(compensation.child.text, rendered, policy, key, secret=secret, kind="workflow")
    assert compensation.activity is not None
    declared = branch.rt.declared(compensation.activity)
    defaults = Policy(timeout=branch.workflow.defaults.timeout, retry=COMPENSATION)
    policy = _policy(compensation.policy, declared, defaults, branch.rt.settings, BUILT_IN)
    key = path.idempotency_key(branch.rt.info.id)
    return _call(compensation.activity, rendered, policy, key, secret=secret)


def _step_policy(step: ActivityStep, branch: Branch) -> Policy:
    """The step's policy, looked up once for all runs of the document: this is on the way of every step."""
    workflow, declared, settings = branch.workflow, branch.rt.declared(step.name), branch.rt.settings
    resolved = workflow.resolved.get(step)
    if resolved is None or resolved.declared is not declared or resolved.settings is not settings:
        policy = _policy(step.policy, declared, workflow.defaults, settings, BUILT_IN)
        resolved = workflow.resolved[step] = ResolvedPolicy(declared, settings, policy)
    return resolved.policy


def _policy(*places: Policy | None) -> Policy:
    policy = Policy()
    for place in places:
        policy = policy.over(place)
    return policy


def _call(
    name: str,
    rendered: Rendered,
    policy: Policy,
    key: str,
    *,
    secret: bool,
    kind: CallKind = "activity",
) -> Call:
    arguments = rendered.value
    if not isinstance(arguments, dict):
        raise ExpressionError(f"'with' must be a mapping of arguments, not {values.kind_of(arguments)}")
    encoded = values.sized(arguments, f"the arguments of {name}")
    assert policy.timeout is not None
    assert policy.retry is not None
    return Call(  # in the order of its fields: names take six times as long, in every step
        name,
        encoded,
        rendered.secrets,
        key,
        _digest(name, encoded, rendered.secrets),
        policy.timeout,
        policy.total_timeout,
        policy.heartbeat_timeout,
        policy.retry,
        secret,
        kind,
    )


def _digest(name: str, arguments: bytes, secrets: Mapping[str, Any]) -> str:
    """What makes a call this call: 128 bits over name, arguments and the references to secrets."""
    digest = sha256(name.encode() + arguments)
    if secrets:
        for where in sorted(secrets):
            digest.update(f"\0{where}\0{secrets[where]!r}".encode())
    return digest.hexdigest()[:32]


def _text(template: Template, branch: Branch, what: str) -> str:
    value = template.render(branch.scope).value
    if not isinstance(value, str) or not value:
        raise ExpressionError(f"{what} must be a text, not {values.kind_of(value)}")
    return value
