"""``flowctl torture``: real processes that die, and a disk that fails, against an author's own cases."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flowctl import render
from flowctl.errors import UsageError
from flowctl.journal import Fact
from flowctl.testing import faults
from flowctl.testing.faults.judge import early_timers
from flowctl.testing.faults.shim import COMPILERS
from flowctl.testing.loop import run_in_virtual_time
from flowctl.testing.points import AT_CALLS, CLOCK, LATE, STOP, Extent, parse_point, points
from flowctl.testing.torture import COUNTS
from tests.case_helpers import ORDER, written
from tests.cli_helpers import Flowctl, caller
from tests.function_helpers import furnish

ROOT = Path(__file__).parent.parent

needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, COMPILERS)),
    reason="faults at system calls need Linux and a C compiler",
)


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


UNDONE: dict[str, Any] = {
    "case": "what nobody ships is undone",
    "input": {"amount": 200},
    "events": [{"at": "1h", "signal": "approve", "payload": {"by": "ada"}}],
    "mocks": {"shop.ship": {"raise": "Lost"}, "shop.charge": {"return": {"id": 1}, "after": "3s"}},
    "expect": {"status": "compensated", "compensations": ["charge", "reserve"]},
}


def put(folder: Path, *cases: dict[str, Any]) -> None:
    (folder / "order.yaml").write_text(ORDER)
    (folder / "order.test.yaml").write_text(json.dumps(written(*cases)))


@needs_shim
def test_a_saga_survives_kills_io_errors_stops_delays_and_a_clock_that_is_set(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    put(tmp_path, UNDONE)
    said = flowctl("torture", "order.yaml", "--points", "8", "--seed", "3", "--json")
    assert said.code == 0, said.out
    [case] = said.json["cases"]
    assert (case["status"], case["points"], case["violations"]) == ("passed", 8, [])
    kinds = ("kills", "io_errors", "stops", "delays", "clock_jumps")
    assert all(case[kind] > 0 for kind in kinds), case
    assert case["recoveries"] == case["kills"] + case["io_errors"] + case["stops"]
    assert case["effects"] >= 4 * 6  # reserve, charge, refund, release: undisturbed, and where time went on
    assert said.json["summary"]["effects"] == case["effects"]


@needs_shim
def test_a_document_that_calls_a_function_of_a_plugin_is_driven_on_after_every_death(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    furnish(tmp_path)
    case = {"case": "it is told to go on", "events": [{"at": "1s", "signal": "go"}], "expect": {"output": 8}}
    (tmp_path / "doubling.test.yaml").write_text(json.dumps({"workflow": "doubling.yaml", "cases": [case]}))
    said = flowctl("torture", "doubling.yaml", "--plugins-dir", "plugins", "--points", "6", "--json")
    assert said.code == 0, said.out


TOGETHER = """\
dsl: 1
name: together
steps:
  - id: both
    parallel:
      waits: [{id: nap, sleep: 10s}]
      works: [{id: first, activity: t.work}, {id: second, activity: t.work}]
"""
"""A timer runs while calls are under way."""

NAP: dict[str, Any] = {
    "workflow": "./work.yaml",
    "mocks": {"t.work": {"after": "6s"}},
    "cases": [{"case": "it takes its time"}],
}

RACE = """\
dsl: 1
name: race
steps:
  - id: both
    parallel:
      one: [{id: a, activity: t.a, retry: false}]
      other: [{id: b, activity: t.b, retry: false}]
"""


def race(slower: str) -> dict[str, Any]:
    """One branch fails after a second, the other after ``slower``."""
    mocks = {"t.a": {"raise": "One", "after": "1s"}, "t.b": {"raise": "Other", "after": slower}}
    expected = {"status": "failed"}
    return {
        "workflow": "./work.yaml",
        "mocks": mocks,
        "cases": [{"case": "both fail", "expect": expected}],
    }


BUGS = """
import random, sys
from flowctl.runtimes.embedded import EmbeddedRuntime
from flowctl.testing import loop, played, torture
from flowctl.testing.torture import main
from tests.crash.bugs import BUGS, put


def another_order():
    begin = loop.VirtualTimeLoop.__init__
    put(loop.VirtualTimeLoop, "__init__", lambda self, **how: begin(self, **how | {"ties": Late()}))


class Late(random.Random):
    '''What is asked for first comes last.'''

    def random(self):
        self.asked = getattr(self, "asked", -1) + 1
        return self.asked / 100


def other_times():
    play = played.play

    async def swapped(act, ctx):
        import dataclasses
        await play(dataclasses.replace(act, duration=3000 - act.duration), ctx)

    put(played, "play", swapped)


def effects_forgotten():
    put(loop, "STUCK_AFTER", 1000)
    put(EmbeddedRuntime, "_commit_done", lambda *_: None)


