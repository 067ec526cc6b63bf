"""Documents written in Python: the same words, the same document, the same mistakes, where they stand."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowctl import activity
from flowctl.building import Steps, Workflow, expr, vocabulary
from flowctl.building.steps import METHODS
from flowctl.document import digest_of, load
from flowctl.document.diagnostics import Diagnostic
from flowctl.document.loader import load_yaml
from flowctl.document.schema import attributes, schema
from flowctl.document.writing import to_yaml
from flowctl.errors import InvalidDocument, UsageError
from tests.programs.generate import program, programs
from tests.rebuilding import rebuilt

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(file for file in ROOT.glob("examples/*/*.yaml") if not file.name.endswith(".test.yaml"))
CASES = sorted(ROOT.glob("tests/conformance/cases/*.yaml"))


# --- the vocabulary is the schema's


def words_of(method: Any) -> set[str]:
    """The words of ``**words``, as the language spells them."""
    [annotation] = [
        each.annotation
        for each in inspect.signature(method).parameters.values()
        if each.kind == each.VAR_KEYWORD
    ]
    words = getattr(vocabulary, annotation.removeprefix("Unpack[").removesuffix("]"))
    return {word.removesuffix("_") for word in words.__annotations__}


ARGUMENTS = {
    "activity": {"id", "activity", "with"},
    "workflow": {"id", "workflow", "with"},
    "send_signal": {"id", "send_signal"},
    **{verb: {verb, "steps"} for verb in ("foreach", "while", "until")},
}
"""What the arguments of a method write, beside its verb."""


def test_every_verb_has_a_method() -> None:
    assert METHODS.keys() == attributes().keys()
    assert all(callable(getattr(Steps, method)) for method in METHODS.values())


@pytest.mark.parametrize("verb", METHODS)
def test_a_method_takes_the_words_of_its_verb_and_no_others(verb: str) -> None:
    taken = words_of(getattr(Steps, METHODS[verb]))
    assert taken | ARGUMENTS.get(verb, {verb}) == attributes()[verb]


@pytest.mark.parametrize(
    ("words", "definition"),
    [
        (vocabulary.Retry, schema()["$defs"]["retry"]["anyOf"][1]),
        (vocabulary.Compensation, schema()["$defs"]["compensate"]["anyOf"][1]),
        (vocabulary.Catch, schema()["$defs"]["catch"]),
        (vocabulary.Branch, schema()["$defs"]["branch"]["anyOf"][1]),
        (vocabulary.Policy, schema()["$defs"]["policy"]),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_what_is_written_as_a_mapping_has_the_words_of_the_schema(words: Any, definition: Any) -> None:
    assert set(words.__annotations__) == set(definition["properties"])


def test_a_workflow_has_a_word_or_a_method_for_every_part_of_a_document() -> None:
    written = {"input", "signals", "secrets", "defaults", "activities", "steps", "output", "output_schema"}
    words = set(vocabulary.DocumentWords.__annotations__)
    assert {"dsl", "name", *written, *words} == set(schema()["properties"])
    entry = {*vocabulary.EntryWords.__annotations__, "uses"}
    assert entry == set(schema()["$defs"]["entry"]["properties"])


# --- the same document


def accepted(documents: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for document in documents:
        try:
            yield dict(load(to_yaml(document), "case").workflow.body)
        except InvalidDocument:
            continue  # some cases are about mistakes


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_written_in_python_is_the_same_document(file: Path) -> None:
    loaded = load(file.read_text(), file.name)
    built = rebuilt(loaded.workflow.body).load()
    assert built.workflow.digest == loaded.workflow.digest
    assert load(built.source, "again").workflow.digest == loaded.workflow.digest


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_documents_of_the_conformance_cases_can_be_written_in_python(file: Path) -> None:
    cases = load_yaml(file.read_bytes(), str(file))
    for document in accepted(case["workflow"] for case in cases):
        assert rebuilt(document).to_dict() == document
        assert digest_of(load_yaml(rebuilt(document).to_yaml(), "again")) == digest_of(document)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(programs())
def test_programs_that_hypothesis_draws_come_back_from_python(made: dict[str, Any]) -> None:
    there_and_back(made["workflow"])


def test_programs_by_chance_come_back_from_python() -> None:
    for number in range(40):
        there_and_back(program(f"building/{number}")["workflow"])


def there_and_back(document: dict[str, Any]) -> None:
    """YAML, calls, YAML, the builder's own reading, YAML: one document."""
    document = {"dsl": 1, "name": "program", **document}
    digest = load(to_yaml(document), "program").workflow.digest
    built = rebuilt(document)
    assert built.digest == digest
    again = Workflow.from_yaml(built.to_yaml())
    assert again.digest == digest
    assert load(again.to_yaml(), "again").workflow.digest == digest


