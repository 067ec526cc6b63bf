"""Workflow programs by chance, as conformance cases without an ``expect``.

A program is a document, the script of its activities, and what happens to it from outside. What is drawn
keeps to three rules, so that a program has one meaning:

1. It ends: whatever waits has a timeout, loops are counted, and a run that may be held is cancelled.
2. Things that happen at once do not happen at the same moment: durations are odd, each in another way, and
   where branches run at once nothing but assignments takes no time. Chance may still make them meet; then
   the reference says so.
3. It does not go where the language is silent: ``rollback`` stays out of repetitions, what is irreversible
   out of programs with a ``pivot``, ``return`` out of what cleans up.
4. Runs meet in one way only: a child is awaited, and a signal goes to the run itself or to its parent, from
   where no other branch could be waiting for it.

All choices are numbers, drawn by hypothesis (``programs``), which likes to repeat itself and to go to
extremes, or by plain chance (``program``), which spreads wider.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from flowctl.clock import format_duration

T = TypeVar("T")
Step = dict[str, Any]

VERBS = frozenset(
    {"activity", "sleep", "wait_for_signal", "steps", "switch", "set", "return", "fail"}
    | {"parallel", "foreach", "while", "until", "try", "rollback", "pivot", "workflow", "patch"}
    | {"send_signal", "continue_as_new"}
)
"""The words that programs are made of; ``pivot`` is an attribute that changes as much as a verb."""

MAX_STEPS = 40
MAX_DEPTH = 4
MAX_INSTANCES = 120
"""Loops multiply; a status document shows two hundred steps."""

WEIGHTS = {
    "activity": 40, "set": 7, "sleep": 7, "wait_for_signal": 6, "steps": 8, "switch": 7, "fail": 2,
    "return": 1, "parallel": 9, "foreach": 7, "while": 4, "until": 4, "try": 10, "rollback": 3,
    "workflow": 6, "patch": 1, "send_signal": 2, "continue_as_new": 1,
}  # fmt: skip

NESTING = frozenset({"steps", "switch", "parallel", "foreach", "while", "until", "try", "workflow"})
LOOPS = frozenset({"foreach", "while", "until"})
CALLS = frozenset({"activity", "workflow"})
ENDS = frozenset({"return", "continue_as_new"})
UNDOING = frozenset({"activity", "set", "sleep", "wait_for_signal", "steps", "switch"})

INPUT: Step = {"yes": True, "no": False, "list": [3, 1, 2], "map": {"b": 1, "a": 2}}

FAILURES: Sequence[Step] = (
    {"raise": "Boom", "message": "no luck"},
    {"raise": "Flaky", "types": ["Oops"], "message": "try again"},
    {"raise": "Fatal", "details": {"n": 1}},
    {"raise": "InvalidInput"},
)
TYPES = ("Boom", "Flaky", "Oops", "Fatal", "Timeout", "Custom", "*")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a step stands. ``seen`` are the ids of the steps before it, ``assigned`` the variables;
    ``factor`` is how often its loops repeat it, ``own_time`` whether it has waited for its turn to begin.
    """

    seen: list[str]
    assigned: set[str]
    depth: int = 0
    factor: int = 1
    at_once: bool = False
    in_branch: bool = False
    in_repetition: bool = False
    undoing: bool = False
    cleaning: bool = False
    own_time: bool = False
    names: tuple[str, ...] = ()

    def inside(self, **changes: Any) -> Place:
        """One level deeper."""
        return dataclasses.replace(self, depth=self.depth + 1, **changes)

    def own(self, **changes: Any) -> Place:
        """One level deeper, in a scope of its own."""
        return self.inside(**({"seen": list(self.seen), "assigned": set(self.assigned)} | changes))


