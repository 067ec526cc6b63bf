"""Look for documents, expressions and inputs that do anything but be right or be refused.

    python -m tests.fuzz.fuzz_documents --seed 1 --count 100000
    python -m tests.fuzz.fuzz_documents --seed 1 --only 4711        one input again

Every input is made from the seed and its number alone, so it can be made again. What is checked:

- only ``InvalidDocument``, ``ExpressionError`` and, for what comes from a command line, ``InputError``
  escape; each has a text, each diagnostic a place, and can be rendered for people and as JSON;
- a document that loads is also built from its stored form and takes an input; an expression that parses is
  also evaluated, and its value is JSON;
- no input takes more than ``SECONDS`` of processor time, and the process stays within ``MEMORY``.

Prints counts, and the first failures, each cut down as far as it stays one. Exits with 1 on any.
"""

# ruff: noqa: E501, PT017 - reports are read by the line; this is a program, and asserts where it looks
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from flowctl import values
from flowctl.cli.inputs import json_argument, run_input
from flowctl.document import build, load, stored
from flowctl.document.diagnostics import CODES
from flowctl.document.loader import load_yaml
from flowctl.errors import ExpressionError, InputError, InvalidDocument
from flowctl.expressions import condition, parse, template
from flowctl.render.problems import diagnostics as shown
from tests.fuzz.expressions import broken_expression, expression
from tests.fuzz.mutations import SCALARS, TEXTUAL, hostile, spoiled, written

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 2.0
MEMORY = 1 << 30
SHOWN_FAILURES = 10

Chance = random.Random
Check = Callable[[bytes], str]
"""Tries one input and says what came of it in a word. Whatever it raises is a finding."""


class Hang(BaseException):
    """An input took too long. No ``except Exception`` swallows it."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A finding: the number of its input, what happened, and the input itself."""

    number: int
    kind: str
    what: str
    data: bytes


class Names:
    """What expressions see here."""

    _roots: dict[str, Any] = {  # noqa: RUF012 - never changed
        "input": {
            "n": 3,
            "text": "añ",
            "list": [3, 1, 2],
            "deep": {"a": {"b": [1, {"c": None}]}},
            "none": None,
        },
        "steps": {"a": {"status": "completed", "output": {"x": [1, 2]}, "error": None}},
        "vars": {"x": 1.5},
        "now": "2026-01-01T00:00:00.000Z",
        "run": {"id": "fuzz", "elapsed": 1.5, "started_at": "2026-01-01T00:00:00.000Z"},
        "step": {"id": "a", "path": "a", "idempotency_key": "fuzz/a"},
    }

    def resolve(self, name: str) -> Any:
        """See ``expressions.Names``."""
        return self._roots[name]

    def known(self) -> list[str]:
        """See ``expressions.Names``."""
        return list(self._roots)


# --- what is done with an input


def check_document(data: bytes) -> str:
    """Load it as a file; build what is right, render what is wrong."""
    try:
        loaded = load(data, "fuzz.yaml")
    except InvalidDocument as error:
        assert error.diagnostics, "refused without a reason"
        assert str(error)
        for found in error.diagnostics:
            assert found.code in CODES
            assert found.line >= 1
            assert found.column >= 1
            values.encode(found.to_json())
        for view in shown(error.diagnostics):
            assert view is not None
        return "refused"
    for warning in loaded.warnings:
        assert warning.render()
    body = loaded.workflow.body
    again = stored(values.encode(body), loaded.workflow.digest)
    assert len(build(body, loaded.workflow.digest).steps) == len(again.steps)
    for value in ({}, {"x": 1}, None, [1]):
        with contextlib.suppress(InputError):
            again.prepare_input(value)
        assert isinstance(again.check_output(value), str | None)
    return "right"


def check_expression(data: bytes) -> str:
    """Parse it in every way there is, and evaluate it if it parses."""
    text = data.decode("utf-8", "surrogatepass")
    outcome = "refused"
    for read in (
        parse,
        condition,
        lambda text: template({"a": ["${{ " + text + " }}", "b" + text]}, secrets=True),
    ):
        try:
            parsed: Any = read(text)
        except ExpressionError as error:
            _check_error(error)
            continue
        outcome = "right"
        try:
            value = parsed.render(Names()).value if hasattr(parsed, "render") else parsed.evaluate(Names())
        except ExpressionError as error:
            _check_error(error)
            outcome = "failed"
        else:
            if not getattr(parsed, "has_secrets", False):
                values.check(value, "the value")
    return outcome


def _check_error(error: ExpressionError) -> None:
    assert str(error)
    assert error.offset is None or error.source is None or 0 <= error.offset <= len(error.source)


SCHEMA = {
    "properties": {
        "n": {"type": "integer"}, "s": {"type": "string"}, "b": {"type": ["boolean", "null"]}, "l": {"type": "array"}, "o": {"type": "object"},
    }
}  # fmt: skip


