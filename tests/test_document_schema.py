"""The shape of documents: what the published schema says, and what people hear when theirs does not fit."""

# ruff: noqa: E501 - a document in a string is read by the line
from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowctl.document.loader import load_yaml
from flowctl.document.schema import schema
from flowctl.document.structure import VERBS
from flowctl.document.vocabulary import FOREIGN
from tests.document_helpers import HEAD, document, mistakes, only, refused

STEP = "steps:\n  - id: charge\n    activity: payments.charge\n"


def definitions() -> dict[str, Any]:
    found: dict[str, Any] = schema()["$defs"]
    return found


# --- the published schema


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_the_schema_describes_every_verb() -> None:
    steps = {name.removesuffix("_step") for name in definitions() if name.endswith("_step")}
    assert steps == set(VERBS)
    assert len(definitions()["step"]["allOf"]) == len(VERBS)


def test_every_part_of_the_schema_is_described_and_every_object_closed() -> None:
    """Editors show the descriptions; an open object lets a typo pass."""
    undescribed, unclosed = [], []
    for name, definition in {"document": schema(), **definitions()}.items():
        if "description" not in definition:
            undescribed.append(name)
        if (
            "properties" in definition
            and name != "step"
            and definition.get("additionalProperties") is not False
        ):
            unclosed.append(name)
        for key, part in definition.get("properties", {}).items():
            described = definitions()[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            if "description" not in described:
                undescribed.append(f"{name}.{key}")
    assert (undescribed, unclosed) == ([], [])


def test_common_attributes_are_on_every_verb_that_goes_on() -> None:
    common = set(definitions()["set_step"]["properties"]) - {"set"}
    assert {
        "id",
        "if",
        "timeout",
        "compensate",
        "optional",
        "on_failure",
        "output",
        "secret",
        "metadata",
    } <= common
    for verb in set(VERBS) - {"return", "continue_as_new"}:
        assert common <= set(definitions()[f"{verb}_step"]["properties"]), verb


EVERY_VERB = """
dsl: 1
name: shop.order-v2
version: 3
description: All of the language.
deprecated: Use shop.other.
timeout: 7d
on_failure: hold
input: {type: object, properties: {x: {type: string}}}
signals: {go: {description: d, payload: {type: object}}, stop: }
secrets: [TOKEN]
defaults: {timeout: 30s, total_timeout: PT1H, heartbeat_timeout: 5s, retry: false}
activities:
  a: {uses: x.y, timeout: 1s, retry: {attempts: 2}, compensate: {activity: x.z, with: {}}, description: d}
steps:
  - {id: a, activity: a, with: "${{ input.x }}", retry: {attempts: 2, backoff: linear, jitter: true, on_worker_lost: fail}}
  - {sleep: 1h}
  - {set: {a: 1}}
  - {sleep: {until: "${{ input.x }}"}}
  - {id: w, wait_for_signal: [go, stop], timeout: 1h, on_timeout: continue, metadata: {x: 1}}
  - {id: s, send_signal: {run: r, signal: s, payload: {a: 1}}}
  - {steps: [{set: {a: 1}}], compensate: {steps: [{set: {a: 1}}], after: attempted, on_failure: stop}}
  - {parallel: {a: [{sleep: 1s}], b: {steps: [{sleep: 1s}], output: 1}}, wait: any, concurrency: 2}
  - {foreach: "[input.x]", as: y, steps: [{sleep: 1s}], concurrency: 2, wait: settled}
  - {while: input.x == 1, steps: [{sleep: 1s}], max_iterations: 10}
  - {until: "true", steps: [{sleep: 1s}]}
  - {switch: [{if: input.x == 1, steps: [{sleep: 1s}]}, {else: [{sleep: 1s}]}]}
  - {try: [{sleep: 1s}], catch: {errors: [A, "*"], as: e, rollback: true}, finally: [{sleep: 1s}]}
  - {try: [{sleep: 1s}], catch: [{errors: [A], steps: [{sleep: 1s}]}, {if: "true"}]}
  - {id: c, workflow: other@2, with: {}, on_parent_close: abandon, compensate: rollback}
  - {id: d, workflow: ./other.yaml, detached: true}
  - {id: p, patch: {id: change, min: 1, max: 2}}
  - {attributes: {search: {a: 1}, memo: {b: [1]}}}
  - {rollback: all}
  - {rollback: {to: a}}
  - {if: "false", fail: {type: T, message: M, details: [1]}}
  - {if: false, return: {x: 1}}
  - {continue_as_new: {input: {x: y}}}
output: {x: 1}
output_schema: {type: object}
"""


def test_the_whole_language_fits_the_schema() -> None:
    data = load_yaml(EVERY_VERB, "f")
    assert [error.message for error in Draft202012Validator(schema()).iter_errors(data)] == []
    used = {verb for step in data["steps"] for verb in step if verb in VERBS}
    assert used == set(VERBS)


def test_the_whole_language_is_accepted() -> None:
    assert [found.render() for found in refused(EVERY_VERB.partition("name: shop.order-v2\n")[2])] == []


# --- what people hear

SENTENCES = {
    "a misspelt attribute": (
        STEP + "    retires: 3\n",
        "error[UnknownKey]: unknown key 'retires' in step 'charge' (t.yaml:6:5), did you mean 'retry'?",
    ),
    "a misspelt verb": (
        "steps:\n  - activty: x\n",
        "error[UnknownKey]: unknown key 'activty' in step 1 of 'steps' (t.yaml:4:5), did you mean 'activity'?",
    ),
    "a duration without a unit": (
        "timeout: 30\n" + STEP,
        "error[WrongType]: 'timeout' has no unit: is it seconds? Then write 30s (t.yaml:3:10)",
    ),
    "a sleep without a unit": (
        "steps:\n  - sleep: 5\n",
        "error[WrongType]: 'sleep' of step 1 of 'steps' has no unit: is it seconds? Then write 5s (t.yaml:4:12)",
    ),
    "a duration in quotes without a unit": (
        STEP + '    timeout: "30"\n',
        "error[BadValue]: 'timeout' of step 'charge' cannot be read: the duration '30' has no unit; write 30s for "
        "seconds or 30ms for milliseconds (t.yaml:6:14)",
    ),
    "nothing after the colon": (
        STEP + "    with:\n",
        "error[WrongType]: 'with' of step 'charge' must be a mapping or a text, not null (t.yaml:6:10), "
        "nothing stands after the ':'",
    ),
    "two verbs": (
        STEP + "    sleep: 1h\n",
        "error[VerbAmbiguous]: step 'charge' has the verbs 'activity' and 'sleep', and a step has exactly one "
        "(t.yaml:6:5), make two steps of it",
    ),
    "no verb": (
        "steps:\n  - id: x\n",
        "error[VerbMissing]: step 'x' has no verb (t.yaml:4:5), such as 'activity', 'sleep', 'wait_for_signal', "
        "'switch' or 'steps'",
    ),
    "an attribute of another verb": (
        "steps:\n  - sleep: 1h\n    retry: false\n",
        "error[UnknownKey]: 'retry' is not possible on 'sleep' in step 1 of 'steps' (t.yaml:5:5), it belongs to "
        "'activity' and 'workflow'",
    ),
    "a choice": (
        STEP + "    retry: {backoff: exp}\n",
        "error[BadValue]: 'backoff' in 'retry' of step 'charge' must be 'constant', 'linear' or 'exponential', "
        "not 'exp' (t.yaml:6:22)",
    ),
    "neither of two": (
        STEP + "    compensate: nope\n",
        "error[WrongType]: 'compensate' of step 'charge' must be 'none' or 'rollback' or a mapping, not a string "
        "(t.yaml:6:17)",
    ),
    "steps that are no list": (
        "steps: {a: 1}\n",
        "error[WrongType]: 'steps' must be a list of steps, not a mapping (t.yaml:3:8), each step begins with '- '",
    ),
    "no steps at all": ("steps: []\n", "error[BadValue]: 'steps' has no step (t.yaml:3:8)"),
    "a step that is a text": (
        "steps: [x]\n",
        "error[WrongType]: step 1 of 'steps' must be a mapping, not a string (t.yaml:3:9), a step is written "
        "'- id: …' and 'activity: …' on lines of their own",
    ),
    "an id": (
        "steps:\n  - {id: a-b, sleep: 1s}\n",
        "error[BadValue]: 'id' of step 'a-b' is 'a-b', but an id is written in small letters, digits and '_', and "
        "does not begin with a digit (t.yaml:4:10)",
    ),
}


@pytest.mark.parametrize(("body", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_a_mistake_is_one_sentence_with_a_place_and_a_way_out(body: str, sentence: str) -> None:
    assert only(body) == sentence


def test_a_mistake_shows_its_line_with_a_caret() -> None:
    (found,) = refused(STEP + "    retires: 3\n")
    assert found.render().splitlines()[1:] == ["    6 |     retires: 3", "            ^"]


def test_every_mistake_is_reported_at_once_in_the_order_of_the_document() -> None:
    body = "timeout: 5\nnope: 1\nsteps:\n  - {id: A, sleep: []}\n  - {run: x}\n  - steps: [{slep: 1}]\n"
    assert mistakes(body) == [
        "WrongType 3:10",
        "UnknownKey 4:1",
        "BadValue 6:10",
        "WrongType 6:20",
        "UnknownKey 7:6",
        "UnknownKey 8:14",
    ]


FOREIGN_CASES = {
    "run": ("steps:\n  - run: x\n", "activity: NAME"),
    "needs": (STEP + "    needs: [a]\n", "order of the list"),
    "when": (STEP + "    when: x\n", "write 'if'"),
    "do": ("steps:\n  - do: x\n", "write 'steps'"),
    "call": ("steps:\n  - call: x\n", "activity: NAME"),
    "then": (STEP + "    then: x\n", "no jumps"),
    "Next": (STEP + "    Next: x\n", "no jumps"),
    "delay": ("steps:\n  - delay: 1h\n", "'sleep: 1h'"),
    "wait": ("steps:\n  - wait: 1h\n", "'sleep' for a time"),
    "signal": ("steps:\n  - signal: x\n", "wait_for_signal"),
    "wait_for": ("steps:\n  - wait_for: x\n", "wait_for_signal"),
    "max_attempts": (STEP + "    max_attempts: 3\n", "retry: {attempts: N}"),
    "max_attempts in retry": (STEP + "    retry: {max_attempts: 3}\n", "write 'attempts'"),
    "maxAttempts": (STEP + "    maxAttempts: 3\n", "retry: {attempts: N}"),
    "waitForSignal": ("steps:\n  - waitForSignal: x\n", "did you mean 'wait_for_signal'?"),
    "continue-on-error": (STEP + "    continue-on-error: true\n", "optional: true"),
    "jobs": ("jobs: {}\n" + STEP, "write 'steps"),
    "undo": (STEP + "    undo: x\n", "compensate"),
    "schema": ("signals: {a: {schema: {}}}\n" + STEP, "payload"),
    "uses in compensate": (STEP + "    compensate: {uses: x}\n", "write 'activity'"),
}


@pytest.mark.parametrize(("body", "hint"), FOREIGN_CASES.values(), ids=FOREIGN_CASES)
def test_words_from_elsewhere_are_told_how_flowctl_spells_them(body: str, hint: str) -> None:
    hints = [found.hint or "" for found in refused(body) if found.code == "UnknownKey"]
    assert any(hint in one for one in hints), hints


def test_no_word_of_the_language_is_called_foreign() -> None:
    step = {key for verb in VERBS for key in definitions()[f"{verb}_step"]["properties"]} | set(VERBS)
    assert step & FOREIGN["step"].keys() == {
        "wait"
    }  # of parallel and foreach; alone, somebody wants to sleep
    assert schema()["properties"].keys() & FOREIGN["document"].keys() == set()


TYPOS = [
    "activiti",
    "tiemout",
    "retyr",
    "compensat",
    "optinal",
    "on_failur",
    "outptu",
    "descripton",
    "idempotency_kye",
]


@pytest.mark.parametrize("word", TYPOS)
def test_a_typo_finds_the_word_that_was_meant(word: str) -> None:
    known = definitions()["activity_step"]["properties"]
    (found,) = [one for one in refused(STEP + f"    {word}: 1\n") if one.code == "UnknownKey"]
    assert found.hint is not None
    assert found.hint.startswith("did you mean '")
    assert found.hint.split("'")[1] in known
    assert (found.line, found.column) == (6, 5)


def test_a_misspelt_required_key_is_one_mistake() -> None:
    assert mistakes("steps:\n  - sleep: {untl: x}\n") == ["UnknownKey 4:13"]
    assert document("").startswith(HEAD)


@pytest.mark.parametrize("text", ["5", "x", "[1]", "null", "'a: b'"])
def test_a_document_that_is_no_mapping_says_how_one_begins(text: str) -> None:
    from flowctl.document import load
    from flowctl.errors import InvalidDocument

    with pytest.raises(InvalidDocument) as caught:
        load(text, "t.yaml")
    (found,) = caught.value.diagnostics
    assert (found.code, found.hint) == ("WrongType", "it begins with 'dsl: 1' and 'name: …'")


def test_after_a_hundred_mistakes_nobody_looks_for_more() -> None:
    found = refused("steps:\n" + "  - {run: x}\n" * 5_000)
    assert len(found) == 100


def test_a_long_line_is_shown_around_its_mistake() -> None:
    (found,) = refused(
        "steps: [" + "{sleep: 1s}, " * 50 + "{slep: 1s}, " + "{sleep: 1s}, " * 50 + "{sleep: 1s}]\n"
    )
    _, line, caret = found.render().splitlines()
    assert len(line) < 200
    assert line[caret.index("^") :].startswith("slep: 1s}")


def test_control_characters_in_a_document_do_not_reach_the_terminal() -> None:
    (found,) = refused('steps:\n  - {"a\\e[31m": 1, sleep: 1s}\n')
    assert "\x1b" not in found.render()


def test_a_caret_stands_under_wide_characters() -> None:
    (found,) = refused("description: 日本 # 日本\nsteps: [{sleep: 1s, description: 日本, slep: 1}]\n")
    _, line, caret = found.render().splitlines()
    assert caret.index("^") == line.index("slep") + 2  # two characters that take two columns each


@pytest.mark.parametrize(
    ("branch", "said"),
    [
        ("{stepz: [{sleep: 1s}]}", "unknown key 'stepz'"),
        ("{output: x}", "'steps' is missing"),
        ("5", "must be"),
        ("[]", "has no step"),
    ],
)
def test_a_branch_is_a_list_of_steps_or_a_mapping_with_one(branch: str, said: str) -> None:
    found = refused(f"steps:\n  - parallel: {{left: {branch}}}\n")
    assert [said in error.message for error in found] == [True]