def programs(verbs: frozenset[str] = VERBS, *, losses: bool = True) -> st.SearchStrategy[Step]:
    """Programs that use these verbs. ``losses``: now and then the worker is lost."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Step:
        return _Maker(lambda least, most: draw(st.integers(least, most)), verbs).program(losses=losses)

    return drawn()


def program(seed: str, verbs: frozenset[str] = VERBS, *, losses: bool = True) -> Step:
    """The program of that seed."""
    return _Maker(random.Random(seed).randint, verbs).program(losses=losses)


class _Maker:
    """Makes one program out of numbers, each between two bounds. The least stands for the simplest, because
    that is where hypothesis goes if it can.
    """

    def __init__(self, number: Callable[[int, int], int], verbs: frozenset[str]) -> None:
        self.number = number
        self._verbs = verbs
        self._ids = 0
        self._times = 0
        self._longest = 0
        self._script: dict[str, Any] = {}
        self._declares: dict[str, Any] = {}
        self._entries: dict[str, Any] = {}
        self._signals: list[str] = []
        self._children: dict[str, Any] = {}
        self._made = 0
        self._own: list[str] = []
        self._above: list[str] | None = None
        self._is_child = False
        self._instances = MAX_INSTANCES
        self._left = 0
        self._trouble = 0
        self._pivots = self._holds = False

    # --- chance

    def pick(self, options: Sequence[T]) -> T:
        """One of them; the first is the simplest."""
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """Mostly not, unless ``percent`` is high."""
        return self.number(0, 99) >= 100 - percent

    def milliseconds(self, least: int, most: int) -> int:
        """Some time, unlike any other."""
        self._times += 1
        return self.number(least // 100, most // 100) * 100 + self._times * 61 % 97

    def time(self, least: int = 300, most: int = 5_000) -> str:
        """The same as text."""
        return format_duration(self.milliseconds(least, most))

    def limit(self, least: int, most: int) -> str:
        """A limit that a document writes down: none may be longer than the run's."""
        drawn = self.milliseconds(least, most)
        self._longest = max(self._longest, drawn)
        return format_duration(drawn)

    # --- the program

    def program(self, *, losses: bool) -> Step:
        """A whole case."""
        self._left = self.pick((MAX_STEPS // 4, MAX_STEPS // 2, MAX_STEPS))
        self._trouble = self.pick((0, 3, 8, 20))
        self._pivots = "pivot" in self._verbs and self.chance(15)
        self._holds = self.chance(5)
        place = Place([], set())
        steps = [self.step(place, ())]
        least = self.pick((1, 4, 8, MAX_STEPS))
        while self._left > 0 and (len(steps) < least or self.chance(90)):
            steps.append(self.step(place, steps))
        workflow: Step = {"steps": steps}
        events = self.events(losses=losses)
        self.around(workflow, place)
        made = {
            "case": "a random program",
            "covers": [],
            "workflow": workflow,
            "input": {"n": self.number(0, 3)} | INPUT,
            "activities": self._script,
            "declares": self._declares,
            "events": events,
        }  # fmt: skip
        return made | ({"children": self._children} if self._children else {})

    def around(self, workflow: Step, place: Place) -> None:
        """What a document says besides its steps."""
        if self._holds and self.chance(50):
            workflow["on_failure"] = "hold"
        if self.chance(15):
            workflow["defaults"] = self.defaults()
        if self._entries:
            workflow["activities"] = self._entries
        if self._signals or self._own:
            workflow["signals"] = {name: {} for name in (*self._signals, *self._own)}
        if self.chance(30):
            workflow["output"] = {"a": self.template(place), "b": self.template(place)}
        workflow["timeout"] = self.life()

    def life(self) -> str:
        """How long the run may live: long enough for what the document writes down."""
        least = self._longest + 1_000
        return format_duration(max(least, self.milliseconds(3_000, 40_000)) if self.chance(8) else 600_000)

    def defaults(self) -> Step:
        """What attempts have if nobody says anything."""
        made: Step = {}
        if self.chance(60):
            made["timeout"] = self.limit(2_000, 9_000)
        if not made or self.chance(50):
            made["retry"] = self.retry()
        return made

    def events(self, *, losses: bool) -> list[Step]:
        """What happens from outside."""
        events: list[Step] = []
        for name in self._signals:
            for _ in range(self.pick((1, 0, 1, 2))):
                payload = self.pick((None, 1, {"by": "me"}))
                events.append({"at": self.time(100, 15_000), "signal": name, "payload": payload})
        if self._holds or self.chance(15):
            most = 8_000 if self._holds else 40_000
            events.append({"at": self.time(100, most), "cancel": "enough"})
        at = 0
        for _ in range(self.pick((0, 0, 0, 1, 2)) if losses else 0):
            at += self.milliseconds(200, 9_000)
            gone = self.milliseconds(100, 9_000)
            events.append({"at": format_duration(at), "lose_worker": format_duration(gone)})
            at += gone
        return events

    # --- steps

    def steps(self, place: Place, most: int = 4) -> list[Step]:
        """A list of steps, as far as there are any left, but one at least."""
        steps = [self.step(place, ())]
        while len(steps) < min(most, self._left) and self.chance(65):
            steps.append(self.step(place, steps))
        return steps

    def step(self, place: Place, before: Sequence[Step]) -> Step:
        """One step with its attributes. ``before`` are those before it in its list."""
        self._left -= 1
        self._instances -= place.factor
        verb = self.verb(place)
        named = verb in CALLS or verb == "send_signal" or self.chance(60)
        step: Step = {"id": self.name()} if named else {}
        if verb == "continue_as_new":
            step["if"] = "input.n < 3"
        elif self.chance(75 if verb in ("fail", "return") else 10):
            step["if"] = self.condition(place)
        at_start = dataclasses.replace(place, seen=list(place.seen), assigned=set(place.assigned))
        step |= getattr(self, f"_{verb}")(place, step, before)
        if verb not in ENDS:
            self.attributes(step, verb, at_start)
        if named:
            place.seen.append(step["id"])
        return step

    def name(self) -> str:
        """An id that nobody else has."""
        self._ids += 1
        return f"s{self._ids}"

    def verb(self, place: Place) -> str:
        """A verb that may stand here."""
        allowed = self._verbs & WEIGHTS.keys()
        if place.undoing:
            allowed &= UNDOING
        if place.cleaning:
            allowed -= {"fail", "rollback", "workflow", *ENDS}
        if self._is_child or place.at_once:
            allowed -= {"continue_as_new"}
        if place.at_once or place.cleaning or place.factor > 1:
            allowed -= {"send_signal"}
        if place.in_repetition:
            allowed -= {"rollback"}
        if place.depth >= MAX_DEPTH or self._left < 1:
            allowed -= NESTING
        if self._instances < 3 * place.factor:
            allowed -= LOOPS
        return self.pick([verb for verb, weight in WEIGHTS.items() if verb in allowed for _ in range(weight)])

    def attributes(self, step: Step, verb: str, place: Place) -> None:
        """What all verbs share."""
        if verb not in ("activity", "wait_for_signal") and self.chance(20 if verb in NESTING else 4):
            step["timeout"] = self.limit(800, 6_000 if self.chance(self._trouble) else 30_000)
        if verb in CALLS and not place.undoing and self.chance(4):
            step["commit"] = True
        if self.chance(12 + self._trouble) and not place.cleaning:
            step["optional"] = True
        elif self._holds and self.chance(12) and not (place.at_once or place.undoing):
            step["on_failure"] = self.pick(("hold", "compensate"))
        undone = verb not in ("activity", "fail", "rollback") and not place.undoing
        if undone and self.chance(12):
            step["compensate"] = self.compensation(place, verb)
        elif verb == "workflow" and self.chance(12):
            step["compensate"] = "rollback"
        if self.chance(8) and verb not in ("fail", "rollback"):
            shapes: list[Any] = [{"r": "${{ result }}"}, ["${{ result }}", "${{ args }}"]]
            if verb in CALLS:
                shapes += ["r is ${{ result }}"] + ["${{ result.id }}"] * (self._trouble > 4)
            step["output"] = self.pick(shapes)
        movable = not (place.at_once or place.undoing or verb in ("fail", "rollback"))
        if self._pivots and movable and self.chance(12):
            step["pivot"] = True

    # --- expressions

    def expression(self, place: Place) -> str:
        """Something that has a value here."""
        options = ["input.n", "7", "input.list", *place.names, "run.id", "run.elapsed"]
        options += ["now"] * (not place.own_time)
        options += [f"default(vars.{name}, 0)" for name in sorted(place.assigned)]
        options += [f"steps.{name}.{self.pick(('output', 'status'))}" for name in place.seen[-4:]]
        return self.pick(options)

    def template(self, place: Place) -> Any:
        """A value with an expression in it. No text is made of what may be an error: its words vary."""
        expression = self.expression(place)
        text = self.pick(("input.n", "input.map", "run.id", "7"))
        return self.pick(("${{ " + expression + " }}", f"text ${{{{ {text} }}}}", 5))

    def condition(self, place: Place) -> str:
        """Something true or false, now and then neither."""
        options = ["input.yes", "input.no", "input.n > 1"]
        options += [f"steps.{name}.status == 'completed'" for name in place.seen[-3:]]
        options += [f"steps.{name}.output != null" for name in place.seen[-3:]]
        options += [f"default(vars.{name}, 0) < 2" for name in sorted(place.assigned)]
        options += ["loop.index > 0"] if "loop.index" in place.names else []
        return "input.n" if self._trouble and self.chance(2) else self.pick(options)

    # --- activities

    def _activity(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        name = f"t.{step['id']}"
        made: Step = {"activity": name}
        if self.chance(40):
            made["with"] = {"x": self.template(place), "p": "${{ step.path }}"}
        made |= self.behaviour(name, place, self._trouble)
        if not place.undoing and self.chance(50):
            made["compensate"] = self.compensation(place, "activity")
        elif not self._pivots and not place.undoing and self.chance(6):
            made["irreversible"] = True
        if self.chance(5):
            made["idempotency_key"] = f"key-{step['id']}-${{{{ input.n }}}}"
        self.elsewhere(made, name)
        return made

    def behaviour(self, name: str, place: Place, trouble: int) -> Step:
        """What the activity does, and the policy that goes with it."""
        fine: Step = {"return": self.pick((1, None, "text", {"id": 4}, [1, 2]))}
        self.takes(fine, place)
        policy: Step = {}
        acts: Any = fine
        if not place.cleaning and self.chance(trouble):
            acts, policy = self.misbehaviour(fine, place)
        elif self.chance(10):
            policy["timeout"] = self.limit(6_000, 9_000)
        if self.chance(8) and "after" in acts:
            acts["deaf"] = True
        self._script[name] = acts
        return policy

    def takes(self, act: Step, place: Place) -> None:
        """Give an act a duration, where it needs one."""
        if place.at_once or self.chance(55):
            act["after"] = self.time()

    def misbehaviour(self, fine: Step, place: Place) -> tuple[Any, Step]:
        """Acts that fail, hang or are late, and a policy."""
        kind = self.pick(("broken", "flaky", "hang", "late", "silent"))
        if kind in ("broken", "flaky"):
            failures = [dict(self.pick(FAILURES)) for _ in range(self.number(1, 3))]
            for act in failures:
                self.takes(act, place)
            policy = {"retry": self.retry()} if kind == "flaky" or self.chance(40) else {}
            if policy and self.chance(15):
                policy["total_timeout"] = self.limit(2_000, 9_000)
            return (failures if kind == "broken" else [*failures, fine]), policy
        policy = {"timeout": self.limit(400, 4_000)}
        if self.chance(50):
            policy["retry"] = self.retry()
        slow: Step = {"hang": True} if kind != "late" else fine | {"after": self.time(3_000, 7_000)}
        if kind == "silent":
            policy["heartbeat_timeout"] = self.limit(500, 2_000)
            slow["heartbeats"] = [self.time(100, 400)]
        return ([slow, fine] if self.chance(40) else slow), policy

    def retry(self, *, lost: bool = True) -> Any:
        """A retry policy. ``lost``: it may say what becomes of an attempt that lost its worker."""
        if self.chance(8):
            return False
        made: Step = {"attempts": self.number(1, 4), "delay": self.time(100, 1_500)}
        if self.chance(40):
            made["backoff"] = self.pick(("constant", "linear", "exponential"))
        if made.get("backoff") in (None, "exponential") and self.chance(20):
            made["factor"] = self.pick((1, 3, 1.5))
        if self.chance(20):
            made["max_delay"] = self.time(1_600, 3_000)
        if self.chance(15):
            made["retryable"] = [self.pick(TYPES)]
        if self.chance(15):
            made["non_retryable"] = [self.pick(TYPES)]
        if lost and self.chance(8):
            made["on_worker_lost"] = "fail"
        return made

    def elsewhere(self, step: Step, name: str) -> None:
        """Say a part of it in an entry of the document, or let the activity declare it."""
        if self.chance(15):
            entry = f"e{len(self._entries) + 1}"
            self._entries[entry] = {"uses": name} | {
                key: step.pop(key)
                for key in ("timeout", "retry", "total_timeout", "compensate")
                if key in step and self.chance(60)
            }
            if "compensate" in self._entries[entry] and self.chance(15):
                step["compensate"] = "none"
            if "optional" not in step and "irreversible" not in step and self.chance(20):
                self._entries[entry]["timeout"] = self.limit(6_000, 9_000)
            step["activity"] = entry
        elif self.chance(10):
            declared = {key: step.pop(key) for key in ("timeout", "retry") if key in step}
            if declared:
                self._declares[name] = declared

    # --- undoing

    def compensation(self, place: Place, verb: str) -> Any:
        """What undoes a step."""
        if self.chance(4):
            return "none"
        made: Step = {}
        if self.chance(15) and self._left > 1:
            made["steps"] = self.steps(place.own(undoing=True, names=(*place.names, "result")), 3)
            if self.chance(20):
                made["timeout"] = self.time(500, 6_000)
        else:
            made |= self.undoing_call(place)
        if verb == "activity" and self.chance(25):
            made["after"] = "attempted"
        if self.chance(10):
            made["on_failure"] = self.pick(("continue", "stop"))
        return made

    def undoing_call(self, place: Place) -> Step:
        """A call that undoes. It does what it should, mostly."""
        name = f"t.undo_{self.name()}"
        act: Step = {"after": self.time(100, 2_000)} if self.chance(40) else {}
        made: Step = {"activity": name}
        if self.chance(40):
            made["with"] = {
                "r": "${{ result }}",
                "k": "${{ step.idempotency_key }}",
                "x": self.template(place),
            }
        self._script[name] = act
        if self.chance(2 + self._trouble):
            failing = dict(self.pick(FAILURES))
            self._script[name] = [failing] * self.number(1, 2) + ([act] if self.chance(60) else [])
            if self._script[name][-1] is not act or self.chance(50):
                made["retry"] = {"attempts": self.number(1, 3), "delay": self.time(100, 900)}
        if self.chance(8):
            made["timeout"] = self.time(1_000, 4_000)
        if self.chance(10):
            entry = f"e{len(self._entries) + 1}"
            self._entries[entry] = {"uses": name} | ({"retry": made.pop("retry")} if "retry" in made else {})
            made["activity"] = entry
        return made

    # --- other verbs

    def _set(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        name = f"v{self.number(0, 2)}"
        seen = f"default(vars.{name}, 0)" if name in place.assigned else "1"
        value = self.pick(("${{ [" + seen + ", 1][0] }}", self.template(place), 1, 2))
        place.assigned.add(name)
        return {"set": {name: value}}

    def _sleep(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        if self.chance(8):
            moment = f"2026-01-01T00:00:{self.number(0, 20):02}.{self.number(100, 999)}Z"
            return {"sleep": {"until": moment}}
        return {"sleep": self.limit(300, 5_000)}

    def _wait_for_signal(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        known = [] if place.at_once or place.factor > 1 else self._signals
        if self._own and not place.at_once and self.chance(50):
            names = [self.pick(self._own)]
        else:
            names = [self.pick(known)] if known and self.chance(30) else [f"sig_{len(self._signals)}"]
            if known and self.chance(15):
                names.append(known[0])
            self._signals += [name for name in names if name not in self._signals]
        made: Step = {"wait_for_signal": names[0] if len(set(names)) == 1 else names}
        made["timeout"] = self.limit(300, 6_000)
        if not self.chance(5 + self._trouble):
            made["on_timeout"] = "continue"
        return made

    def _steps(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        return {"steps": self.steps(place.inside())}

    def _switch(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        conditions = [self.condition(place) for _ in range(self.number(1, 2))]
        cases = [{"if": test, "steps": self.steps(place.inside(), 2)} for test in conditions]
        if self.chance(60):
            return {"switch": [*cases, {"else": self.steps(place.inside(), 2)}]}
        return {"switch": cases}

    def _fail(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        made: Step = {"type": self.pick(("Custom", "Boom"))}
        if self.chance(40):
            made |= {"message": self.template(place), "details": {"x": self.template(place)}}
            made["message"] = f"because {made['message']}"
        return {"fail": made}

    def _return(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        return {"return": self.template(place)}

    def _patch(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        self._made += 1
        return {"patch": {"id": f"change_{self._made}", "min": 1, "max": self.number(1, 3)}}

    # --- children

    def _workflow(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        name = f"child_{step['id']}"
        made: Step = {"workflow": name, "with": "${{ input }}"}
        if self.chance(30):
            made["with"] = {**INPUT, "n": self.template(place)}
        if self.chance(15 + self._trouble):
            made["retry"] = self.retry(lost=False)
        self._children[name] = self.child(place)
        return made

    def child(self, place: Place) -> Step:
        """A document of its own. No signal comes there: what it waits for takes its time."""
        around = self._entries, self._signals, self._longest, self._own, self._above
        self._above = None if place.at_once or place.factor > 1 else self._own
        above = self._is_child
        self._entries, self._signals, self._longest, self._own = {}, [], 0, []
        self._is_child = True
        own = Place([], set(), place.depth + 1, place.factor, at_once=place.at_once, own_time=True)
        document: Step = {"steps": self.steps(own)}
        self.around(document, own)
        self._entries, self._signals, self._longest, self._own, self._above = around
        self._is_child = above
        return document

    def _send_signal(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        """To itself, or to the parent, under a name that nobody else uses; or to nobody."""
        self._made += 1
        name = f"own_{self._made}"
        run, signals = self.pick((("${{ run.id }}", self._own), ("${{ run.parent_id }}", self._above)))
        if signals is None or self.chance(10):
            run, signals = "nobody", []
        signals.append(name)
        return {"send_signal": {"run": run, "signal": name, "payload": self.template(place)}}

    def _continue_as_new(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        return {"continue_as_new": {"input": {**INPUT, "n": "${{ input.n + 1 }}"}}}

    def _parallel(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        branches: Step = {}
        for index in range(self.number(2, 3)):
            inner = place.own(at_once=True, in_branch=True, in_repetition=False, own_time=True)
            branch: Any = self.steps(inner, 3)
            if self.chance(20):
                branch = {"steps": branch, "output": self.template(inner)}
            branches[f"b{index}"] = branch
        made: Step = {"parallel": branches}
        return made | self.together(len(branches))

    def together(self, count: int) -> Step:
        """How what runs at once is waited for."""
        made: Step = {}
        wait = self.pick(("all", "all", "any", "settled"))
        if wait != "all":
            made["wait"] = wait
        if self.chance(25):
            made["concurrency"] = self.number(1, count)
        return made

    def _foreach(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        elements, count = self.pick((("[1, 2]", 2), ("input.list", 3), ("input.map", 2), ("range(3)", 3)))
        made: Step = {"foreach": elements}
        name = "item"
        if self.chance(30):
            made["as"] = name = "element"
        together = self.together(count)
        at_once = place.at_once or together.get("concurrency", 1) > 1
        names = (*_outer(place.names), name, "loop.index", "loop.last")
        inner = place.own(factor=place.factor * count, at_once=at_once, own_time=True, names=names)
        inner = dataclasses.replace(inner, in_repetition=False)
        steps = self.steps(inner, 3)
        if together.get("concurrency", 1) > 1:  # the same steps would end at the same time
            apart = self.milliseconds(200, 900)
            steps.insert(0, {"sleep": f"${{{{ (loop.index * 2 + 1) * {apart} }}}}ms"})
        return made | {"steps": steps} | together

    def _while(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        return self.loop("while", "loop.index < ", place)

    def _until(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        return self.loop("until", "loop.index >= ", place)

    def loop(self, verb: str, test: str, place: Place) -> Step:
        """A loop that is counted, and may be counted out."""
        count = self.number(0, 3)
        names = (*_outer(place.names), "loop.index", "loop.previous")
        lasting = place.assigned  # what an iteration of these assigns is seen after it
        inner = place.own(factor=place.factor * 3, in_repetition=True, names=names, assigned=lasting)
        made: Step = {verb: f"{test}{count}", "steps": self.steps(inner, 3)}
        if self.chance(15):
            made["max_iterations"] = self.number(1, 3)
        return made

    def _try(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        made: Step = {"try": self.steps(place.inside())}
        catches = [self.catch(place) for _ in range(self.pick((1, 0, 1, 2)))]
        if catches:
            made["catch"] = catches[0] if len(catches) == 1 and self.chance(50) else catches
        if not catches or self.chance(35):
            made["finally"] = self.steps(place.inside(cleaning=True), 2)
        return made

    def catch(self, place: Place) -> Step:
        """One catch."""
        made: Step = {}
        name = "error"
        if self.chance(30):
            made["errors"] = [self.pick(TYPES)]
        if self.chance(20):
            made["as"] = name = "problem"
        if self.chance(15):
            made["if"] = self.pick((f"{name}.type != 'Boom'", "input.yes"))
        if self.chance(35):
            made["rollback"] = True
        if self.chance(70):
            names = (*place.names, f"{name}.type", f"{name}.step")
            made["steps"] = self.steps(place.inside(names=names), 2)
        return made

    def _rollback(self, place: Place, step: Step, before: Sequence[Step]) -> Step:
        named = [step["id"] for step in before if "id" in step]
        return {"rollback": {"to": self.pick(named)} if named and self.chance(50) else "all"}


def _outer(names: Sequence[str]) -> list[str]:
    """Names from around that a loop leaves as they are."""
    return [name for name in names if not name.startswith("loop.")]
