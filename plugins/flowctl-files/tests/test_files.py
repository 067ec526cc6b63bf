"""Files below a root, and all the ways that lead out of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flowctl_files as files
from flowctl import ActivityContext
from flowctl.plugins import load


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root ``data``, with a secret beside it."""
    made = tmp_path / "data"
    made.mkdir()
    (tmp_path / "secret").write_text("hush")
    files.flowctl_configure({"roots": {"data": "data"}}, str(tmp_path))
    yield made
    files.flowctl_configure({}, ".")


def write(path: str, content: str, attempt: int = 1, **more: Any) -> dict[str, Any]:
    return files.write(ActivityContext(attempt=attempt), "data", path, content, **more)


def test_what_was_written_is_read_again(root: Path) -> None:
    assert write("a/b/report.txt", "grüße") == {
        "path": "a/b/report.txt",
        "size": 7,
        "sha256": hashlib.sha256("grüße".encode()).hexdigest(),
    }
    assert (root / "a/b/report.txt").read_text(encoding="utf-8") == "grüße"
    assert files.read("data", "a/b/report.txt") == "grüße"
    assert files.read("data", "./a//b/report.txt", "base64") == "Z3LDvMOfZQ=="


def test_bytes_are_base64(root: Path) -> None:
    assert write("image", "/wA=", encoding="base64")["size"] == 2
    assert (root / "image").read_bytes() == b"\xff\x00"
    with pytest.raises(UnicodeDecodeError):
        files.read("data", "image")
    with pytest.raises(files.FilesError, match="not base64"):
        write("image", "ü", encoding="base64")


def test_writing_again_replaces_the_whole(root: Path) -> None:
    write("a", "a long text")
    write("a", "short")
    write("a", "short")
    assert os.listdir(root) == ["a"]
    assert (root / "a").read_text() == "short"


def test_what_an_interrupted_attempt_left_is_swept_by_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a", "before")

    def fail(*args: Any, **options: Any) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="killed here"):
            write("a", "after")
    assert (root / "a").read_text() == "before"
    assert files.list_files("data") == ["a"]
    write("a", "after", attempt=2)
    assert os.listdir(root) == ["a"]
    assert (root / "a").read_text() == "after"


