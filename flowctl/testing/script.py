"""Scripted activities: what they answer, when, and a ledger of what was asked of them.

A script is a mapping from activity names to *acts*: one act for every attempt, or a list of acts by
attempt, the last one standing for all later ones. An act is a mapping:

    return: VALUE         succeed with VALUE (the default: null)
    raise: TYPE           fail with an error of that type; ``message``, ``details`` and ``types`` may be given
    after: DURATION       take that long; ``hang: true`` for ever
    heartbeats: [D, …]    report at these moments after the start, or ``{at: D, details: VALUE}`` each: of
                          details that come within a second, a process that dies may leave only the first
    deaf: true            go on when told to stop
    until: DURATION       be like this only for attempts that begin by then, counted from the start; later
                          ones succeed with null

The same script answers the virtual runtime directly, and real asyncio as ``Activity`` objects. Behaviour
depends on the attempt's number, not on how often it was asked, so an attempt that is made again after a
crash does the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowctl import values
from flowctl.activities import Activity, ActivityContext, Attempt, Outcome, activity, declared
from flowctl.activities.masking import reveal
from flowctl.clock import parse_duration
from flowctl.errors import Blocked, Failure
from flowctl.model import Policy
from flowctl.path import Path
from flowctl.runtimes.virtual import Act as Playable
from flowctl.runtimes.virtual import Beat
from flowctl.testing.world import START


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """One scripted answer; see ``runtimes.virtual.Act``."""

    outcome: Outcome
    duration: int | None = 0
    heartbeats: tuple[Beat, ...] = ()
    deaf: bool = False
    until: int | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Act:
        """An act from its mapping; a mistake in it is a ``ValueError``."""
        unknown = set(data) - {
            "return", "raise", "message", "details", "types", "after", "hang", "heartbeats", "deaf",
            "until",
        }  # fmt: skip
        if unknown:
            raise ValueError(f"unknown words in an act: {', '.join(sorted(unknown))}")
        if "raise" in data:
            types = (data["raise"], *data.get("types", ()))
            failure = Failure(data["raise"], data.get("message", ""), types, data.get("details"))
            outcome = Outcome(failure=failure)
        else:
            outcome = Outcome(value=values.encode(data.get("return")))
        duration = None if data.get("hang") else parse_duration(data.get("after", "0s"))
        beats = tuple(_beat(beat) for beat in data.get("heartbeats", ()))
        until = parse_duration(data["until"]) if "until" in data else None
        return cls(outcome, duration, beats, bool(data.get("deaf")), until)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One entry of the ledger: an attempt that was really asked for, by a run of the case. ``heartbeat`` is
    what it was told of how far others had come.
    """

    path: str
    attempt: int
    key: str
    args: Any
    run: str
    heartbeat: Any = None


class ScriptedActivities:
    """A script and its ledger. ``missing`` activities are not installed, ``secrets`` are what can be had."""

    def __init__(
        self,
        script: Mapping[str, Any],
        *,
        policies: Mapping[str, Policy] | None = None,
        missing: Iterable[str] = (),
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._acts = {name: _acts(acts) for name, acts in script.items()}
        self._policies = dict(policies or {})
        self.missing = set(missing)
        self.secrets = dict(secrets or {})
        self.ledger: list[Asked] = []

    # --- for the virtual runtime (``runtimes.virtual.Script``)

    def act(self, attempt: Attempt) -> Act:
        """The answer to this attempt."""
        args, _ = reveal(attempt.args, attempt.secrets, self.secrets.get)
        where = (str(attempt.path), attempt.attempt, attempt.idempotency_key)
        asked = Asked(*where, args, attempt.run_id, attempt.last_heartbeat)
        return self._answer(attempt.name, asked, attempt.started_at - START)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """How it ends is in the script."""

    def declared(self, activity: str) -> Policy | None:
        """What the script says the activity declares."""
        if activity in self.missing:
            raise Blocked("UnknownActivity", f"no plugin here registers the activity {activity}", "")
        return self._policies.get(activity)

    def check_secrets(self, names: Iterable[str], path: Path) -> None:
        """Whether the script has these secrets."""
        for name in names:
            if name not in self.secrets:
                raise Blocked("MissingSecret", f"nobody here has the secret {name}", path)

    # --- for asyncio

    def activities(self, names: Iterable[str]) -> dict[str, Activity]:
        """The same as registered activities."""
        found = {name: self._activity(name) for name in names if name not in self.missing}
        return {
            name: dataclasses.replace(made, policy=self._policies[name]) if name in self._policies else made
            for name, made in found.items()
        }

    def _activity(self, name: str) -> Activity:
        async def scripted(ctx: ActivityContext, **args: Any) -> Any:
            now = round(asyncio.get_running_loop().time() * 1000)
            where = (str(ctx.path), ctx.attempt, ctx.idempotency_key)
            asked = Asked(*where, args, ctx.run_id, ctx.last_heartbeat)
            act = self._answer(name, asked, now)
            await play(act, ctx)
            if act.outcome.failure is not None:
                raise exception_of(act.outcome.failure)
            assert act.outcome.value is not None
            return values.decode(act.outcome.value)

        made = declared(activity(name)(scripted))
        assert made is not None
        return made

    def _answer(self, name: str, asked: Asked, now: int) -> Act:
        self.ledger.append(asked)
        acts = self._acts.get(name, [_NOTHING])
        act = acts[min(asked.attempt, len(acts)) - 1]
        return act if act.until is None or now <= act.until else _NOTHING


_NOTHING = Act(Outcome(value=b"null"))


def _beat(data: Any) -> Beat:
    """A heartbeat as it is written: a moment, or a mapping."""
    if isinstance(data, Mapping):
        return parse_duration(data["at"]), data["details"]
    return parse_duration(data), None


def _acts(acts: Any) -> Sequence[Act]:
    return [Act.parse(act) for act in (acts if isinstance(acts, list) else [acts])]


async def play(act: Playable, ctx: ActivityContext) -> None:
    """Take as long as the act takes, with its heartbeats, and deaf if it is."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    end = act.duration if act.duration is not None else parse_duration("3650d")
    moments = [(*beat, True) for beat in act.heartbeats]
    for moment, details, beats in [*moments, (end, None, False)]:
        while (left := begun + moment / 1000 - loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if not act.deaf:
                    raise
        if beats:
            ctx.heartbeat(details)


def exception_of(failure: Failure) -> Exception:
    """An exception whose class, and whose ancestors' names, are those of the failure."""
    base: type[Exception] = Exception
    for name in reversed(failure.types):
        base = type(name, (base,), {})
    error = base(failure.message)
    if failure.details is not None:
        error.details = failure.details  # type: ignore[attr-defined]
    return error
