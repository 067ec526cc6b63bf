"""Mistakes in test files are told like those in workflows: all at once, with place, code and remedy."""

# ruff: noqa: E501 - a message is read by the line
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowctl.document.cases import read_tests
from flowctl.document.loader import load_yaml
from flowctl.document.schema import schema
from flowctl.errors import InvalidDocument
from tests.case_helpers import CHAIN, MOCKS, loaded, mistakes, written
from tests.mutation.hunt import EXAMPLES

HEAD = "workflow: ./order.yaml\ninput: {item: lamp}\ncases:\n  - case: one\n"

TOLD = {
    "an empty list of cases": (
        "workflow: ./order.yaml\ncases: []\n",
        "error[BadValue]: 'cases' of the file must have at least 1 item (F:2:8)",
    ),
    "a word that is misspelt": (
        HEAD + "    expct: {}\n",
        "error[UnknownKey]: unknown key 'expct' in the case 'one' (F:5:5), did you mean 'expect'?",
    ),
    "a word from elsewhere": (
        HEAD + "    expected: {}\n",
        "error[UnknownKey]: unknown key 'expected' in the case 'one' (F:5:5), write 'expect: {…}'",
    ),
    "an expectation that belongs elsewhere": (
        HEAD + "    expect: {took: 5s}\n",
        "error[UnknownKey]: unknown key 'took' in 'expect' of the case 'one' (F:5:14), "
        "write 'elapsed', in virtual time",
    ),
    "a word in an answer": (
        HEAD + "    mocks: {shop.ship: {retrun: 1}}\n",
        "error[UnknownKey]: unknown key 'retrun' in the mock 'shop.ship' of the case 'one' (F:5:25), "
        "did you mean 'return'?",
    ),
    "a word in one of several answers": (
        HEAD + "    mocks: {shop.ship: [{return: 1}, {throws: X}]}\n",
        "error[UnknownKey]: unknown key 'throws' in answer 2 of the mock 'shop.ship' of the case 'one' (F:5:39), "
        "write 'raise: TYPE'",
    ),
    "a word in an answer at a step": (
        HEAD + "    mocks: {shop.ship: {at: {ship: {rais: X}}}}\n",
        "error[UnknownKey]: unknown key 'rais' in 'ship' in 'at' of the mock 'shop.ship' of the case 'one' "
        "(F:5:37), did you mean 'raise'?",
    ),
    "a duration": (
        HEAD + "    mocks: {shop.ship: {after: 5}}\n",
        "error[WrongType]: 'after' of the mock 'shop.ship' of the case 'one' has no unit: is it seconds? "
        "Then write 5s (F:5:32)",
    ),
    "a state that there is not": (
        HEAD + "    expect: {status: complete}\n",
        "error[BadValue]: 'status' of 'expect' of the case 'one' must be ",
    ),
    "an event without anything": (
        HEAD + "    events: [{at: 5s}]\n",
        "error[MissingKey]: event 1 of the case 'one' does not say what happens (F:5:14), write signal, cancel, "
        "lose_worker, pause, unpause, terminate or retry",
    ),
    "two things at once": (
        HEAD + "    failures: [{step: ship, raise: X, cancel: after}]\n",
        "error[Contradiction]: 'cancel' and 'raise' exclude each other in failure 1 of the case 'one' (F:5:39)",
    ),
    "a message without an error": (
        HEAD + "    mocks: {shop.ship: {message: no}}\n",
        "error[Contradiction]: 'message' says nothing without 'raise' in the mock 'shop.ship' of the case 'one' "
        "(F:5:25)",
    ),
    "no workflow": (
        "cases: [{case: one}]\n",
        "error[MissingKey]: 'workflow' is missing in the file (F:1:1), the document",
    ),
    "no cases": (
        "workflow: ./order.yaml\n",
        "error[MissingKey]: 'cases' is missing in the file (F:1:1), the tests:",
    ),
    "a case without a name": (
        "workflow: ./order.yaml\ncases: [{input: {item: x}}]\n",
        "error[MissingKey]: 'case' is missing in case 1 (F:2:9), a sentence about what holds",
    ),
    "no mapping": ("- a\n", "error[WrongType]: a test file is a mapping, not a list (F:1:1), it begins with"),
    "nothing where something belongs": (
        HEAD + "    expect:\n",
        "error[WrongType]: 'expect' of the case 'one' must be a mapping, not null (F:5:12), nothing stands after",
    ),
    "a workflow that is not there": (
        "workflow: ./ordr.yaml\ncases: [{case: one}]\n",
        "error[UnknownWorkflow]: there is no file 'D/ordr.yaml' (F:1:11), did you mean 'order.yaml'?",
    ),
    "a step that is not there": (
        HEAD + "    expect: {steps: {chrage: completed}}\n",
        "error[UnknownStep]: order has no step 'chrage' (F:5:22), did you mean 'charge'?",
    ),
    "a compensation that is not there": (
        HEAD + "    failures: [{step: ship.undo, raise: X}]\n",
        "error[UnknownStep]: order has no step 'ship.undo' (F:5:23)",
    ),
    "a child that is not there": (
        HEAD + "    failures: [{step: ship/van, raise: X}]\n",
        "error[UnknownStep]: order has no child at 'ship' (F:5:23)",
    ),
    "an activity that is not called": (
        HEAD + "    mocks: {shop.shipp: {}}\n",
        "error[UnknownActivity]: order does not call the activity 'shop.shipp' (F:5:13), did you mean 'shop.ship'?",
    ),
    "a signal that is not declared": (
        HEAD + "    events: [{at: 5s, signal: aprove}]\n",
        "error[UndeclaredSignal]: order declares no signal 'aprove' (F:5:31), did you mean 'approve'?",
    ),
    "a payload that does not fit": (
        HEAD + "    events: [{at: 5s, signal: approve, payload: {}}]\n",
        "error[BadValue]: the payload does not fit the signal approve: payload.by is missing (F:5:49)",
    ),
    "an input that does not fit": (
        HEAD + "    input: {item: 5}\n",
        "error[BadValue]: order does not take the input: the input does not fit: input.item must be a text, not 5 (F:5:12)",
    ),
    "a secret that is not declared": (
        HEAD + "    secrets: {TOKN: x}\n",
        "error[UndeclaredSecret]: no document declares the secret 'TOKN' (F:5:15), did you mean 'TOKEN'?",
    ),
    "an expression that does not parse": (
        HEAD + "    expect: {that: {sense: elapsed >}}\n",
        "error[BadExpression]: ",
    ),
    "a name that there is not": (
        HEAD + "    invariants: {sense: stat == 'completed'}\n",
        "error[UnknownName]: there is no 'stat' here (F:5:25), did you mean 'status'?",
    ),
    "a name in an answer": (
        HEAD + '    mocks: {shop.ship: {return: "${{ arg.reservation }}"}}\n',
        "error[UnknownName]: there is no 'arg' here (F:5:33), did you mean 'args'?",
    ),
    "an effect that there is not": (
        HEAD + "    invariants: {sense: left.charges == 1}\n",
        "error[UnknownName]: there is no effect 'charges' (F:5:18)",
    ),
    "an effect known by half": (
        "effects: {charge: {done_by: shop.charge, undone_by: shop.refund, done_as: args.key}}\n" + HEAD,
        "error[Contradiction]: the effect 'charge' is known by one thing when done, and another when undone (F:1:11)",
    ),
    "two cases of one name": (
        HEAD + "  - case: one\n",
        "error[DuplicateId]: another case is called 'one' (F:5:11), first on line 4",
    ),
}


