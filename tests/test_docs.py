"""The documentation says what the code does, wherever that can be compared."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flowctl import errors, hookspecs
from flowctl.cli.commands import COMMAND_LINE, COMMANDS
from flowctl.document.loader import load_yaml
from flowctl.state import EXIT_CODES, RUN_TRANSITIONS, RunStatus
from tests.test_layering import DOORS, FLOORS, OPENINGS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("examples/*/*.md")]
)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands beneath a heading, up to the next one of its rank."""
    rank = title.partition(" ")[0]
    found = re.search(
        rf"^{re.escape(title)}$(.*?)(?=^#{{1,{len(rank)}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, f"there is no {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rules = [at for at, row in enumerate(cells) if set("".join(row)) <= set("-|: ")]
    return [row for at, row in enumerate(cells) if at not in rules and at + 1 not in rules]


# --- links


def anchors(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (file.parent / path).resolve() if path else file
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            yield target


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    assert list(broken_links(file)) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    there = tmp_path / "there.md"
    there.write_text("# A title: `it`\n")
    here = tmp_path / "here.md"
    here.write_text("[a](there.md) [b](there.md#a-title-it) [c](gone.md) [d](there.md#gone) [e](#gone)")
    assert list(broken_links(here)) == ["gone.md", "there.md#gone", "#gone"]


# --- the command line


def command(name: str) -> click.Command:
    found = COMMAND_LINE.get_command(click.Context(COMMAND_LINE), name)
    assert found is not None
    return found


def documented_commands() -> dict[str, str]:
    """Name to heading and section."""
    text = page("cli.md")
    headings = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    return {heading.split()[0]: heading + section(text, f"### `{heading}`") for heading in headings}


def test_the_commands_of_the_page_are_those_there_are() -> None:
    assert list(documented_commands()) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    shared = {option for parameter in COMMAND_LINE.params for option in parameter.opts} | {"--json", "-h"}
    own = {
        parameter.opts[-1]
        for parameter in command(name).params
        if isinstance(parameter, click.Option) and not parameter.hidden
    } - shared
    said = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", documented_commands()[name]))
    assert own - said == set()
    assert {option for option in said - shared if option.startswith("--")} <= own


def test_every_exit_code_is_documented() -> None:
    documented = {int(row[0]) for row in rows(section(page("cli.md"), "## Exit codes"))}
    family = [errors.FlowctlError]
    for error in family:
        family += error.__subclasses__()
    from_errors = {error.exit_code for error in family if error.__module__.startswith("flowctl.")}
    assert documented == from_errors | set(EXIT_CODES.values()) | {0, 130}


def test_the_exit_code_of_every_state_is_documented() -> None:
    table = section(page("operations.md"), "## Exit codes")
    documented = {row[0].strip("`"): int(row[1]) for row in rows(table)}
    assert documented == {str(state): code for state, code in EXIT_CODES.items()}


# --- the language


def drawn_transitions(diagram: str) -> dict[str, set[str]]:
    """The pairs that a mermaid diagram of states draws; an arrow of a group is one of each member."""
    groups: dict[str, list[str]] = {}
    for name, body in re.findall(r"^    state (\w+) \{\n(.*?)^    \}", diagram, re.DOTALL | re.MULTILINE):
        groups[name] = list(dict.fromkeys(word for word in re.findall(r"\w+", body)))
    drawn: dict[str, set[str]] = {}
    for before, after in re.findall(r"(\w+) --> (\w+)", diagram):
        for each in groups.get(before, [before]):
            drawn.setdefault(each, set()).update(groups.get(after, [after]))
    return drawn


def test_the_diagram_of_states_draws_what_may_follow_what() -> None:
    diagram = re.search(r"```mermaid\n(.*?)```", section(page("language.md"), "## 5. States"), re.DOTALL)
    assert diagram
    table = {str(before): {str(after) for after in then} for before, then in RUN_TRANSITIONS.items() if then}
    assert drawn_transitions(diagram[1]) == table


def test_every_state_is_explained() -> None:
    table = section(page("language.md"), "## 5. States")
    named = {name for row in rows(table) for name in re.findall(r"`(\w+)`", row[0])}
    assert named == {str(state) for state in RunStatus}


def raised_types() -> set[str]:
    """The types of the failures that flowctl itself makes: first arguments of ``Failure(…)``."""
    found = set()
    for file in (ROOT / "flowctl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Failure":
                found |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found


def test_every_error_that_flowctl_makes_is_documented() -> None:
    table = section(page("language.md"), "### Errors")
    documented = {name for row in rows(table) for name in re.findall(r"`(\w+)`", row[0])}
    assert {"Timeout", "WorkerLost"} <= raised_types()
    assert raised_types() - documented == set()
    inputs = {error.__name__ for error in (errors.InvalidInput, errors.InvalidOutput, errors.PayloadTooLarge)}
    assert inputs | {errors.ExpressionError.__name__} <= documented


# --- plugins, guarantees, architecture


def test_every_hook_is_documented_with_its_parameters() -> None:
    specified = {
        f"{name}({', '.join(function.__code__.co_varnames[: function.__code__.co_argcount])})"
        for name, function in vars(hookspecs).items()
        if name.startswith("flowctl_")
    }
    assert set(re.findall(r"^### `(flowctl_.+)`$", page("plugins.md"), re.MULTILINE)) == specified


def test_every_test_that_is_named_as_a_proof_exists() -> None:
    text = " ".join(page("guarantees.md").split())
    sources = [*ROOT.glob("tests/**/*.py"), ROOT / "flowctl/testing/journal_conformance.py"]
    there = {name for file in sources for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10
    assert named - there == set()
    cases = {
        data["case"]
        for file in ROOT.glob("tests/conformance/cases/*.yaml")
        for data in load_yaml(file.read_bytes(), str(file))
    }
    quoted = {case.strip() for case in re.findall(r"case: (.*?)(?=; | \|)", text)}
    assert len(quoted) > 5
    assert quoted - cases == set()


def test_the_floors_of_the_page_are_those_of_the_test() -> None:
    drawing = re.search(r"^```\n(8 .*?)```", page("architecture.md"), re.DOTALL | re.MULTILINE)
    assert drawing
    floors = {
        name.replace("__init__", "") if name == "__init__" else name: int(line[0])
        for line in drawing[1].splitlines()
        for name in re.sub(r"\(.*\)", "", line[1:]).split()
    }
    assert {name.removesuffix("*"): floor for name, floor in floors.items()} == FLOORS


def test_the_rooms_of_the_page_are_those_there_are() -> None:
    tree = section(page("architecture.md"), "## Rooms")
    listed = set(re.findall(r"^  ([\w.]+/?)  ", tree, re.MULTILINE))
    there = {
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in (ROOT / "flowctl").iterdir()
        if (entry / "__init__.py").exists() or entry.suffix == ".py"
    }
    assert listed == there - {"__main__.py"}


def test_what_is_inside_the_rooms_is_what_the_page_says() -> None:
    for room, inside in rows(section(page("architecture.md"), "## Rooms")):
        folder = ROOT / "flowctl" / room.strip("`/")
        modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", inside)) == modules, room


def test_every_opening_and_every_door_is_explained() -> None:
    text = page("architecture.md")
    assert set(re.findall(r"`(\w+)` → `(\w+)`", text)) == OPENINGS
    doors = {row[0]: row[1] for row in rows(section(text, "## Dependencies"))}
    known = {"PyYAML": "yaml", "google-re2": "re2", "sqlite-utils": "sqlite_utils"}
    explained = {
        known.get(name, name): tuple(re.findall(r"`(\w+)/?`", where)) or ("",)
        for name, where in doors.items()
    }
    wanted = {name: tuple(room.rstrip(".") for room in rooms) for name, rooms in DOORS.items()}
    assert explained == {name: rooms for name, rooms in wanted.items() if name != "sqlite3"}
