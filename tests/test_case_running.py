"""What a case of a test file does: mocks, events, failures, and what is held against what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowctl.settings import NO_PROJECT
from flowctl.testing.suite import surroundings
from tests.case_helpers import CHAIN, HERE, ORDER, one, results, written, wrong

DONE: dict[str, Any] = {"status": "completed"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# --- what passes


PASSES: dict[str, dict[str, Any]] = {
    "nothing said is completed": {},
    "status and output": {"expect": DONE | {"output": {"tracking": "T-7"}}},
    "a part of the output": {"expect": {"output_includes": {}}},
    "thirty days": {"input": {"express": False}, "expect": {"elapsed": "30d"}},
    "a signal in virtual time": {
        "input": {"amount": 500},
        "events": [{"at": "1h", "signal": "approve", "payload": {"by": "Ada"}}],
        "expect": DONE | {"elapsed": "1h", "outputs": {"charge": {"id": 1}}},
    },
    "a run that waits, looked at": {
        "input": {"amount": 500},
        "until": "1h",
        "expect": {"status": "waiting", "waiting_for": ["approval"], "steps": {"ship": "unreached"}},
    },
    "a signal that does not come": {
        "input": {"amount": 500},
        "expect": {"error": {"type": "Timeout", "step": "approval"}, "compensations": ["reserve"]},
    },
    "a cancellation": {
        "input": {"express": False},
        "events": [{"at": "1d", "cancel": "not wanted"}],
        "expect": {"status": "compensated", "error": {"message": "not wanted"}, "elapsed": "1d"},
    },
    "errors by attempt": {
        "mocks": {"shop.reserve": [{"raise": "Busy"}, {"raise": "Busy"}, {"return": {"id": 8}}]},
        "expect": {
            "calls": ["reserve", "reserve#2", "reserve#3", "charge", "ship"],
            "attempts": {"reserve": 3},
            "elapsed": "3s",
            "output": {"tracking": "T-8"},
        },
    },
    "answers at a step": {
        "mocks": {"shop.charge": {"at": {"charge": {"raise": "Declined", "message": "no"}}}},
        "expect": {"error": {"type": "Declined", "message": "no", "step": "charge"}},
    },
    "answers by call": {
        "mocks": {
            "shop.release": {"calls": [{"return": 1}, {"raise": "Never"}]},
            "shop.ship": {"raise": "X"},
        },
        "expect": {"status": "compensated"},
    },
    "order, arguments and secrets": {
        "secrets": {"TOKEN": "t0k3n"},
        "expect": {
            "order": ["reserve", "ship"],
            "args": {"ship": {"reservation": 7, "token": "t0k3n"}},
            "args_include": {"charge": {"key": "test/charge"}},
        },
    },
    "delays": {"mocks": {"shop.ship": {"after": "2m", "return": "T"}}, "expect": {"elapsed": "2m"}},
    "a worker that is lost at a time": {
        "input": {"express": False},
        "events": [{"at": "1d", "lose_worker": "2d"}],
        "expect": {"elapsed": "30d", "calls": ["reserve", "charge", "ship"]},
    },
    "a worker that is lost at a step": {
        "failures": [{"step": "charge", "lose_worker": "after"}],
        "expect": DONE | {"calls": ["reserve", "charge", "ship"], "left": {"shop.charge": 1}},
    },
    "a sleep that is cancelled": {
        "input": {"express": False},
        "failures": [{"step": "cooling_off", "cancel": "before"}],
        "expect": {"status": "compensated", "steps": {"cooling_off": "cancelled"}, "elapsed": "0s"},
    },
    "a step that times out after its effect": {
        "failures": [{"step": "reserve", "time_out": "after"}],
        "expect": {
            "status": "compensation_failed",
            "saga": {"in_doubt": ["reserve"]},
            "left": {"shop.reserve": 1},
            "attempts": {"reserve": 3},
        },
    },
    "a step that fails twice": {
        "failures": [{"step": "reserve", "attempts": 2, "raise": "Busy"}],
        "expect": DONE | {"attempts": {"reserve": 3}},
    },
    "compensations that fail": {
        "mocks": {"shop.ship": {"raise": "X"}},
        "failures": [{"step": "charge.undo", "raise": "Down"}],
        "expect": {"status": "compensation_failed", "steps": {"charge.undo": "compensation_failed"}},
    },
    "whatever else": {
        "expect": {
            "that": {
                "one call each": "calls['shop.charge'] == 1 and left['shop.charge'] == done['shop.charge']"
            }
        }
    },
}


@pytest.mark.parametrize("case", PASSES.values(), ids=PASSES)
def test_a_case_passes(folder: Path, case: dict[str, Any]) -> None:
    result = one(folder, case)
    assert (result["status"], wrong(result)) == ("passed", [])


# --- what does not

FAILS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another output": ({"expect": {"output": {"tracking": "T-8"}}}, ["output.tracking"]),
    "more output than expected": ({"expect": {"output": {}}}, ["output.tracking"]),
    "a part that is not there": ({"expect": {"output_includes": {"id": 1}}}, ["output.id"]),
    "a run that fails": ({"mocks": {"shop.ship": {"raise": "X"}}}, ["status"]),
    "another error": (
        {"mocks": {"shop.ship": {"raise": "X"}}, "expect": {"error": {"type": "Y", "step": "ship"}}},
        ["error.type"],
    ),
    "an error that does not come": ({"expect": {"error": {"type": "Y"}}}, ["error"]),
    "the state of a step": ({"expect": {"steps": {"approval": "completed"}}}, ["steps.approval"]),
    "other calls": ({"expect": {"calls": ["reserve", "ship"]}}, ["calls"]),
    "another order": ({"expect": {"order": ["ship", "reserve"]}}, ["order[0]", "order[1]"]),
    "other arguments": ({"expect": {"args_include": {"charge": {"amount": 6}}}}, ["args.charge.amount"]),
    "arguments of a call that was not made": (
        {"expect": {"args": {"reserve.undo": {}}}},
        ["args['reserve.undo']"],
    ),
    "attempts": ({"expect": {"attempts": {"reserve": 2}}}, ["attempts.reserve"]),
    "compensations": ({"expect": {"compensations": ["reserve"]}}, ["saga.undone"]),
    "effects": ({"expect": {"left": {"shop.charge": 0}}}, ["left['shop.charge']"]),
    "time": ({"expect": {"elapsed": "1s"}}, ["elapsed"]),
    "arguments that a mock does not expect": (
        {"mocks": {"shop.charge": {"args": {"amount": 6}}}},
        ["arguments of charge.amount"],
    ),
    "a sentence": (
        {"expect": {"that": {"it is late": "elapsed > 5"}}},
        ["it is late: elapsed > 5 is false (elapsed is 0.0)"],
    ),
    "a sentence that cannot be told": (
        {"invariants": {"it is shipped": "output.tracking.id == 1"}},
        ["it is shipped: output.tracking.id == 1 fails: output.tracking is a string and has no 'id'"],
    ),
}


@pytest.mark.parametrize(("case", "what"), FAILS.values(), ids=FAILS)
def test_a_case_fails_and_says_what_differs(folder: Path, case: dict[str, Any], what: list[str]) -> None:
    result = one(folder, case)
    assert (result["status"], wrong(result)) == ("failed", what)


def test_a_failed_case_says_why_the_run_failed(folder: Path) -> None:
    result = one(folder, {"mocks": {"shop.ship": {"raise": "NoCarrier", "message": "too heavy"}}})
    assert result["why"] == "the run's error is NoCarrier at ship: too heavy"


def test_a_difference_has_both_values_and_the_line_of_the_expectation(folder: Path) -> None:
    text = """\