@pytest.mark.parametrize(("text", "told"), TOLD.values(), ids=TOLD)
def test_a_mistake_is_told(tmp_path: Path, text: str, told: str) -> None:
    found = [each.render() for each in mistakes(text, tmp_path)]
    file = str(tmp_path / "order.test.yaml")
    assert len(found) == 1
    first = found[0].replace(file, "F").replace(str(tmp_path), "D")
    assert first.split("\n")[0].startswith(told)
    assert first.split("\n")[-1].strip() == "^"


FAMILY = """\
dsl: 1
name: family
steps:
  - {id: plain, workflow: ./order.yaml, with: {item: lamp}}
  - {id: chain, workflow: ./chain.yaml}
  - {id: lasting, workflow: ./order.yaml, with: {item: lamp}, irreversible: true}
  - {id: by_child, activity: t.do, compensate: {workflow: ./order.yaml, with: {item: lamp}}}
"""


@pytest.mark.parametrize(
    ("step", "told"),
    {
        "chain~1/take": "family has no child at 'chain~1'",
        "chain~02/take": "family has no child at 'chain~02'",
        "chain~x/take": "family has no child at 'chain~x'",
        "chain#x/take": "family has no child at 'chain#x'",
        "chain~2#2/take": "family has no child at 'chain~2#2'",
        "chain~undo~2/take": "family has no child at 'chain~undo~2'",
        "chian~2/take": "family has no child at 'chian~2'",
        "chain~2/tkae": "chain has no step 'tkae'",
        "chain#2/tkae": "chain has no step 'tkae'",
        "plain~2/ship": "family has no child at 'plain~2'",
        "plain~undo/shipp.undo": "order has no step 'shipp.undo'",
        "plain~undo/ship.undo": "order has no step 'ship.undo'",
        "lasting~undo/charge.undo": "family has no child at 'lasting~undo'",
        "by_child/charge": "family has no child at 'by_child'",
        "by_child.undo~undo/charge.undo": "family has no child at 'by_child.undo~undo'",
        "~2/chain": "family has no child at '~2'",
        "~undo/chain.undo": "family has no child at '~undo'",
        "chain/~2/take": "chain has no child at '~2'",
    }.items(),
)
@pytest.mark.parametrize("where", ["calls", "steps", "failures"])
def test_a_step_of_a_run_that_cannot_be_is_told(tmp_path: Path, where: str, step: str, told: str) -> None:
    (tmp_path / "family.yaml").write_text(FAMILY)
    (tmp_path / "chain.yaml").write_text(CHAIN)
    line = {
        "calls": f"expect: {{calls: [{step}]}}",
        "steps": f"expect: {{steps: {{{step}: completed}}}}",
        "failures": f"failures: [{{step: {step}, raise: X}}]",
    }[where]
    [found] = mistakes(f"workflow: ./family.yaml\ncases:\n  - case: one\n    {line}\n", tmp_path)
    place = (found.line, found.column)
    assert (found.code, found.message, place) == ("UnknownStep", told, (4, 5 + line.index(step)))


