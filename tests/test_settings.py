"""``flowctl.toml`` and who has the last word on where the database is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flowctl import settings
from flowctl.errors import UsageError
from flowctl.model import Policy
from flowctl.retry import ONCE
from flowctl.settings import Settings, settle

SCHEMA = Path(__file__).parent.parent / "schemas" / "config.schema.json"


def settled(
    folder: Path, db: str | None = None, plugins: tuple[str, ...] = (), **environment: str
) -> Settings:
    return settle(db, plugins, environment, str(folder))


def written(folder: Path, text: str | bytes) -> Path:
    (folder / settings.FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_without_a_project_the_database_is_in_the_present_folder(tmp_path: Path) -> None:
    found = settled(tmp_path)
    assert found.database == str(tmp_path / ".flowctl" / "flowctl.db")
    assert (found.plugins_dirs, found.defaults) == ((), None)


@pytest.mark.parametrize("marker", [".flowctl", "flowctl.toml"])
def test_the_nearest_folder_upwards_with_a_marker_is_the_project(tmp_path: Path, marker: str) -> None:
    (tmp_path / ".flowctl").mkdir()
    project, deep = tmp_path / "project", tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    if marker == ".flowctl":
        (project / marker).mkdir()
    else:
        (project / marker).write_text("")
    assert settled(deep).database == str(project / ".flowctl" / "flowctl.db")


def test_an_option_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    written(tmp_path, 'db = "file.db"\nplugins_dir = "file"')
    paths = {
        "file": settled(tmp_path),
        "environment": settled(tmp_path, FLOWCTL_DB="environment.db", FLOWCTL_PLUGINS_DIR="environment"),
        "option": settled(
            tmp_path, "option.db", ("option",), FLOWCTL_DB="environment.db", FLOWCTL_PLUGINS_DIR="environment"
        ),
    }
    for name, found in paths.items():
        assert found.database == str(tmp_path / f"{name}.db")
        assert found.plugins_dirs == (str(tmp_path / name),)


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    written(tmp_path, 'db = "data/runs.db"\nplugins_dir = ["one", "two"]')
    (tmp_path / "sub").mkdir()
    found = settled(tmp_path / "sub")
    assert found.database == str(tmp_path / "data" / "runs.db")
    assert found.plugins_dirs == (str(tmp_path / "one"), str(tmp_path / "two"))


def test_several_folders_in_the_environment_are_joined_as_paths_are(tmp_path: Path) -> None:
    found = settled(tmp_path, FLOWCTL_PLUGINS_DIR=os.pathsep.join(["one", "", "two"]))
    assert found.plugins_dirs == (str(tmp_path / "one"), str(tmp_path / "two"))


@pytest.mark.parametrize("url", ["memory:", "temporal://host:7233/default?task_queue=Q"])
def test_a_url_is_left_as_it_is(tmp_path: Path, url: str) -> None:
    assert settled(tmp_path, url).database == url


def test_an_sqlite_url_is_the_path_in_it(tmp_path: Path) -> None:
    assert settled(tmp_path, "sqlite:///runs.db").database == str(tmp_path / "runs.db")
    assert settled(tmp_path, "sqlite:////srv/runs.db").database == "/srv/runs.db"


def test_defaults_become_a_policy(tmp_path: Path) -> None:
    written(
        tmp_path,
        """
        [defaults]
        timeout = "1m30s"
        [defaults.retry]
        attempts = 5
        delay = "500ms"
        backoff = "linear"
        jitter = true
        non_retryable = "Declined"
        """,
    )
    policy = settled(tmp_path).defaults
    assert policy is not None
    assert policy.timeout == 90_000
    assert policy.retry is not None
    retry = policy.retry
    assert (retry.attempts, retry.delay, retry.backoff, retry.jitter) == (5, 500, "linear", True)
    assert (retry.retryable, retry.non_retryable) == (None, ("Declined",))


def test_retry_false_is_one_attempt(tmp_path: Path) -> None:
    written(tmp_path, "[defaults]\nretry = false")
    assert settled(tmp_path).defaults == Policy(retry=ONCE)


def test_what_plugins_are_told_is_theirs_to_check(tmp_path: Path) -> None:
    assert settled(tmp_path).plugins == {}
    written(tmp_path, '[plugins.http]\nallow = ["10.0.0.0/8"]\nwhatever = 1.5')
    found = settled(tmp_path)
    assert found.plugins == {"http": {"allow": ["10.0.0.0/8"], "whatever": 1.5}}
    assert found.project == str(tmp_path)


MISTAKES = {
    "a misspelt key": ('dbb = "x"', "did you mean 'db'?"),
    "a misspelt key of a table": ('[defaults]\ntimeuot = "1s"', "did you mean 'timeout'?"),
    "a key nobody knows": ("q = 1", "known are db, defaults, plugins, plugins_dir"),
    "a number for a path": ("db = 1", "db is not a string"),
    "a bare number for a duration": ('[defaults]\ntimeout = "30"', "no unit"),
    "no time at all": ('[defaults]\ntimeout = "0s"', "longer than nothing"),
    "no attempt": ("[defaults]\nretry = {attempts = 0}", "defaults.retry.attempts"),
    "true for a number": ("[defaults]\nretry = {attempts = true}", "defaults.retry.attempts"),
    "an infinite factor": ("[defaults]\nretry = {factor = inf}", "defaults.retry.factor"),
    "retry true": ("[defaults]\nretry = true", "a table or false"),
    "a backoff that is none": ('[defaults]\nretry = {backoff = "cubic"}', "constant, linear, exponential"),
    "a plugin's word without a table": ('[plugins]\nhttp = "off"', "plugins.http is not a table"),
    "what is not TOML": ("db = ", "not TOML"),
    "a nest without end": ("a = " + "[" * 100_000, "not TOML"),
    "bytes": (b"\xff\xfe", "not TOML"),
    "too much": ("#" * 2_000_000, "over 1,048,576 bytes"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        settled(written(tmp_path, text))
    assert said in str(caught.value)
    assert str(tmp_path / "flowctl.toml") in str(caught.value)


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "flowctl.toml")
    assert settled(tmp_path).defaults is None


def test_the_published_schema_knows_the_same_keys() -> None:
    schema = json.loads(SCHEMA.read_text())
    properties: dict[str, Any] = schema["properties"]
    assert set(properties) == set(settings._KEYS)
    assert set(properties["defaults"]["properties"]) == set(settings._DEFAULTS_KEYS)
    assert set(schema["$defs"]["retry"]["properties"]) == set(settings._RETRY_KEYS)