workflow: ./order.yaml
input: {item: lamp}
mocks: {shop.reserve: {return: {id: 7}}, shop.charge: {}, shop.ship: {return: T-7}}
cases:
  - case: it is shipped
    expect:
      status: completed
      output: {tracking: T-8}
"""
    [result] = results(text, folder)
    assert result["mismatches"] == [
        {"what": "output.tracking", "line": 8, "expected": "T-8", "actual": "T-7"}
    ]


def test_an_activity_without_a_mock_is_refused(folder: Path) -> None:
    [result] = results({**written({}), "mocks": {}}, folder)
    assert wrong(result) == ["status", "the activity shop.reserve has no mock"]


PLUGIN = """\
from flowctl import ActivityContext, activity

@activity("shop.reserve", retry={"attempts": 2, "delay": "1m"})
def reserve(item: str, ctx: ActivityContext) -> dict:
    with open("reserved", "a+") as file:
        file.write(item)
        return {"id": file.tell()}

@activity("shop.charge")
async def charge(amount: int, key: str) -> dict:
    return {"id": 1}

@activity("shop.ship", non_retryable=[ValueError])
def ship(reservation: int, token: str) -> str:
    raise ValueError(f"{reservation} cannot go, says {token}")
"""


def test_activities_can_be_called_for_real_in_a_folder_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "shop.py").write_text(PLUGIN)
    file = written({"unmocked": "real"}, plugins_dir="plugins", secrets={"TOKEN": "t0k3n"})
    file["mocks"] = {"shop.release": {}, "shop.refund": {}}
    [result] = results(file, folder)
    assert result["why"] == "the run's error is ValueError at ship: 4 cannot go, says ***"
    assert not (folder / "reserved").exists()


def test_a_mock_is_held_to_the_signature_of_the_real_activity(folder: Path) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "shop.py").write_text(PLUGIN)
    file = written({}, plugins_dir="plugins")
    [result] = results(file, folder, ORDER.replace(", key:", ", kye:"))
    assert "shop.charge needs the argument 'key'" in result["why"]


def test_a_mock_has_the_policy_of_the_real_activity(folder: Path) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "shop.py").write_text(
        PLUGIN.replace('"shop.ship"', '"shop.ship", retry={"attempts": 2}')
    )
    file = written({"mocks": {"shop.ship": [{"raise": "X"}, {"return": "T"}]}}, plugins_dir=["plugins"])
    [result] = results(file, folder)
    assert (result["status"], result["elapsed"]) == ("passed", 1)


def test_a_secret_that_the_test_does_not_give_is_made_up(folder: Path) -> None:
    assert (
        one(folder, {"expect": {"args_include": {"ship": {"token": "the secret TOKEN"}}}})["status"]
        == "passed"
    )


def test_a_mock_that_fails_is_told_as_such(folder: Path) -> None:
    result = one(folder, {"mocks": {"shop.charge": {"return": "${{ args.amount + key }}"}}})
    assert len(wrong(result)) == 2
    assert wrong(result)[1].startswith("the mock of shop.charge fails at charge: ")
    assert result["why"].startswith("the run's error is MockFailed at charge")


def test_what_is_said_nowhere_is_told_at_the_case(folder: Path) -> None:
    text = """\