def test_what_may_stand_behind_a_child_is_told_where_something_else_does(tmp_path: Path) -> None:
    [found] = mistakes(HEAD + "    expect: {calls: [ship~undone/van]}\n", tmp_path)
    assert found.hint is not None
    assert found.hint.startswith(
        "CHILD#2 is a second attempt, CHILD~2 a successor, CHILD~undo what undoes it"
    )


@pytest.mark.parametrize("call", ["charge#0", "charge#1", "charge#x"])
def test_an_attempt_that_no_call_is_shown_with_is_told(tmp_path: Path, call: str) -> None:
    [found] = mistakes(HEAD + f"    expect: {{calls: [{call}]}}\n", tmp_path)
    assert found.message == f"order has no step '{call}'"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD + "    expct: {}\n    inptu: {}\n  - case: two\n    evnts: []\n"
    assert [each.line for each in mistakes(text, tmp_path)] == [5, 6, 8]


def test_a_mistake_of_the_workflow_is_told_as_the_workflows(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("dsl: 1\nname: bad\nsteps: [{slep: 1h}]\n")
    [found] = mistakes("workflow: ./bad.yaml\ncases: [{case: one}]\n", tmp_path)
    assert (Path(found.file).name, found.code) == ("bad.yaml", "UnknownKey")


def test_a_child_that_nothing_leads_to_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text("dsl: 1\nname: parent\nsteps: [{id: kid, workflow: kid}]\n")
    [found] = mistakes("workflow: ./parent.yaml\ncases: [{case: one}]\n", tmp_path)
    assert found.hint == "write 'children: {kid: ./FILE.yaml}'"


def test_an_argument_that_the_activity_does_not_take_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from flowctl import activity\n\n@activity('shop.ship')\ndef ship(reservation: int, token: str) -> str: ...\n"
    )
    text = HEAD + "    mocks: {shop.ship: {args: {reservatoin: 1}}}\nplugins_dir: .\n"
    [found] = mistakes(text, tmp_path)
    assert (found.code, found.hint) == ("UnknownArgument", "did you mean 'reservation'?")


@pytest.mark.parametrize(
    "case",
    [
        {"mocks": {"shop.ship": {"at": {"ship": [{"raise": "X"}, {}]}, "calls": [{}, [{}, {}]]}}},
        {
            "events": [
                {"at": "1s", "pause": True},
                {"at": "2s", "unpause": True},
                {"at": "3s", "terminate": True},
            ]
        },
        {"expect": {"error": None, "that": {"yes": True}}},
        {"failures": [{"step": "reserve", "attempt": 2, "time_out": "before"}]},
    ],
)
def test_what_the_schema_allows_is_no_mistake(tmp_path: Path, case: dict[str, Any]) -> None:
    assert loaded(written(case), tmp_path).scenarios[0].name == "case 1"


def test_thousands_of_cases_are_read_without_the_schema_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowctl.document.cases._explain", None)
    _, report = read_tests(str(written(*[{"mocks": MOCKS}] * 50)).replace("'", '"'), "x.test.yaml")
    assert report.errors == []


# --- the published schema, as editors apply it

PUBLISHED = Draft202012Validator(schema("test"))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.test.yaml")), ids=lambda file: file.name)
def test_the_published_schema_takes_the_test_files_of_the_examples(file: Path) -> None:
    data = load_yaml(file.read_bytes(), file.name)
    assert [error.message for error in PUBLISHED.iter_errors(data)] == []
    assert file.read_text("utf-8").startswith(
        "# yaml-language-server: $schema=../../schemas/test.schema.json\n"
    )


def test_the_published_schema_is_one_and_refuses_misspelt_words() -> None:
    Draft202012Validator.check_schema(schema("test"))
    refused = [name for name, (text, _) in TOLD.items() if not PUBLISHED.is_valid(load_yaml(text, "x"))]
    assert {name for name in TOLD if name.startswith("a word")} <= set(refused)


def test_an_empty_file_is_told_how_a_test_file_begins() -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_tests("# nothing yet\n", "F")
    [told] = caught.value.diagnostics
    assert told.render().split("\n")[0] == (
        "error[YamlSyntax]: the file is empty (F:1:1), it begins with 'workflow: ./FILE.yaml' and 'cases:'"
    )