def test_a_document_from_a_file_can_be_gone_on_with() -> None:
    file = ROOT / "examples" / "order" / "order.yaml"
    longer = Workflow.from_file(file).set({"done": True})
    assert longer.folder == file.parent
    assert [list(step)[-1] for step in longer.to_dict()["steps"]][-1] == "set"
    assert longer.digest != Workflow.from_file(file).digest


# --- YAML

TEXTS = st.text() | st.sampled_from(
    ["no", "1e3", "0o17", "1:30", "~", "", " a", "a: b", "# c", "a\n", "\n", "a\n b\n"]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = TEXTS.filter(lambda text: "\0" not in text)  # which no document can have
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(JSON)
def test_what_is_written_as_yaml_is_read_back(value: Any) -> None:
    text = to_yaml({"value": value})
    assert digest_of(load_yaml(text, "written")) == digest_of({"value": value})


# --- what Python has other words for


def test_durations_timestamps_activities_and_expressions_are_said_as_python_says_them() -> None:
    @activity("shop.charge")
    def charge(amount: float) -> None: ...

    @activity("shop.refund")
    def refund() -> None: ...

    made = (
        Workflow("order", timeout=timedelta(days=7))
        .input({"properties": {"amount": {"type": "number"}}})
        .sleep(timedelta(minutes=90))
        .sleep(until=datetime(2030, 1, 31, 8, tzinfo=UTC))
        .step(
            "charge",
            charge,
            {"amount": expr("input.amount"), "note": f"Order over {expr('input.amount')}"},
            retry={"delay": timedelta(seconds=2)},
            compensate={"activity": refund},
        )
    ).to_dict()
    assert made["timeout"] == "7d"
    assert made["steps"] == [
        {"sleep": "1h30m"},
        {"sleep": {"until": "2030-01-31T08:00:00.000Z"}},
        {
            "id": "charge",
            "activity": "shop.charge",
            "with": {"amount": "${{ input.amount }}", "note": "Order over ${{ input.amount }}"},
            "retry": {"delay": "2s"},
            "compensate": {"activity": "shop.refund"},
        },
    ]


def test_what_is_not_said_is_not_written_and_null_is() -> None:
    made = Workflow("w").signal("go").return_().to_dict()
    assert made == {"dsl": 1, "name": "w", "signals": {"go": {}}, "steps": [{"return": None}]}


def test_steps_can_be_put_together_by_loops_and_used_twice() -> None:
    twice = Steps()
    for number in range(3):
        twice.set({f"v{number}": number})
    made = Workflow("w").block(twice).block(twice).to_dict()["steps"]
    assert made[0] == made[1]
    assert len(made[0]["steps"]) == len(twice) == 3


def test_what_to_dict_gives_is_the_callers_own() -> None:
    made = Workflow("w").set({"a": [1]})
    made.to_dict()["steps"][0]["set"]["a"].append(2)
    assert made.to_dict()["steps"][0]["set"] == {"a": [1]}


# --- mistakes


def only(workflow: Workflow) -> Diagnostic:
    [found] = [each for each in workflow.problems() if each.severity == "error"]
    return found


def marked(found: Diagnostic) -> str:
    """What stands at the place of a mistake, in this file."""
    assert found.file.endswith("test_building.py")
    line = Path(__file__).read_text().splitlines()[found.line - 1]
    return line[found.column - 1 :]


def test_a_misspelt_word_is_shown_where_it_was_written() -> None:
    found = only(
        Workflow("w")
        .sleep("1s")
        .step("a", "x.y", timout="5m")  # type: ignore[call-arg]
        .sleep("2s")
    )
    assert (found.code, found.hint) == ("UnknownKey", "did you mean 'timeout'?")
    assert marked(found).startswith("timout=")


def test_a_word_from_elsewhere_is_translated() -> None:
    found = only(Workflow("w").step("a", "x.y", max_attempts=3))  # type: ignore[call-arg]
    assert found.hint is not None
    assert "retry: {attempts: N}" in found.hint


def test_a_mistake_in_an_expression_is_shown_in_it() -> None:
    found = only(
        Workflow("w")
        .input({"properties": {"amount": {"type": "number"}}})
        .step(
            "a",
            "x.y",
            {
                "ok": 1,
                "amount": expr("input.amont"),
            },
        )
    )
    assert found.code == "UnknownName"
    assert marked(found).startswith('amont")')


def test_a_mistake_in_steps_inside_steps_is_shown_there() -> None:
    inner = Steps().sleep("a while")
    assert marked(only(Workflow("w").parallel({"one": inner}))).startswith('a while")')


def test_a_mistake_around_the_steps_is_shown_at_its_call() -> None:
    found = only(
        Workflow("w")
        .sleep("1s")
        .signal("go", payload={"type": "objekt"})
    )  # fmt: skip
    assert found.code == "BadSchema"
    assert "objekt" in marked(found)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, float("nan"), 2**64, {1: 2}, b"x", timedelta(microseconds=1)]
)
def test_what_is_no_json_is_a_mistake_with_a_place(value: Any) -> None:
    found = only(Workflow("w").set({"fine": 1, "wrong": value}))
    assert found.code == "NotJson"
    assert marked(found).startswith('wrong"')