workflow: ./order.yaml
input: {item: lamp}
invariants: {it is late: elapsed > 5}
mocks: {shop.reserve: {raise: X}}
cases:
  - case: it is shipped
"""
    [result] = results(text, folder)
    assert [mismatch["line"] for mismatch in result["mismatches"]] == [6, 3]


# --- children

PARENT = """\
dsl: 1
name: parent
steps:
  - id: kid
    workflow: ./order.yaml
    with: {item: lamp}
  - id: paid
    workflow: billing
    with: {n: 1}
  - {id: last, activity: t.last}
"""
BILLING = "dsl: 1\nname: billing\nsteps: [{id: bill, activity: t.bill, compensate: {activity: t.unbill}}]\n"


def test_children_are_run_and_their_steps_addressed(folder: Path) -> None:
    (folder / "parent.yaml").write_text(PARENT)
    (folder / "billing.yaml").write_text(BILLING)
    mocks = written()["mocks"] | {"t.last": {"raise": "X"}, "t.bill": {}, "t.unbill": {}}
    case = {
        "case": "both are undone",
        "failures": [{"step": "kid/charge", "lose_worker": "before"}],
        "expect": {
            "status": "compensated",
            "compensations": ["paid", "kid"],
            "steps": {"kid/ship": "completed"},
        },
    }
    file = {
        "workflow": "./parent.yaml",
        "children": {"billing": "./billing.yaml"},
        "mocks": mocks,
        "cases": [case],
    }
    [result] = results(file, folder)
    assert (result["status"], wrong(result)) == ("passed", [])


FAMILY = """\
dsl: 1
name: family
input: {type: object, properties: {last: {type: boolean, default: true}}}
steps:
  - {id: kid, workflow: ./chain.yaml, retry: {attempts: 2, delay: 0s}}
  - {id: own, activity: t.own, compensate: {workflow: ./disown.yaml}}
  - {id: again, if: not input.last, continue_as_new: {input: {last: true}}}
  - {id: gate, activity: t.gate}
