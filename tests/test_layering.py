"""The house stands as ``docs/architecture.md`` draws it: imports go strictly downwards.

The sources are read, not imported: an import inside a function or under ``TYPE_CHECKING`` couples two
modules as much as one at the top, it only hides better.

Rules:

1. A module may import from lower floors; on its own floor only from its own package, or through an opening.
2. A module without a floor is a mistake: whoever adds a room says where it stands.
3. A dependency comes in through its doors only, and one that is not in the table not at all.
4. What decides the course of a run is pure: it knows no clock, no chance, no loop, no operating system;
   neither directly nor by way of ``wall_clock``.
5. ``flowctl/__init__.py`` imports nothing when it is imported, so that nothing drags in the whole house.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "flowctl"

ROOF = 8

FLOORS: dict[str, int] = {
    "": ROOF,  # flowctl/__init__.py
    "__main__": ROOF,
    "cli": 7,
    "embedding": 7,
    "server": 7,
    "backends": 6,
    "testing": 6,
    "engine": 5,
    "plugins": 5,
    "render": 5,
    "telemetry": 5,
    "runtimes": 4,
    "status": 3,
    "building": 4,
    "interpreter": 3,
    "machine": 3,
    "document": 3,
    "settings": 3,
    "journal.": 3,
    "default_plugins": 3,
    "journal": 2,
    "outline": 2,
    "runtime": 2,
    "trampoline": 2,
    "activities": 2,
    "hookspecs": 2,
    "secrets": 2,
    "model": 1,
    "expressions": 1,
    "values": 1,
    "errors": 0,
    "path": 0,
    "state": 0,
    "retry": 0,
    "clock": 0,
    "wall_clock": 0,
    "trace": 0,
    "guard": 0,
    "collector": 0,
}
"""Floor by room. ``journal`` is the package's ``__init__``, the protocol; ``journal.`` is what is inside."""

OPENINGS = frozenset(
    {("model", "expressions"), ("expressions", "values"), ("retry", "errors"), ("testing", "backends")}
    | {("cli", "server")}
)
"""Who may import whom on the same floor: a model holds its parsed expressions, whose values are data, a retry
judges a failure, tests read the runs that backends export, and a command starts the server."""

ANYWHERE = ("",)

DOORS: dict[str, tuple[str, ...]] = {
    "yaml": ("document",),
    "jsonschema": ("document",),
    "pluggy": ("hookspecs", "plugins"),
    "sqlite3": ("journal.",),
    "sqlite_utils": ("journal.",),
    "click": ("cli",),
    "rich": ("render",),
    "keyring": ("secrets",),
    "re2": ("expressions", "document"),
    "pytest": ("testing",),
    "opentelemetry": ("telemetry",),
    "temporalio": ("runtimes", "backends", "testing"),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "msgspec": ANYWHERE,
}
"""The rooms that may import a dependency. ``sqlite3``, of the standard library, has a door all the same."""

PURE = (
    "interpreter",
    "trampoline",
    "runtime",
    "outline",
    "model",
    "expressions",
    "values",
    "path",
    "state",
    "retry",
)

IMPURE = frozenset(
    {"asyncio", "concurrent", "multiprocessing", "os", "random", "secrets", "select", "selectors", "signal"}
    | {"socket", "subprocess", "threading", "time"}
)


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported module or name, and where."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{PACKAGE}.{self.module}:{self.line} imports {self.target}"


