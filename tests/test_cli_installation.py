"""What is installed: activities, plugins, and what ``doctor`` finds."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowctl.cli import checks
from flowctl.journal.sqlite import SqliteJournal
from flowctl.testing.journal_conformance import claimed, new_run
from tests.cli_helpers import Flowctl, Said, caller

SHOP = '''
from flowctl import activity

@activity("shop.reserve", timeout="10s")
def reserve(item: str, count: int = 1) -> dict:
    """Reserve an item.

    Nobody else can have it then.
    """
    return {}
'''


@pytest.fixture
def flowctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flowctl:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWCTL_DB", "FLOWCTL_PLUGINS_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "shop.py").write_text(SHOP)
    (tmp_path / "flowctl.toml").write_text('plugins_dir = "plugins"')
    return caller(capsys)


@pytest.fixture
def broken(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "broken.py").write_text("import nowhere_to_be_found")


def check(said: Said, name: str) -> dict[str, Any]:
    [found] = [item for item in said.json if item["name"] == name]
    return dict(found)


def test_activities_are_listed_with_the_built_in_ones(flowctl: Flowctl) -> None:
    names = [item["name"] for item in flowctl("activities", "--json").json]
    assert names == sorted(names)
    assert {"core.echo", "shop.reserve"} <= set(names)
    assert "shop.reserve" in flowctl("activities").out


def test_one_activity_is_shown_with_all_there_is_to_know(flowctl: Flowctl) -> None:
    item = flowctl("activities", "shop.reserve", "--json").json
    assert (item["name"], item["plugin"], item["policy"]) == ("shop.reserve", "shop", {"timeout": "10s"})
    shown = flowctl("activities", "shop.reserve").out
    assert "count" in shown
    assert "Nobody else can have it then." in shown


def test_an_unknown_activity_names_the_nearest(flowctl: Flowctl) -> None:
    said = flowctl("activities", "shop.resreve")
    assert said.code == 2
    assert "did you mean 'shop.reserve'?" in said.err


@pytest.mark.usefixtures("broken")
def test_a_plugin_that_does_not_import_is_named_and_stops_nothing(flowctl: Flowctl) -> None:
    said = flowctl("activities", "--json")
    assert said.code == 0
    assert "shop.reserve" in [item["name"] for item in said.json]
    assert "warning: plugin broken" in said.err
    assert "nowhere_to_be_found" in said.err


@pytest.mark.usefixtures("broken")
def test_plugins_shows_what_was_loaded_and_what_was_not(flowctl: Flowctl) -> None:
    found = flowctl("plugins", "--json").json
    assert ["shop.reserve"] in [plugin["activities"] for plugin in found["plugins"]]
    assert [problem["plugin"] for problem in found["problems"]] == ["broken"]
    said = flowctl("plugins")
    assert (said.code, "nowhere_to_be_found" in said.out) == (0, True)


def test_doctor_finds_nothing_wrong_where_nothing_is(flowctl: Flowctl, tmp_path: Path) -> None:
    said = flowctl("doctor", "--json")
    assert said.code == 0
    assert "error" not in {item["status"] for item in said.json}
    assert not (tmp_path / ".flowctl").exists()


def test_doctor_reads_the_settings_of_the_database_back(flowctl: Flowctl, tmp_path: Path) -> None:
    SqliteJournal.open(tmp_path / "runs.db").close()
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert said.code == 0
    assert check(said, "journal_mode")["message"] == "wal"
    assert check(said, "synchronous")["message"].startswith("FULL")
    assert check(said, "locks")["status"] == "ok"
    assert check(said, "permissions")["status"] == "ok"


def test_doctor_changes_nothing(flowctl: Flowctl, tmp_path: Path) -> None:
    SqliteJournal.open(tmp_path / "runs.db").close()
    before = (tmp_path / "runs.db").read_bytes(), {file.name for file in tmp_path.iterdir()}
    flowctl("doctor", "--db", "runs.db")
    sidecars = {"runs.db-wal", "runs.db-shm"}  # SQLite's own: empty, and any reader leaves them
    after = (tmp_path / "runs.db").read_bytes(), {file.name for file in tmp_path.iterdir()} - sidecars
    assert after == before


@pytest.mark.usefixtures("broken")
def test_doctor_exits_1_for_a_plugin_that_cannot_be_used(flowctl: Flowctl) -> None:
    said = flowctl("doctor", "--json")
    assert said.code == 1
    assert check(said, "plugin broken")["status"] == "error"


def test_doctor_exits_1_for_a_file_that_is_no_journal(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_text("my thesis")
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert said.code == 1
    assert check(said, "database")["status"] == "error"
    assert (tmp_path / "runs.db").read_text() == "my thesis"


def test_doctor_warns_of_a_database_that_others_can_read(flowctl: Flowctl, tmp_path: Path) -> None:
    SqliteJournal.open(tmp_path / "runs.db").close()
    (tmp_path / "runs.db").chmod(0o644)
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert said.code == 0
    assert check(said, "permissions")["status"] == "warning"


def test_doctor_exits_1_where_locks_exclude_nobody(flowctl: Flowctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda descriptor, operation: None)
    said = flowctl("doctor", "--json")
    assert said.code == 1
    assert check(said, "locks")["status"] == "error"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("nfs4", "error"), ("tmpfs", "warning"), ("overlay", "warning"), ("ext4", "ok"), (None, "ok")],
)
def test_doctor_knows_file_systems_that_cannot_hold_a_journal(
    flowctl: Flowctl, monkeypatch: pytest.MonkeyPatch, kind: str | None, status: str
) -> None:
    monkeypatch.setattr(checks, "_file_system", lambda folder: kind)
    assert check(flowctl("doctor", "--json"), "file system")["status"] == status


@pytest.mark.skipif(not os.path.exists("/proc/self/mounts"), reason="needs Linux's list of mounts")
def test_the_type_of_a_file_system_is_that_of_the_nearest_mount() -> None:
    assert checks._file_system("/proc/self") == "proc"


def dated(path: Path, milliseconds: int, **columns: object) -> None:
    """A run of that moment."""
    with contextlib.closing(SqliteJournal.open(path)) as journal:
        journal.create(new_run(f"run-{milliseconds}", created_at=milliseconds, **columns))


def test_doctor_notices_a_clock_that_went_back(flowctl: Flowctl, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    dated(tmp_path / "runs.db", now)
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert check(said, "clock")["status"] == "ok"
    dated(tmp_path / "runs.db", now + 3_600_000)
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert (said.code, check(said, "clock")["status"]) == (1, "error")
    assert "behind what is recorded" in check(said, "clock")["message"]


def test_doctor_tells_who_drives_runs(flowctl: Flowctl, tmp_path: Path) -> None:
    with contextlib.closing(SqliteJournal.open(tmp_path / "runs.db")) as journal:
        claimed(journal)
        message = check(flowctl("doctor", "--db", "runs.db", "--json"), "processes")["message"]
        assert message == f"1 at work (pid {os.getpid()}), 0 as workers"
    message = check(flowctl("doctor", "--db", "runs.db", "--json"), "processes")["message"]
    assert message == "none at work"


def test_doctor_names_the_runs_that_nobody_moves(flowctl: Flowctl, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        claimed(SqliteJournal.open(tmp_path / "runs.db"), "gone")
        os._exit(0)
    os.waitpid(pid, 0)
    now = time.time_ns() // 1_000_000
    dated(tmp_path / "runs.db", now, status="blocked")
    dated(tmp_path / "runs.db", now + 1, status="waiting")
    dated(tmp_path / "runs.db", 1, status="waiting")
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert said.code == 0
    for name, run in (("interrupted", "gone"), ("blocked", f"run-{now}"), ("overdue", "run-1")):
        found = check(said, name)
        assert (found["status"], f"1 run ({run})" in found["message"], bool(found["hint"])) == (
            "warning",
            True,
            True,
        )


def test_doctor_does_not_accept_a_second_name_of_the_file(flowctl: Flowctl, tmp_path: Path) -> None:
    SqliteJournal.open(tmp_path / "runs.db").close()
    os.link(tmp_path / "runs.db", tmp_path / "other.db")
    said = flowctl("doctor", "--db", "runs.db", "--json")
    assert (said.code, check(said, "hard links")["status"]) == (1, "error")


def test_doctor_tells_what_a_symbolic_link_means(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    SqliteJournal.open(tmp_path / "real" / "runs.db").close()
    (tmp_path / "linked").symlink_to("real")
    message = check(flowctl("doctor", "--db", "linked/runs.db", "--json"), "database")["message"]
    assert message.endswith(f"linked/runs.db, which is {tmp_path}/real/runs.db")


@pytest.mark.parametrize(("free", "status"), [(1 << 40, "ok"), (100 << 20, "warning"), (1 << 20, "error")])
def test_doctor_looks_for_room(
    flowctl: Flowctl, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    assert check(flowctl("doctor", "--json"), "disk")["status"] == status


def test_doctor_notices_a_log_that_is_kept_from_starting_over(
    flowctl: Flowctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "LONG_LOG", 0)
    with contextlib.closing(SqliteJournal.open(tmp_path / "runs.db")) as journal:
        claimed(journal)
        assert check(flowctl("doctor", "--db", "runs.db", "--json"), "log")["status"] == "warning"


def test_doctor_says_for_people_what_to_do(flowctl: Flowctl, tmp_path: Path) -> None:
    dated(tmp_path / "runs.db", 1, status="blocked")
    lines = flowctl("doctor", "--db", "runs.db").out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("!  blocked")]
    assert "`flowctl status RUN` says what" in lines[at + 1]
    assert lines[0].startswith("✓  flowctl")


def test_a_database_in_memory_has_nothing_to_check(flowctl: Flowctl) -> None:
    assert check(flowctl("doctor", "--db", "memory:", "--json"), "database")["status"] == "ok"


def test_mistakes_in_flowctl_toml_are_wrong_usage(flowctl: Flowctl, tmp_path: Path) -> None:
    (tmp_path / "flowctl.toml").write_text("plugin_dir = 'plugins'")
    said = flowctl("activities")
    assert said.code == 2
    assert "did you mean 'plugins_dir'?" in said.err