def check_input(data: bytes) -> str:
    """Take it for ``--input``, for a payload, and for ``-i`` of every type."""
    text = data.decode("utf-8", "surrogateescape")
    attempts: list[Callable[[], Any]] = [
        lambda: run_input(text, [], SCHEMA),
        lambda: json_argument(text, "--payload"),
    ]
    for key in (*SCHEMA["properties"], "x"):
        attempts.append(functools.partial(run_input, None, [f"{key}={text}", text], SCHEMA))
    outcome = "refused"
    for attempt in attempts:
        try:
            values.check(attempt(), "the input")
        except InputError as error:
            assert str(error)
        else:
            outcome = "right"
    return outcome


# --- how an input is made


class Inputs:
    """Inputs by number. ``documents`` are what mutations start from: their texts and their data."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._documents = list(_documents())

    def make(self, number: int) -> tuple[str, Check, bytes]:
        """The kind of the input of that number, what is done with it, and the input."""
        chance = random.Random(f"{self._seed}/{number}")
        share = chance.random()
        if share < 0.7:
            return "documents", check_document, spoiled(chance, *chance.choice(self._documents))
        if share < 0.9:
            make = chance.choice((expression, expression, broken_expression))
            return "expressions", check_expression, make(chance).encode("utf-8", "surrogatepass")
        return "inputs", check_input, _input(chance)


def _documents() -> Iterator[tuple[bytes, Any]]:
    for file in sorted(ROOT.glob("examples/*/*.yaml")):
        if file.name.endswith(".test.yaml"):
            continue
        text = file.read_bytes()
        yield text, load_yaml(text, str(file))
    for file in sorted(ROOT.glob("tests/conformance/cases/*.yaml")):
        for case in load_yaml(file.read_bytes(), str(file)):
            workflow = {"dsl": 1, "name": "case", **case["workflow"]}
            yield written(workflow), workflow


def _input(chance: Chance) -> bytes:
    share = chance.random()
    if share < 0.2:
        data = chance.randbytes(chance.randrange(80))
    else:
        data = written(
            {
                chance.choice(("n", "s", "l", "x", "", "é")): hostile(chance)
                for _ in range(chance.randrange(4))
            }
        )
        if share < 0.4:
            data = written(chance.choice(SCALARS))
        for _ in range(chance.choice((0, 1, 1, 3))):
            data = chance.choice(TEXTUAL)(chance, data) if data else b"{"
    return data.replace(b"@", b"").replace(b"\0", b"") if data[:1] in (b"@", b"-") else data


# --- the search


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Whatever runs inside is stopped with ``Hang`` when ``within`` says so."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, late)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def attempt(check: Check, data: bytes) -> tuple[str | None, str]:
    """What came of an input, and the finding in words if it is one (then the first is None).

    Processor time is what counts: the machine may be busy with other things.
    """
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return check(data), ""
    except Hang:
        return None, f"Hang: more than {SECONDS} s"
    except BaseException as error:  # whatever it is, it should not have come out
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (
            None,
            f"{type(error).__name__}: {str(error)[:300]} ({Path(last.filename).name}:{last.lineno} {last.name})",
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def smallest(check: Check, data: bytes, what: str, seconds: float = 20.0) -> bytes:
    """The input with everything left out that the finding does not need, as far as time allows."""
    kind, until = what.partition(":")[0], time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while size:
        start = 0
        while start < len(data) and time.monotonic() < until:
            shorter = data[:start] + data[start + size :]
            if attempt(check, shorter)[1].partition(":")[0] == kind:
                data = shorter
            else:
                start += size
        size //= 2
    return data


def search(seed: int, numbers: range, *, progress: bool = False) -> tuple[Counter[str], list[Failure]]:
    """Try the inputs of these numbers; what came of them by kind, and the findings."""
    inputs, counts, failures = Inputs(seed), Counter[str](), list[Failure]()
    with limits():
        for number in numbers:
            kind, check, data = inputs.make(number)
            outcome, what = attempt(check, data)
            counts[f"{kind} {outcome or 'FAILED'}"] += 1
            if outcome is None and len(failures) < SHOWN_FAILURES:
                failures.append(Failure(number, kind, what, smallest(check, data, what)))
            if progress and (number + 1) % 5000 == 0:
                print(f"{number + 1:,} inputs, {len(failures)} findings", file=sys.stderr, flush=True)
    return counts, failures


def main() -> int:
    """Search, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--only", type=int, help="the number of one input, to try it alone")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    numbers = range(options.count) if options.only is None else range(options.only, options.only + 1)
    begun = time.monotonic()
    counts, failures = search(options.seed, numbers, progress=True)
    for failure in failures:
        print(
            f"seed {options.seed}, input {failure.number} ({failure.kind}): {failure.what}\n    {failure.data!r}"
        )
    for kind, count in sorted(counts.items()):
        print(f"{count:>9,} {kind}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = sum(count for kind, count in counts.items() if kind.endswith("FAILED"))
    print(
        f"seed {options.seed}: {len(numbers):,} inputs, {found} findings, {time.monotonic() - begun:.0f} s, {peak} MiB at most"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