def module_name(file: Path, root: Path) -> str:
    """Name below the package: ``journal.sqlite`` for ``journal/sqlite.py``, empty for the package itself."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str, rooms: tuple[str, ...]) -> str | None:
    """The most particular of ``rooms`` that ``module`` is in; ``journal.`` means inside the package only."""
    within = [
        name for name in rooms if module == name or (name and module.startswith(name.removesuffix(".") + "."))
    ]
    return max(within, key=len, default=None)


def imports(nodes: Iterator[ast.AST], module: str) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}", node.lineno)


class House:
    """The modules of a package and what each imports."""

    def __init__(self, root: Path) -> None:
        self.trees = {module_name(file, root): ast.parse(file.read_text()) for file in root.rglob("*.py")}
        self.imports = [
            found for module, tree in self.trees.items() for found in imports(ast.walk(tree), module)
        ]

    def inner(self, target: str) -> str | None:
        """The module of the house that ``target`` means: ``path`` for ``flowctl.path.Path``, else None."""
        head, _, name = target.partition(".")
        if head not in (PACKAGE, ""):  # "" begins a relative import
            return None
        while name and name not in self.trees:
            name = name.rpartition(".")[0]
        return name

    def outer(self, found: Import) -> str | None:
        """The top-level module outside the house, if the import is of one."""
        return None if self.inner(found.target) is not None else found.target.partition(".")[0]

    def violations(self) -> list[str]:
        unknown = [
            f"{PACKAGE}.{name} has no floor" for name in self.trees if room(name, tuple(FLOORS)) is None
        ]
        return [*unknown, *filter(None, map(self.judge, self.imports))]

    def judge(self, found: Import) -> str | None:
        """What is wrong with an import, or None."""
        outer = self.outer(found)
        return self._judge_inner(found) if outer is None else self._judge_outer(found, outer)

    def _judge_inner(self, found: Import) -> str | None:
        target = self.inner(found.target) or ""
        here, there = room(found.module, tuple(FLOORS)), room(target, tuple(FLOORS))
        if here is None or there is None:
            return None  # reported as a module without a floor
        if there == "wall_clock" and room(found.module, PURE) is not None:
            return f"{found}: what decides a run is pure"
        if found.target == f"{PACKAGE}.__version__" or FLOORS[there] < FLOORS[here]:
            return None
        own, other = found.module.partition(".")[0], target.partition(".")[0]
        if FLOORS[there] == FLOORS[here] and (own == other or (own, other) in OPENINGS):
            return None
        return f"{found}: floor {FLOORS[here]} may not import from floor {FLOORS[there]}"

    def _judge_outer(self, found: Import, outer: str) -> str | None:
        doors = DOORS.get(outer)
        if doors is None and outer not in sys.stdlib_module_names:
            return f"{found}: a dependency that has no door"
        if doors is not None and doors != ANYWHERE and room(found.module, doors) is None:
            return f"{found}: not its door"
        if outer in IMPURE and room(found.module, PURE) is not None:
            return f"{found}: what decides a run is pure"
        return None


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT / PACKAGE)


LOWER_ROOMS = (
    "__init__ errors wall_clock values model expressions runtime interpreter journal/__init__ journal/sqlite"
)


def planted(folder: Path, name: str, source: str) -> list[str]:
    """Violations of a house of ``LOWER_ROOMS``, all empty but ``name``, which holds ``source``."""
    for stem in [*LOWER_ROOMS.split(), name]:
        file = folder / f"{stem}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source if stem == name else "")
    return House(folder).violations()


def test_imports_go_downwards_and_through_their_doors(house: House) -> None:
    assert house.violations() == []


def test_the_house_is_seen_by_this_test(house: House) -> None:
    """An empty house has no violations either."""
    assert {"", "errors", "path", "cli", "journal"} <= set(house.trees)
    assert len(house.imports) > len(house.trees)


def test_importing_flowctl_imports_no_other_module_of_it(house: House) -> None:
    at_import = [
        found
        for found in imports(running_at_import(house.trees[""]), "")
        if house.inner(found.target) is not None or house.outer(found) in DOORS
    ]
    assert at_import == []


def running_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are executed when a module is imported: not in functions, not for the type checker."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield node
        yield from running_at_import(node)


UPWARDS = {
    "at the top": "from flowctl.interpreter import execute",
    "of a module": "import flowctl.interpreter",
    "from the package": "from flowctl import interpreter",
    "in a function": "def f():\n    from flowctl.interpreter import execute",
    "for the type checker": "if TYPE_CHECKING:\n    from flowctl.interpreter import X",
    "of a public name": "from flowctl import Engine",
    "of a neighbour": "from flowctl import runtime",
    "of a relative": "from . import interpreter",
}


@pytest.mark.parametrize("source", UPWARDS.values(), ids=UPWARDS)
def test_a_planted_import_that_is_not_downwards_is_found(source: str, tmp_path: Path) -> None:
    assert len(planted(tmp_path, "activities", source)) == 1


ALLOWED = {
    "a lower floor": ("runtime", "from flowctl.values import check"),
    "its own package": ("journal/memory", "from flowctl.journal.sqlite import x"),
    "the protocol of its package": ("journal/memory", "from flowctl.journal import Journal"),
    "a dependency at its door": ("journal/memory", "import sqlite3"),
    "a dependency without walls": ("values", "import msgspec"),
    "a clock, where runs are not decided": ("journal/memory", "import time"),
    "an opening": ("model", "from flowctl.expressions import Expression"),
    "the version": ("journal/memory", "from flowctl import __version__"),
}


@pytest.mark.parametrize(("name", "source"), ALLOWED.values(), ids=ALLOWED)
def test_what_the_rules_allow_is_not_a_violation(name: str, source: str, tmp_path: Path) -> None:
    assert planted(tmp_path, name, source) == []


FORBIDDEN = {
    "a protocol that knows its implementation": ("journal/__init__", "import flowctl.journal.sqlite"),
    "an opening from the other side": ("expressions", "import flowctl.model"),
    "a dependency past its door": ("values", "import yaml"),
    "a door of the standard library": ("values", "import sqlite3"),
    "a package whose protocol only is a door": ("journal/__init__", "import sqlite_utils.db"),
    "a dependency without a door": ("values", "import requests"),
    "a clock in the interpreter": ("interpreter", "from time import time"),
    "the present moment in the interpreter": ("interpreter", "from flowctl.wall_clock import wall_clock"),
    "a loop in a lower room": ("values", "async def f():\n    import asyncio"),
    "a room without a floor": ("misc", ""),
}


@pytest.mark.parametrize(("name", "source"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_the_rules_forbid_is_found(name: str, source: str, tmp_path: Path) -> None:
    assert len(planted(tmp_path, name, source)) == 1


def test_every_dependency_of_the_package_has_a_door() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = ("pytest", "keyring", "otel", "temporal", "serve")
    wanted = [*project["dependencies"], *(each for name in named for each in extras[name])]
    wanted = [each for each in wanted if "websockets" not in each]
    declared = {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in wanted}
    providers = packages_distributions()
    behind = [{name.lower() for name in providers.get(module, [])} for module in DOORS]
    assert declared <= set().union(*behind)
    assert all(declared & names for names in behind if names)


def test_an_import_in_the_body_of_the_package_is_seen_as_running_at_import() -> None:
    source = "try:\n    import yaml\nexcept ImportError:\n    pass\ndef f():\n    import click\n"
    assert [found.target for found in imports(running_at_import(ast.parse(source)), "")] == ["yaml"]
