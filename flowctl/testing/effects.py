"""What activities leave in the world, as a test sees it: a ledger of effects, done and undone.

An **effect** is what a successful call leaves behind, known by something that tells it from others of its
kind. An author declares who does it and who undoes it; what the author does not declare is taken from the
document: a call whose step has a ``compensate`` with an activity leaves an effect called like the activity,
known by its step.

A ledger knows what stands at any moment, and in which order it came to be. ``Ledger.problems`` are breaches
of what holds for every saga, whatever the author says:

1. What was undone stays undone: nothing does it again.
2. Nothing is undone twice, by two steps. (One step may be asked twice: that is what its key is for.)
3. What was done last is undone first, within a branch or iteration.

Whether something is left that should not be is for ``saga`` to say, once the run has ended.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowctl import values
from flowctl.errors import ExpressionError
from flowctl.expressions import FUNCTIONS, Expression, Function, condition, parse
from flowctl.model import ActivityStep, Workflow
from flowctl.outline import BRANCH, Outline, outline
from flowctl.path import Path
from flowctl.testing.names import Roots

if TYPE_CHECKING:
    from flowctl.testing.mocks import Called

_UNDO = ".undo"
_UNDOING_RUN = "~undo"
_EARLIER = re.compile(r"_run(\d+)\.")
_NUMBER = re.compile(r"~\d+\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """A kind of effect. ``done_as`` and ``undone_as`` say what one is known by, None: by its step."""

    name: str
    done_by: frozenset[str]
    undone_by: frozenset[str]
    done_as: Expression | None = None
    undone_as: Expression | None = None
    condition: Expression | None = None
    lasting: bool = False

    @classmethod
    def parse(
        cls, name: str, data: Mapping[str, Any], functions: Mapping[str, Function] = FUNCTIONS
    ) -> Effect:
        """From its mapping in a test file. ``ExpressionError``."""

        def expression(key: str) -> Expression | None:
            return parse(data[key], functions) if key in data else None

        test = condition(_text(data["if"]), functions=functions) if "if" in data else None
        return cls(
            name,
            _names(data["done_by"]),
            _names(data.get("undone_by", [])),
            expression("done_as"),
            expression("undone_as"),
            test,
            bool(data.get("lasting")),
        )


def _text(written: str | bool) -> str:
    return str(written).lower() if isinstance(written, bool) else written


def _names(written: str | Sequence[str]) -> frozenset[str]:
    return frozenset([written] if isinstance(written, str) else written)


@dataclasses.dataclass(slots=True)
class Standing:
    """One effect. ``position`` grows with every call; ``undone`` is the step that undid it.
    ``implied``: taken from the document.
    """

    effect: str
    known_as: Any
    run_id: str
    path: str
    step: str
    args: Any
    result: Any
    position: int
    implied: bool
    lasting: bool
    undone: str | None = None

    @property
    def left(self) -> bool:
        """Whether it is still there."""
        return self.undone is None

    def to_json(self) -> dict[str, Any]:
        """What expressions see of it."""
        return {
            "id": self.known_as,
            "step": self.step,
            "args": self.args,
            "result": self.result,
            "left": self.left,
        }

    def __str__(self) -> str:
        known = "" if self.implied else f" {values.encode(self.known_as).decode()}"
        return f"{self.effect}{known} of {self.step}"


class Ledger:
    """The effects of one run and all that it starts. ``workflows`` are all documents it can need."""

    def __init__(self, effects: Iterable[Effect], workflows: Iterable[Workflow]) -> None:
        self._effects = {effect.name: effect for effect in effects}
        self._outlines = {(each.name, each.version): outline(each) for each in workflows}
        self._implied = _implied(self._outlines, self._effects.values())
        self.standings: dict[tuple[str, bytes], Standing] = {}
        self.problems: list[str] = []
        self._position = 0
        self._unwinding: list[Standing] = []

    @property
    def names(self) -> list[str]:
        """The names of all effects there can be."""
        return [*self._effects, *sorted(set(self._implied.values()) - self._effects.keys())]

    def note(self, called: Called, result: Any) -> None:
        """A call had its effect."""
        self._position += 1
        for effect in self._effects.values():
            if called.activity in effect.done_by:
                self._declared(effect, called, result)
            if called.activity in effect.undone_by:
                roots = _roots(called, result)
                self._undo(effect.name, self._known(effect.undone_as, roots, _owner(called), effect), called)
        implied = self._implied.get((called.workflow, Path(called.path).place))
        if implied is not None:
            self._do(implied, _owner(called), called, result, implied=True)
        elif called.path.endswith(_UNDO):
            for name in set(self._implied.values()):
                if (name, values.encode(_owner(called))) in self.standings:
                    self._undo(name, _owner(called), called)

    def attempted(self, called: Called) -> None:
        """A call ended without an effect; what an earlier attempt has done counts as done by the last."""
        self._position += 1
        for standing in self.standings.values():
            if (standing.run_id, standing.path) == (called.run_id, called.path):
                standing.position = self._position

    def roots(self) -> dict[str, Any]:
        """``done``, ``undone``, ``left`` and ``effects`` for expressions."""
        effects: dict[str, list[dict[str, Any]]] = {name: [] for name in self.names}
        for standing in self.standings.values():
            effects[standing.effect].append(standing.to_json())
        return {
            "effects": effects,
            "done": {name: len(each) for name, each in effects.items()},
            "undone": {name: sum(not one["left"] for one in each) for name, each in effects.items()},
            "left": {name: sum(one["left"] for one in each) for name, each in effects.items()},
        }

    # --- what happens to one effect

    def _declared(self, effect: Effect, called: Called, result: Any) -> None:
        roots = _roots(called, result)
        try:
            if effect.condition is not None and not effect.condition.test(Roots(roots)):
                return
        except ExpressionError as error:
            self.problems.append(
                f"whether {called.shown} had the effect {effect.name} is not clear: {error.message}"
            )
            return
        known = self._known(effect.done_as, roots, _owner(called), effect)
        self._do(effect.name, known, called, result, lasting=effect.lasting)

    def _known(
        self, expression: Expression | None, roots: Mapping[str, Any], step: str, effect: Effect
    ) -> Any:
        if expression is None:
            return step
        try:
            return expression.evaluate(Roots(roots))
        except ExpressionError as error:
            self.problems.append(
                f"what the effect {effect.name} of {roots['step']} is known by fails: {error.message}"
            )
            return None

    def _do(
        self,
        name: str,
        known: Any,
        called: Called,
        result: Any,
        *,
        implied: bool = False,
        lasting: bool = False,
    ) -> None:
        key = (name, values.encode(known))
        standing = self.standings.get(key)
        self._unwinding.clear()
        if standing is not None and standing.undone is None:
            standing.position = self._position
            return
        if standing is not None:
            self.problems.append(f"{standing} is done again after {standing.undone} has undone it")
        self.standings[key] = Standing(
            *(name, known, called.run_id, called.path, called.step, called.args, result, self._position),
            implied=implied,
            lasting=lasting,
        )

    def _undo(self, name: str, known: Any, called: Called) -> None:
        standing = self.standings.get((name, values.encode(known)))
        if standing is None or standing.undone == called.step:
            return
        if standing.undone is not None:
            self.problems.append(f"{standing} is undone twice, by {standing.undone} and by {called.step}")
            return
        standing.undone = called.step
        if called.step != standing.step + _UNDO:  # a block that undoes its parts has an order of its own
            return
        for before in self._unwinding:
            later = before.run_id == standing.run_id and before.position < standing.position
            if later and not self._apart(before.path, standing.path, called):
                self.problems.append(f"{before} is undone before {standing}, which was done later")
        self._unwinding.append(standing)

    def _apart(self, one: str, other: str, called: Called) -> bool:
        """Whether two steps are in different branches or iterations: each of these undoes its own."""
        places = self._outlines[called.workflow]
        for part in Path(one).ancestors():
            if Path(other).is_within(part):
                return False
            here = places.get(part.place)
            if part.endswith("]") or (here is not None and here.verb == BRANCH):
                return True
        return False


def _roots(called: Called, result: Any) -> dict[str, Any]:
    return {"args": called.args, "result": result, "key": called.key, "step": called.step}


def _owner(called: Called) -> str:
    """The step that a call belongs to, whatever it does: that step itself, or the one that it undoes, which
    may be one of an earlier run of the chain.
    """
    run_id, path = called.run_id.removesuffix(_UNDOING_RUN), called.path.split(_UNDO)[0]
    if (earlier := _EARLIER.match(path)) is not None:
        chain = _NUMBER.sub("", run_id)
        run_id, path = chain if earlier[1] == "1" else f"{chain}~{earlier[1]}", path[earlier.end() :]
    return f"{run_id}/{path}"


def _implied(
    outlines: Mapping[tuple[str, int], Outline], declared: Iterable[Effect]
) -> dict[tuple[tuple[str, int], str], str]:
    """The effects that documents tell of: by document and place, the name of the activity."""
    known = {activity for effect in declared for activity in effect.done_by}
    found = {}
    for workflow, places in outlines.items():
        for place, here in places.items():
            step = here.step
            if not isinstance(step, ActivityStep) or step.compensation is None:
                continue
            if step.compensation.activity is not None and step.name not in known:
                found[workflow, place] = step.name
    return found
