"""The meaning of documents: ids, signals, activities, durations, contradictions, and what is never reached."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

import pytest

from tests.document_helpers import mistakes, only, refused, warned

CALL = "  - {id: a, activity: x.a}\n"

REFUSED = {
    "an id that is no text, of a step that sets a variable": (
        "steps:\n  - {id: {}, set: {x: 1}}\noutput: {x: '${{ vars.x }}'}\n",
        ["WrongType 4:10"],
    ),
    "branches in a list": ("steps:\n  - {id: p, parallel: [[{sleep: 1s}]]}\n", ["WrongType 4:23"]),
    "an effect without an id": ("steps:\n  - activity: x.y\n", ["MissingKey 4:5"]),
    "an id twice": ("steps:\n  - {id: a, sleep: 1s}\n  - {id: a, sleep: 1s}\n", ["DuplicateId 5:10"]),
    "an id twice, once in a block": (
        "steps:\n  - {id: a, sleep: 1s}\n  - steps:\n      - {id: a, sleep: 1s}\n",
        ["DuplicateId 6:14"],
    ),
    "an id twice, in two cases": (
        "steps:\n  - switch:\n      - {if: 1 == 1, steps: [{id: a, sleep: 1s}]}\n      - else: [{id: a, sleep: 1s}]\n",
        ["DuplicateId 6:21"],
    ),
    "an id that is a clause": ("steps:\n  - {id: undo, sleep: 1s}\n", ["ReservedId 4:10"]),
    "an id that is a numbered clause": ("steps:\n  - {id: case_1, sleep: 1s}\n", ["ReservedId 4:10"]),
    "an id that is made up for others": ("steps:\n  - {id: _sleep1, sleep: 1s}\n", ["ReservedId 4:10"]),
    "an undeclared signal": ("steps:\n  - wait_for_signal: go\n", ["UndeclaredSignal 4:22"]),
    "one of several signals": (
        "signals: {go: {}}\nsteps:\n  - wait_for_signal: [go, stop]\n",
        ["UndeclaredSignal 5:27"],
    ),
    "a sleep longer than the run": ("timeout: 1h\nsteps:\n  - sleep: 2h\n", ["TooLong 5:12"]),
    "a sleep longer than the default": ("steps:\n  - sleep: 25h\n", ["TooLong 4:12"]),
    "a timeout longer than the run": (
        "timeout: 1m\nsteps:\n  - {id: a, activity: x.a, total_timeout: 2m}\n",
        ["TooLong 5:43"],
    ),
    "an entry's timeout longer than the run": (
        "timeout: 1m\nactivities: {a: {uses: x.a, timeout: 2m}}\nsteps:\n" + CALL,
        ["TooLong 4:38"],
    ),
    "a timeout of nothing": ("steps:\n  - {id: a, activity: x.a, timeout: 0s}\n", ["BadValue 4:37"]),
    "a run of nothing": ("timeout: 0s\nsteps:\n" + CALL, ["BadValue 3:10"]),
    "a sleep that is no duration": ("steps:\n  - sleep: soon\n", ["BadValue 4:12"]),
    "a moment that is none": ("steps:\n  - sleep: {until: tomorrow}\n", ["BadValue 4:20"]),
    "irreversible with compensate": (
        "steps:\n  - {id: a, activity: x.a, irreversible: true, compensate: {activity: x.b}}\n",
        ["Contradiction 4:28"],
    ),
    "irreversible with the entry's compensate": (
        "activities: {a: {uses: x.a, compensate: {activity: x.b}}}\n"
        "steps:\n  - {id: a, activity: a, irreversible: true}\n",
        ["Contradiction 5:26"],
    ),
    "optional with hold": (
        "steps:\n  - {id: a, activity: x.a, optional: true, on_failure: hold}\n",
        ["Contradiction 4:28"],
    ),
    "a compensation that does not say how": (
        "steps:\n  - {id: a, activity: x.a, compensate: {with: {}}}\n",
        ["MissingKey 4:40"],
    ),
    "a compensation in two ways": (
        "steps:\n  - {id: a, activity: x.a, compensate: {activity: x.b, steps: [{sleep: 1s}]}}\n",
        ["Contradiction 4:56"],
    ),
    "arguments for compensating steps": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{sleep: 1s}], with: {}}}\n",
        ["Contradiction 4:63"],
    ),
    "a compensated compensation": (
        "steps:\n  - id: a\n    activity: x.a\n    compensate:\n      steps:\n"
        "        - {id: b, activity: x.b, compensate: {activity: x.c}}\n",
        ["Contradiction 8:34"],
    ),
    "a return in a compensation": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{return: 1}]}}\n",
        ["Contradiction 4:50"],
    ),
    "else that is not last": (
        "steps:\n  - switch:\n      - else: [{sleep: 1s}]\n      - {if: 1 == 1, steps: [{sleep: 1s}]}\n",
        ["Contradiction 5:9"],
    ),
    "a case that is both": (
        "steps:\n  - switch:\n      - {if: 1 == 1, steps: [{sleep: 1s}], else: [{sleep: 1s}]}\n",
        ["Contradiction 5:44"],
    ),
    "an id twice in a try": (
        "steps:\n  - try: [{id: a, sleep: 1s}]\n    catch: {steps: [{id: a, sleep: 1s}]}\n",
        ["DuplicateId 5:26"],
    ),
    "an id twice in a branch": (
        "steps:\n  - parallel: {l: [{id: a, sleep: 1s}, {id: a, sleep: 1s}]}\n",
        ["DuplicateId 4:45"],
    ),
    "a branch that is a clause": ("steps:\n  - parallel: {undo: [{sleep: 1s}]}\n", ["ReservedId 4:16"]),
    "an element called as a name of all": (
        "steps:\n  - {foreach: input.x, as: steps, steps: [{sleep: 1s}]}\n",
        ["ReservedId 4:28"],
    ),
    "an element that no expression can name": (
        "steps:\n  - {foreach: input.x, as: if, steps: [{sleep: 1s}]}\n",
        ["ReservedId 4:28"],
    ),
    "an error called as a name of all": (
        "steps:\n  - {try: [{sleep: 1s}], catch: {as: input}}\n",
        ["ReservedId 4:38"],
    ),
    "a child without an id": ("steps:\n  - workflow: pay\n", ["MissingKey 4:5"]),
    "a signal sent without an id": ("steps:\n  - send_signal: {run: r, signal: s}\n", ["MissingKey 4:5"]),
    "a signal's name that is none": (
        "steps:\n  - {id: a, send_signal: {run: r, signal: a b}}\n",
        ["BadValue 4:43"],
    ),
    "a run's id that is none": (
        "steps:\n  - {id: a, send_signal: {run: /r, signal: s}}\n",
        ["BadValue 4:32"],
    ),
    "a workflow's name that is none": ("steps:\n  - {id: a, workflow: a..b}\n", ["BadValue 4:23"]),
    "a version of a workflow that is none": ("steps:\n  - {id: a, workflow: a@0}\n", ["BadValue 4:23"]),
    "an undoing workflow's name that is none": (
        "steps:\n  - {id: a, activity: x.a, compensate: {workflow: a.}}\n",
        ["BadValue 4:51"],
    ),
    "a detached child that is retried, awaited and rolled back": (
        "steps:\n  - {id: a, workflow: w, detached: true, retry: false, timeout: 1s, total_timeout: 1s, compensate: rollback}\n",
        ["Contradiction 4:42", "Contradiction 4:56", "Contradiction 4:69", "Contradiction 4:88"],
    ),
    "an activity that is rolled back": (
        "steps:\n  - {id: a, activity: x.a, compensate: rollback}\n",
        ["BadValue 4:40"],
    ),
    "an entry that is rolled back": (
        "activities: {a: {uses: x.a, compensate: rollback}}\nsteps:\n  - {id: a, activity: a}\n",
        ["BadValue 3:41"],
    ),
    "neither catch nor finally": ("steps:\n  - try: [{sleep: 1s}]\n", ["MissingKey 4:5"]),
    "a return in a finally": (
        "steps:\n  - {try: [{sleep: 1s}], finally: [{switch: [{else: [{return: 1}]}]}]}\n",
        ["Contradiction 4:55"],
    ),
    "a successor in a finally": (
        "steps:\n  - {try: [{sleep: 1s}], finally: [{continue_as_new: {input: {}}}]}\n",
        ["Contradiction 4:37"],
    ),
    "a successor in a compensation": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{continue_as_new: {input: {}}}]}}\n",
        ["Contradiction 4:50"],
    ),
    "a rollback in a compensation": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{steps: [{rollback: all}]}]}}\n",
        ["Contradiction 4:59"],
    ),
    "a successor's input that does not fit": (
        "input: {required: [n], properties: {n: {type: integer}, m: {default: 1}}}\n"
        "steps:\n  - {if: 1 == 1, continue_as_new: {input: {}}}\n  - continue_as_new: {input: {n: 1}}\n",
        ["BadValue 5:43"],
    ),
    "a successor's input that is no mapping": (
        "steps:\n  - continue_as_new: {input: [1]}\n",
        ["WrongType 4:30"],
    ),
    "a pivot in a branch": (
        "steps:\n  - parallel: {l: [{steps: [{id: a, activity: x.a, pivot: true}]}]}\n",
        ["Contradiction 4:52"],
    ),
    "a pivot in a concurrent foreach": (
        "steps:\n  - {foreach: input.x, concurrency: 2, steps: [{id: a, activity: x.a, pivot: true}]}\n",
        ["Contradiction 4:71"],
    ),
    "attributes that an undo does not have": (
        "steps:\n  - {id: a, activity: x.a, compensate: {steps: [{id: u, activity: x.u, pivot: true, commit: true, "
        "irreversible: true, on_failure: hold}]}}\n",
        ["Contradiction 4:72", "Contradiction 4:85", "Contradiction 4:99", "Contradiction 4:119"],
    ),
    "commit where nothing is asked": (
        "steps:\n  - {set: {a: 1}, commit: true}\n  - {steps: [{sleep: 1s}], commit: true}\n",
        ["Contradiction 4:19", "Contradiction 5:28"],
    ),
    "a change from new to old": ("steps:\n  - patch: {id: c, min: 3, max: 2}\n", ["BadValue 4:33"]),
    "a change whose newest version is not said": ("steps:\n  - patch: {id: c, min: 3}\n", ["BadValue 4:25"]),
    "a change of other versions": (
        "steps:\n  - patch: {id: c, max: 2}\n  - patch: {id: c, max: 3}\n",
        ["Contradiction 5:12"],
    ),
    "a search attribute that is no scalar": (
        "steps:\n  - attributes: {search: {a: [1]}, memo: {a: [1]}}\n",
        ["WrongType 4:30"],
    ),
    "an iteration's sleep longer than the run": (
        "timeout: 1h\nsteps:\n  - {foreach: input.x, steps: [{sleep: 2h}]}\n",
        ["TooLong 5:40"],
    ),
    "an input that is no mapping": ("input: {type: string}\nsteps:\n" + CALL, ["BadSchema 3:15"]),
    "a payload that is no schema": (
        "signals: {s: {payload: {type: strng}}}\nsteps:\n  - wait_for_signal: s\n",
        ["BadSchema 3:31"],
    ),
    "a remote reference": ("output_schema: {$ref: 'http://x/y'}\nsteps:\n" + CALL, ["BadSchema 3:23"]),
    "a pattern that can take for ever": (
        "input: {properties: {a: {pattern: '(?=a)b'}}}\nsteps:\n" + CALL,
        ["BadSchema 3:25"],
    ),
}


@pytest.mark.parametrize(("body", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_contradiction_in_the_meaning_is_refused_at_its_place(body: str, expected: list[str]) -> None:
    assert mistakes(body) == expected


ALLOWED = {
    "the same id in two compensations": (
        "steps:\n"
        "  - {id: a, activity: x.a, compensate: {steps: [{id: u, activity: x.u}]}}\n"
        "  - {id: b, activity: x.a, compensate: {steps: [{id: u, activity: x.u}]}}\n"
    ),
    "the same id in two branches and outside": (
        "steps:\n  - {id: a, parallel: {l: [{id: a, sleep: 1s}], r: [{id: a, sleep: 1s}]}}\n"
        "  - {foreach: input.x, steps: [{id: a, sleep: 1s}]}\n"
    ),
    "workflows": (
        "steps:\n  - {id: a, workflow: shop.pay@12}\n  - {id: b, workflow: ../other file.yml}\n  - {id: c, workflow: pay.json}\n"
    ),
    "signals to whoever is named": (
        "steps:\n  - {id: a, send_signal: {run: '${{ input.a b }}', signal: '${{ input.s }}'}}\n".replace(
            "a b", "a"
        )
        + "  - {id: b, send_signal: {run: 'order-1~2/each[1].pay#2', signal: s}}\n"
    ),
    "a detached child that is undone by an activity": (
        "steps:\n  - {id: a, workflow: w, detached: true, on_parent_close: cancel, compensate: {activity: x.a}}\n"
    ),
    "a pivot in a foreach of one at a time": (
        "steps:\n  - {foreach: input.x, concurrency: 1, wait: settled, steps: [{id: a, activity: x.a, pivot: true}]}\n"
    ),
    "commit wherever the world is asked": (
        "signals: {go: }\nsteps:\n  - {id: a, activity: x.a, commit: true}\n  - {id: b, workflow: w, commit: true}\n"
        "  - {id: c, send_signal: {run: r, signal: s}, commit: true}\n  - {wait_for_signal: go, commit: true}\n"
        "  - {sleep: 1s, commit: true}\n  - {set: {a: 1}, commit: false}\n"
    ),
    "the same change asked for twice": (
        "steps:\n  - patch: {id: c, max: 3}\n  - patch: {id: c, min: 1, max: 3}\n"
    ),
    "a return and a rollback in a catch": (
        "steps:\n  - {try: [{sleep: 1s}], catch: [{errors: [A], rollback: true, steps: [{return: 1}]}, {steps: [{rollback: all}]}]}\n"
    ),
    "a successor in a branch": "steps:\n  - parallel: {l: [{continue_as_new: {input: {}}}]}\n",
    "a successor's input by expression": (
        "input: {required: [n], properties: {n: {type: integer}}}\nsteps:\n  - continue_as_new: {input: {n: '${{ input.n }}'}}\n"
    ),
    "a compensation that outlives the run": (
        "timeout: 1m\nsteps:\n  - {id: a, activity: x.a, compensate: {activity: x.b, timeout: 1h}}\n"
    ),
    "irreversible, and none of the entry's compensate": (
        "activities: {a: {uses: x.a, compensate: {activity: x.b}}}\n"
        "steps:\n  - {id: a, activity: a, irreversible: Sent is sent., compensate: none}\n"
    ),
    "a timeout of nothing takes the signals that are there": (
        "signals: {go: }\nsteps:\n  - {wait_for_signal: go, timeout: 0s, on_timeout: continue}\n"
    ),
    "a sleep by expression": "steps:\n  - sleep: ${{ input.x }}\n",
    "a moment": "steps:\n  - sleep: {until: '2030-01-31T08:00:00Z'}\n",
    "a timeout longer than the total": (
        "steps:\n  - {id: a, activity: x.a, timeout: 10s, total_timeout: 3s}\n"
    ),
    "a schema that refers to itself through a property": (
        "input: {properties: {next: {$ref: '#'}}}\nsteps:\n" + CALL
    ),
}


@pytest.mark.parametrize("body", ALLOWED.values(), ids=ALLOWED)
def test_what_only_looks_wrong_is_allowed(body: str) -> None:
    assert mistakes(body) == []


WARNED = {
    "a step after return": ("steps:\n  - return: 1\n  - sleep: 1s\n  - sleep: 1s\n", ["Unreachable 5:5"]),
    "a step after fail, in a block": (
        "steps:\n  - steps:\n      - fail: {type: T}\n      - sleep: 1s\n",
        ["Unreachable 6:9"],
    ),
    "a signal that nobody awaits": ("signals: {go: {}}\nsteps:\n  - sleep: 1s\n", ["Unused 3:11"]),
    "an entry that nobody uses": ("activities: {a: {uses: x}}\nsteps:\n  - sleep: 1s\n", ["Unused 3:14"]),
    "a secret that nobody uses": ("secrets: [A]\nsteps:\n  - sleep: 1s\n", ["Unused 3:11"]),
    "a result that may be null": (
        "steps:\n  - id: a\n    activity: x.a\n"
        "    compensate: {activity: x.b, with: {id: '${{ result.id }}'}, after: attempted}\n",
        ["MaybeNull 6:49"],
    ),
    "a delay over the default max_delay": (
        "steps:\n  - {id: a, activity: x.a, retry: {delay: 5m}}\n",
        ["NoEffect 4:36"],
    ),
    "a factor without exponents": (
        "steps:\n  - {id: a, activity: x.a, retry: {backoff: linear, factor: 3}}\n",
        ["NoEffect 4:53"],
    ),
    "on_timeout without timeout": (
        "signals: {go: }\nsteps:\n  - {wait_for_signal: go, on_timeout: continue}\n",
        ["NoEffect 5:27"],
    ),
    "a sleep over its own timeout": ("steps:\n  - {sleep: 1h, timeout: 1m}\n", ["NoEffect 4:6"]),
    "a heartbeat slower than the timeout": (
        "steps:\n  - {id: a, activity: x.a, timeout: 5s, heartbeat_timeout: 10s}\n",
        ["NoEffect 4:41"],
    ),
    "more concurrency than branches": (
        "steps:\n  - {parallel: {a: [{sleep: 1s}], b: [{sleep: 1s}]}, concurrency: 3}\n",
        ["NoEffect 4:54"],
    ),
    "a catch after one that takes all": (
        "steps:\n  - {try: [{sleep: 1s}], catch: [{errors: ['*']}, {errors: [A]}, {}]}\n",
        ["Unreachable 4:51"],
    ),
    "a catch after one with a condition": (
        "steps:\n  - {try: [{sleep: 1s}], catch: [{if: 1 == 1}, {errors: [A]}]}\n",
        [],
    ),
    "after attempted without attempts": (
        "steps:\n  - {steps: [{sleep: 1s}], compensate: {activity: x.a, after: attempted}}\n",
        ["NoEffect 4:56"],
    ),
    "a step after a successor, in an iteration": (
        "steps:\n  - {foreach: input.x, steps: [{continue_as_new: {input: {}}}, {sleep: 1s}]}\n",
        ["Unreachable 4:64"],
    ),
    "nothing": ("steps:\n  - {if: input.x == 1, return: 1}\n  - sleep: 1s\n", []),
    "a compensation uses an entry": (
        "activities: {b: {uses: x.b}}\nsteps:\n  - {id: a, activity: x.a, compensate: {activity: b}}\n",
        [],
    ),
}


@pytest.mark.parametrize(("body", "expected"), WARNED.values(), ids=WARNED)
def test_what_is_allowed_and_probably_not_meant_is_a_warning(body: str, expected: list[str]) -> None:
    assert warned(body) == expected


def test_an_unknown_activity_is_told_the_nearest_registered_one() -> None:
    body = "steps:\n  - {id: a, activity: mail.snd}\n"
    sentence = "error[UnknownActivity]: no plugin registers the activity 'mail.snd' (t.yaml:4:23), "
    assert (
        only(body, activities=dict.fromkeys(["mail.send", "x.y"])) == sentence + "did you mean 'mail.send'?"
    )
    assert mistakes(body) == []  # nobody said which there are


def test_activities_are_looked_for_wherever_they_are_named() -> None:
    body = (
        "activities:\n  own: {uses: x.a, compensate: {activity: x.b}}\n"
        "steps:\n  - {id: a, activity: own, compensate: {steps: [{id: u, activity: x.c}]}}\n"
        "  - switch: [{else: [{id: b, activity: x.d}]}]\n"
    )
    found = mistakes(body, activities={})
    assert found == [
        "UnknownActivity 4:15",
        "UnknownActivity 4:43",
        "UnknownActivity 6:67",
        "UnknownActivity 7:40",
    ]
    assert mistakes(body, activities=dict.fromkeys(["x.a", "x.b", "x.c", "x.d"])) == []


def test_an_undeclared_signal_is_told_how_it_is_declared() -> None:
    (found,) = refused("steps:\n  - wait_for_signal: go\n")
    assert found.hint == "declare it: 'signals: {go: {}}'"
    (found,) = refused("signals: {approve: }\nsteps:\n  - wait_for_signal: aprove\n")
    assert found.hint == "did you mean 'approve'?"


def test_an_effect_without_an_id_is_offered_one() -> None:
    (found,) = refused("steps:\n  - activity: payments.charge\n")
    assert found.hint == "write 'id: …', such as 'id: charge'"
    (found,) = refused("steps:\n  - workflow: ./flows/Pay-now.yaml\n")
    assert found.hint == "write 'id: …', such as 'id: now'"
    (found,) = refused("steps:\n  - workflow: shop.pay@2\n")
    assert found.hint == "write 'id: …', such as 'id: pay'"


def test_what_the_loader_refused_is_not_complained_of_twice() -> None:
    body = "steps:\n  - id: a\n    activity: x.a\n    timeout: *soon\n    with: !x {a: '${{ nope }}'}\n"
    assert mistakes(body) == ["YamlFeature 6:14", "YamlFeature 7:11"]


def test_schemas_that_would_take_long_to_check_are_too_large() -> None:
    properties = ", ".join(f"p{number}: {{type: string}}" for number in range(3_000))
    body = f"input: {{properties: {{{properties}}}}}\nsteps:\n" + CALL
    assert mistakes(body) == ["TooLarge 3:8"]
    patterns = ", ".join(f"'^p{number}': {{}}" for number in range(300))
    body = f"input: {{patternProperties: {{{patterns}}}}}\nsteps:\n" + CALL
    assert mistakes(body) == ["TooLarge 3:8"]
