"""What can be called, and how: the parameters of activities, and the inputs of child workflows.

An activity is looked at through its own binding, which will convert its arguments when it runs: so a literal
is refused here for exactly the reasons for which it would be then.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from flowctl.document.types import UNKNOWN, Type, of_schema
from flowctl.errors import InvalidInput

if TYPE_CHECKING:
    from flowctl.activities import Activity
    from flowctl.activities.binding import Parameter as Bound
    from flowctl.model import Policy


class Parameter(msgspec.Struct, frozen=True):
    """One argument that can be given. ``refusal`` says what is wrong with a literal, or None."""

    type: Type
    required: bool
    refusal: Callable[[Any], str | None]


class Signature(msgspec.Struct, frozen=True):
    """How something is called. ``open``: it takes other arguments too.

    ``keyed``: it gets its idempotency key even if nobody passes it. ``policy`` is what its own declaration
    says.
    """

    name: str
    parameters: Mapping[str, Parameter]
    open: bool
    returns: Type = UNKNOWN
    keyed: bool = True
    policy: Policy | None = None


class Signatures:
    """The signatures of registered activities, by name; none if it is not known which there are."""

    def __init__(self, activities: Mapping[str, Activity | None]) -> None:
        self._activities = activities
        self._made: dict[str, Signature | None] = {}

    def of(self, name: str) -> Signature | None:
        """The signature of an activity, or None if it is not known."""
        if name not in self._made:
            activity = self._activities.get(name)
            self._made[name] = _signature(activity) if activity is not None else None
        return self._made[name]


def _signature(activity: Activity) -> Signature:
    binding = activity.binding
    parameters = {
        bound.name: Parameter(
            _type(bound.annotation), bound.required, functools.partial(_refusal, activity.name, bound)
        )
        for bound in binding.parameters
    }
    returns, keyed = _type(binding.returns), binding.context is not None
    return Signature(activity.name, parameters, binding.rest is not None, returns, keyed, activity.policy)


def _type(annotation: Any) -> Type:
    """The type that an annotation declares, where msgspec knows it. Models of other libraries may go by other
    names outside than inside, and are not judged.
    """
    if annotation is inspect.Parameter.empty:
        return UNKNOWN
    try:
        schema = msgspec.json.schema(annotation, schema_hook=_stranger)
    except Exception:  # a stranger's type; that it has no schema is no mistake
        return UNKNOWN
    return of_schema(schema, others="none", declared=True)


def _stranger(kind: type) -> dict[str, Any]:
    return {}


def _refusal(activity: str, parameter: Bound, value: Any) -> str | None:
    """What an activity's binding says of one argument."""
    from flowctl.activities.binding import Binding

    try:
        Binding(activity, (parameter,), None, None, (), None).bind({parameter.name: value})
    except InvalidInput as error:
        return error.message.partition(f"argument {parameter.name!r}: ")[2] or error.message
    return None