def test_a_file_is_described_listed_moved_and_deleted(root: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        write(f"in/{name}", name)
    assert files.list_files("data", "in", "*.csv") == ["in/a.csv", "in/b.csv"]
    assert files.list_files("data") == [], "a folder is no file"
    assert files.move("data", "in/a.csv", "done/a.csv") == "done/a.csv"
    assert files.move("data", "in/a.csv", "done/a.csv") == "done/a.csv", "again"
    assert (root / "done/a.csv").read_text() == "a.csv"
    described = files.status("data", "done/a.csv")
    assert described is not None
    assert (described["size"], described["sha256"]) == (5, hashlib.sha256(b"a.csv").hexdigest())
    assert files.status("data", "in/a.csv") is None
    assert files.status("data", "nowhere/a.csv") is None
    assert [files.delete("data", "done/a.csv") for _ in range(2)] == [True, False]
    with pytest.raises(FileNotFoundError, match=r"there is no in/a\.csv"):
        files.move("data", "in/a.csv", "done/a.csv")
    with pytest.raises(FileNotFoundError, match="there is no nothing"):
        files.read("data", "nothing")


# --- ways out

CALLS: dict[str, Callable[[str], Any]] = {
    "read": lambda path: files.read("data", path),
    "write": lambda path: write(path, "overwritten"),
    "stat": lambda path: files.status("data", path),
    "delete": lambda path: files.delete("data", path),
    "move from": lambda path: files.move("data", path, "mine"),
    "move to": lambda path: files.move("data", "own", path),
}
WAYS_OUT = {
    "upwards": "../secret",
    "upwards, further down": "own-folder/../../secret",
    "absolute": "/etc/hostname",
    "a link to a folder": "folder-link/secret",
    "a link within the root": "inner-link/file",
    "a NUL": "a\0b",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("path", WAYS_OUT.values(), ids=WAYS_OUT)
def test_no_path_leaves_its_root(root: Path, path: str, call: Callable[[str], Any]) -> None:
    (root / "own").write_text("own")
    (root / "own-folder").mkdir()
    (root / "own-folder" / "file").write_text("file")
    (root / "folder-link").symlink_to(root.parent)
    (root / "inner-link").symlink_to("own-folder")
    with pytest.raises(files.NotAllowed):
        call(path)
    assert (root.parent / "secret").read_text() == "hush"
    assert (root / "own").read_text() == "own"


@pytest.mark.parametrize("name", CALLS)
def test_a_link_is_not_followed(root: Path, name: str) -> None:
    (root / "own").write_text("own")
    (root / "link").symlink_to(root.parent / "secret")
    with pytest.raises(files.FilesError):
        CALLS[name]("link")
    assert (root.parent / "secret").read_text() == "hush"
    assert (root / "link").is_symlink()


def test_a_link_is_no_file_to_list(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    assert files.list_files("data") == []
    with pytest.raises(files.NotAllowed):
        files.list_files("data", "folder")


def test_a_folder_that_becomes_a_link_in_the_meantime_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of the folder and its opening."""
    mkdir = os.mkdir

    def swap(name: str, **options: Any) -> None:
        mkdir(name, **options)
        (root / name).rmdir()
        (root / name).symlink_to(root.parent)

    monkeypatch.setattr(os, "mkdir", swap)
    with pytest.raises(files.NotAllowed):
        write("folder/secret", "overwritten")
    assert (root.parent / "secret").read_text() == "hush"


@pytest.mark.parametrize("path", ["", ".", "folder", "folder/", "pipe"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_no_file_is_refused_and_not_waited_for(
    root: Path, path: str, call: Callable[[str], Any]
) -> None:
    (root / "own").write_text("own")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(files.NotAFile):
        call(path)


def test_a_file_over_the_limit_is_refused(root: Path) -> None:
    files.flowctl_configure({"roots": {"data": "data"}, "max_bytes": 5}, str(root.parent))
    (root / "fits").write_bytes(b"x" * 5)
    (root / "over").write_bytes(b"x" * 6)
    assert files.read("data", "fits") == "xxxxx"
    with pytest.raises(files.FileTooLarge):
        files.read("data", "over")


def test_without_a_root_there_are_no_files() -> None:
    with pytest.raises(
        files.NotAllowed, match=r"no root 'data'; \[plugins.files.roots\] in flowctl.toml has none"
    ):
        files.read("data", "a")


@pytest.mark.parametrize("settings", [{"root": "x"}, {"roots": ["x"]}, {"max_bytes": "1"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[files], settings={"flowctl_files": settings})
    assert len(plugins.problems) == 1
    assert "files.read" not in plugins.activities


WORKFLOW = """
dsl: 1
name: note
steps:
  - {id: write, activity: files.write, with: {root: data, path: notes/one.txt, content: hello}}
  - {id: read, activity: files.read, with: {root: data, path: "${{ steps.write.output.path }}"}}
output: "${{ steps.read.output }}"
"""


def test_an_installed_plugin_serves_workflows_by_the_settings_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "note.yaml").write_text(WORKFLOW)
    (tmp_path / "flowctl.toml").write_text('[plugins.files.roots]\ndata = "data"\n')
    command = [sys.executable, "-m", "flowctl", "run", "note.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, "hello")
    assert (tmp_path / "data/notes/one.txt").read_text() == "hello"


def test_activities_of_others_keep_to_the_same_roots(root: Path) -> None:
    made = files.save(ActivityContext(), "data", "big.bin", b"x" * 1_000_000)
    assert (made["size"], (root / "big.bin").stat().st_size) == (1_000_000, 1_000_000)
    with files.opened("data", "big.bin") as descriptor:
        assert os.read(descriptor, 3) == b"xxx"
    with pytest.raises(files.NotAllowed), files.opened("data", "../secret"):
        pass