def test_all_mistakes_are_raised_at_once_and_a_traceback_shows_them() -> None:
    wrong = Workflow("w").sleep(5).wait_for_signal("go")  # type: ignore[arg-type]
    for use in (wrong.to_yaml, wrong.to_dict, wrong.load):
        with pytest.raises(InvalidDocument, match="the workflow w has 2 mistakes") as raised:
            use()
        assert [each.code for each in raised.value.diagnostics] == ["WrongType", "UndeclaredSignal"]
        assert "write 5s" in raised.value.__notes__[0]


def test_a_workflow_that_was_mended_is_looked_at_anew() -> None:
    made = Workflow("w").wait_for_signal("go", timeout="1m")
    assert only(made).code == "UndeclaredSignal"
    assert made.signal("go").to_dict()["signals"] == {"go": {}}


def test_a_program_without_a_source_has_mistakes_too() -> None:
    names: dict[str, Any] = {"Workflow": Workflow}
    exec(compile("\n\nmade = Workflow('w').sleep(5)", "<nowhere>", "exec"), names)
    assert (only(names["made"]).file, only(names["made"]).line) == ("<nowhere>", 3)


def test_mistakes_in_two_files_are_shown_in_both(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.py"
    file.write_text("from flowctl import Steps\ndef wrong():\n    return Steps().sleep('later')\n")
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    found = Workflow("w").sleep("soon").block(names["wrong"]()).problems()
    assert {(Path(each.file).name, "soon" in each.message) for each in found} == {
        ("test_building.py", True),
        ("elsewhere.py", False),
    }
    [other] = [each for each in found if each.file.endswith("elsewhere.py")]
    assert (other.line, other.excerpt) == (3, "    return Steps().sleep('later')")


def test_a_whole_workflow_cannot_stand_for_steps() -> None:
    found = only(Workflow("w").block(Workflow("other").sleep("1s")))
    assert found.message.startswith("a whole workflow cannot stand for steps; run it as a child")


def test_steps_that_contain_themselves_are_refused() -> None:
    made = Steps()
    with pytest.raises(UsageError, match="contain themselves"):
        Workflow("w").block(made.block(made)).to_dict()