torture.ORDERS = 8
own = (another_order, other_times, effects_forgotten)
main(sys.argv[2:], {**BUGS, **{bug.__name__: bug for bug in own}}[sys.argv[1]])
"""


def tortured_with(bug: str, file: Path, only: str | None = None, *, points: int = 4) -> Any:
    """What comes of the file's case with a bug in every process but the undisturbed one."""
    asked: dict[str, Any] = {
        "file": str(file),
        "plugins_dirs": [],
        "select": None,
        "seed": 1,
        "points": points,
        "shim": True,
        "only": only,
    }
    done = subprocess.run(
        [sys.executable, "-c", BUGS, bug, json.dumps(asked)],
        cwd=ROOT,
        env=os.environ | faults.preloading(faults.build()),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def work(folder: Path, document: str, tests: dict[str, Any]) -> Path:
    (folder / "work.yaml").write_text(document)
    (folder / "work.test.yaml").write_text(json.dumps(tests))
    return folder / "work.test.yaml"


@needs_shim
def test_an_engine_that_loses_entries_is_found_and_the_point_repeats_it(tmp_path: Path) -> None:
    put(tmp_path, UNDONE)
    case = tortured_with("lost-tail", tmp_path / "order.test.yaml")
    assert case["status"] == "failed"
    first = case["violations"][0]
    again = tortured_with("lost-tail", tmp_path / "order.test.yaml", first["point"])
    assert [each["point"] for each in again["violations"]] == [first["point"]]


@needs_shim
def test_a_process_that_stood_still_and_goes_on_writing_is_found(tmp_path: Path) -> None:
    put(tmp_path, UNDONE)
    [violation] = tortured_with("no-fence", tmp_path / "order.test.yaml", "stop@2")["violations"]
    assert "chain is broken" in violation["what"] or "stood still" in violation["what"]


@needs_shim
def test_a_timer_that_fires_before_the_wall_clock_says_so_is_found(tmp_path: Path) -> None:
    file = work(tmp_path, TOGETHER, NAP)
    [violation] = tortured_with("timers-trust-the-loop", file, "clock-1h@3")["violations"]
    assert "a timer fired early: test/both.waits.nap completed at " in violation["what"]


@needs_shim
def test_what_is_due_in_the_same_moment_may_come_in_any_order(tmp_path: Path) -> None:
    case = tortured_with("another_order", work(tmp_path, RACE, race("1s")), "kill-after@1")
    assert (case["violations"], case["ties"]) == ([], 1)


@needs_shim
def test_what_is_due_at_different_times_may_not(tmp_path: Path) -> None:
    case = tortured_with("other_times", work(tmp_path, RACE, race("2s")), "kill-after@1")
    assert [(each["point"], case["ties"]) for each in case["violations"]] == [("kill-after@1", 0)]
    assert 'error is ["Other", "both.other.b"]' in case["violations"][0]["what"]


@needs_shim
def test_a_life_that_gets_nowhere_is_given_up_and_after_three_the_case_is(tmp_path: Path) -> None:
    case = tortured_with("effects_forgotten", work(tmp_path, TOGETHER, NAP), points=40)
    assert case["points"] < 40
    hung = [
        each for each in case["violations"] if "the process hung: nothing happens any more" in each["what"]
    ]
    assert len(hung) == 3


@pytest.mark.parametrize(
    "text", ["kill-after@17", "EIO@40", "kill@12.5", "late+10s1ms@3", "clock-1h@0,kill-before@3,stop@2"]
)
def test_a_point_is_read_as_it_is_written(text: str) -> None:
    assert ",".join(map(str, parse_point(text))) == text


@pytest.mark.parametrize("text", ["late@3", "late-1s@3", "EIO+1s@3", "clock+soon@3", "stop", "stop@x", ""])
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no point"):
        parse_point(text)


def test_points_are_of_all_kinds_the_same_for_the_same_seed_and_fall_around_the_timeouts() -> None:
    def chosen(seed: int) -> list[str]:
        found = points(random.Random(seed), 80, Extent(100, 50, [None, 10_000, None]))
        return [",".join(map(str, point)) for point in found]

    assert chosen(1) == chosen(1) != chosen(2)
    first = Counter(parse_point(point)[0].fault for point in chosen(1))
    assert set(first) == {*AT_CALLS, STOP, LATE, CLOCK}
    assert set(first.values()) == {10}
    late = {blow.by for point in chosen(1) for blow in parse_point(point) if blow.fault == LATE}
    assert late == {9_999, 10_001}


def test_a_timer_is_early_if_what_comes_of_it_was_recorded_before_it_was_due() -> None:
    begun = Fact("nap", "started", 100, data={"verb": "sleep", "until": 200})
    failed = Fact("call", "failed", 100, 1, data={"retry_at": 300})
    for at, early in ((199, ["nap completed at 199, due at 200"]), (200, [])):
        assert list(early_timers([begun, Fact("nap", "completed", at)])) == early
    for at, early in ((299, ["call started at 299, due at 300"]), (300, [])):
        assert list(early_timers([failed, Fact("call", "started", at, 2)])) == early


def test_a_timer_of_virtual_time_is_due_after_a_hundred_years_too() -> None:
    async def wait() -> float:
        for seconds in (100 * 366 * 86_400, 0.05, 0.1):
            await asyncio.sleep(seconds)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(wait()) > 100 * 366 * 86_400


def test_the_command_that_repeats_a_violation_has_the_folders_of_plugins(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "shop.py").write_text(PLUGIN)
    put(tmp_path, {"case": "it costs nothing", "mocks": {"shop.charge": {"raise": "NoSuchCard"}}})
    said = flowctl("torture", "order.test.yaml", "--plugins-dir", "more", "--points", "1")
    assert said.code == 1
    [again] = re.findall(r"^  again: flowctl (.*)$", said.out, re.MULTILINE)
    assert again == "test order.test.yaml --plugins-dir more -k 'it costs nothing'"
    assert "the run's error is " in flowctl(*shlex.split(again)).out
    case = {"case": "c", "violations": [{"point": "stop@2", "what": "x"}]}
    summary = {**dict.fromkeys(COUNTS, 0), "cases": 1, "left_out": 0, "violations": 1, "milliseconds": 1}
    shown = {"file": "f.test.yaml", "plugins_dirs": ["a b", "c"], "workflow": "w", "version": 1, "seed": 1}
    lines = [str(each) for each in render.verdict({**shown, "cases": [case], "summary": summary})]
    assert any(
        "flowctl torture f.test.yaml --plugins-dir 'a b' --plugins-dir c -k c --at stop@2" in each
        for each in lines
    )


PLUGIN = """
from flowctl import activity

@activity("shop.charge")
def charge(amount: int, key: str) -> dict:
    return {}
"""


def test_without_the_shim_processes_are_killed_at_moments(
    flowctl: Flowctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Path:
        raise faults.Unavailable("there is no compiler")

    monkeypatch.setattr(faults, "build", build)
    put(tmp_path, UNDONE)
    said = flowctl("torture", "order.test.yaml", "--points", "8")
    assert said.code == 0, said.out
    assert "  there is no compiler: kills come at random moments, no I/O errors\n" in said.out
    refused = flowctl("torture", "order.test.yaml", "--at", "EIO@7")
    assert refused.code == 2
    assert "EIO@7 cannot be repeated here: there is no compiler" in refused.err
    assert re.search(r"^HELD: 1 case of order v1; [1-9]\d* kills?, 0 I/O errors, ", said.out, re.MULTILINE)


def test_a_case_that_fails_undisturbed_is_a_violation_and_one_that_cannot_be_tried_is_named(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    wrong = {"case": "it costs nothing", "expect": {"output": {"tracking": "T-8"}}}
    lost = {"case": "lost", "failures": [{"step": "charge", "lose_worker": "after"}]}
    put(tmp_path, wrong, lost)
    said = flowctl("torture", "order.test.yaml")
    assert said.code == 1
    assert "undisturbed, it does not hold: output.tracking" in said.out
    assert "  again: flowctl test order.test.yaml -k 'it costs nothing'\n" in said.out
    assert "left out: it brings failures of its own: lose_worker\n" in said.out
    assert "\nVIOLATED: 1 case of order v1, 1 left out; " in said.out


def test_bad_files_points_and_selections_are_told_before_anything_is_tortured(
    flowctl: Flowctl, tmp_path: Path
) -> None:
    put(tmp_path, UNDONE)
    (tmp_path / "alone.yaml").write_text(ORDER)
    (tmp_path / "bad.test.yaml").write_text("workflow: ./order.yaml\ncases: 7\n")
    assert flowctl("torture", "bad.test.yaml").code == 2
    assert "alone.yaml has no tests beside it" in flowctl("torture", "alone.yaml").err
    assert flowctl("torture", "nowhere.test.yaml").code == 2
    said = flowctl("torture", "order.yaml", "--at", "flood@7")
    assert said.code == 2
    assert "'flood@7' is no point" in said.err
    assert flowctl("torture", "order.yaml", "-k", "nothing like it").code == 4


@needs_shim
def test_the_page_shows_what_a_reader_gets(flowctl: Flowctl, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    command, shown = re.findall(
        r"^```text\n(.*?)^```$", page[page.index("\n### Torture") :], re.DOTALL | re.MULTILINE
    )
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    said = flowctl(*command.split()[1:])
    assert (said.code, _without_counts(said.out)) == (0, _without_counts(shown))


def _without_counts(text: str) -> str:
    without = re.sub(r"[\d.,]+ (kill|I/O error|stop|delay|clock jump|effect|fault)s?", r"N \1s", text)
    without = re.sub(r"\d+ recover(y|ies)", "N recoveries", without)
    return re.sub(r"[\d.]+ m?s\n", "T\n", re.sub(r", N faults came too late", "", without))