"""
DISOWN = "dsl: 1\nname: disown\nsteps: [{id: tell, activity: t.tell}]\n"

UNDONE = ["own.undo/tell", "kid~2~undo/take.undo", "kid~2~undo/_run1.take.undo"]
DONE_TWICE = ["kid/take", "kid~2/take", "own", "~2/kid/take", "~2/kid~2/take", "~2/own", "~2/gate"]
UNDONE_TWICE = [
    *["~2/own.undo/tell", "~2/kid~2~undo/take.undo", "~2/kid~2~undo/_run1.take.undo"],
    *["~2/_run1.own.undo/tell", "kid~2~undo/take.undo", "kid~2~undo/_run1.take.undo"],
]
ADDRESSED: dict[str, dict[str, Any]] = {
    "calls": {"expect": {"calls": ["kid/take", "kid~2/take", "own", "gate", *UNDONE]}},
    "calls of successors of both": {
        "input": {"last": False},
        "expect": {"calls": [*DONE_TWICE, *UNDONE_TWICE]},
    },
    "calls of a second attempt": {
        "failures": [{"step": "kid/take", "raise": "X"}],
        "expect": {
            "calls": [
                *["kid/take", "kid#2/take", "kid#2~2/take", "own", "gate", "own.undo/tell"],
                *["kid#2~2~undo/take.undo", "kid#2~2~undo/_run1.take.undo"],
            ]
        },
    },
    "states": {
        "expect": {
            "steps": {
                "kid~2/take": "completed",
                "kid~2~undo/take": "compensated",
                "kid~2~undo/_run1.take.undo": "compensated",
                "own.undo/tell": "completed",
            }
        }
    },
    "arguments": {"expect": {"args": {"kid~2/take": {"n": 2}}, "args_include": {"own.undo/tell": {}}}},
    "attempts": {
        "failures": [{"step": "kid~2~undo/take.undo", "attempt": 1, "raise": "X"}],
        "expect": {
            "attempts": {"kid~2/take": 1, "kid~2~undo/take.undo": 2},
            "calls": [
                *["kid/take", "kid~2/take", "own", "gate", "own.undo/tell"],
                *["kid~2~undo/take.undo", "kid~2~undo/take.undo#2", "kid~2~undo/_run1.take.undo"],
            ],
        },
    },
    "failures of a successor": {
        "failures": [{"step": "kid~2/take", "raise": "X"}],
        "expect": {
            "calls": [
                *["kid/take", "kid~2/take", "kid~2/_run1.take.undo", "kid#2/take", "kid#2~2/take", "own"],
                *["gate", "own.undo/tell", "kid#2~2~undo/take.undo", "kid#2~2~undo/_run1.take.undo"],
            ]
        },
    },
    "failures of what undoes": {
        "failures": [{"step": "kid~2~undo/_run1.take.undo", "raise": "X"}],
        "expect": {"status": "compensation_failed", "saga": {"failed": ["kid"], "undone": ["own"]}},
    },
    "mocks at a step": {
        "mocks": {
            "t.take": {"at": {"kid~2/take": {"return": "second"}}, "return": "first"},
            "t.give": {"at": {"kid~2~undo/_run1.take.undo": {"raise": "X"}}},
        },
        "expect": {
            "status": "compensation_failed",
            "outputs": {"kid/take": "first", "kid~2/take": "second"},
            "steps": {
                "kid~2~undo/_run1.take.undo": "compensation_failed",
                "kid~2~undo/take.undo": "compensated",
            },
        },
    },
}


@pytest.mark.parametrize("case", ADDRESSED.values(), ids=ADDRESSED)
def test_the_steps_of_successors_and_of_what_undoes_a_child_are_addressed(
    folder: Path, case: dict[str, Any]
) -> None:
    for name, document in {"chain": CHAIN, "family": FAMILY, "disown": DISOWN}.items():
        (folder / f"{name}.yaml").write_text(document)
    acts: dict[str, Any] = {name: {} for name in ("t.take", "t.give", "t.own", "t.tell")}
    expect = {"status": "compensated", **case["expect"]}
    file = {
        "workflow": "./family.yaml",
        "mocks": {**acts, "t.gate": {"raise": "X"}},
        "cases": [{"case": "one", **case, "expect": expect}],
    }
    [result] = results(file, folder)
    assert (result["status"], wrong(result)) == ("passed", [])


# --- histories and surroundings


def test_plugins_are_loaded_once_for_every_set_of_folders(folder: Path) -> None:
    loaded: list[Any] = []
    around = surroundings(NO_PROJECT, loaded.append)
    (folder / "a").mkdir()
    assert around.plugins([folder / "a"]) is around.plugins([folder / "b" / ".." / "a"])
    assert around.plugins([]) is not around.plugins([folder / "a"])
    assert len(loaded) == 2
    assert HERE.settings == around.settings
