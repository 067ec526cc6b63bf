"""Statements against a real SQLite file, through crashes between the effect and its acknowledgement."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import flowctl_sql
from flowctl import ActivityContext
from flowctl.activities.failures import failure_from
from flowctl.plugins import load
from flowctl_sql import Databases, Statement

SCHEMA = """
CREATE TABLE stock (item TEXT PRIMARY KEY, level INTEGER NOT NULL CHECK (level >= 0));
INSERT INTO stock VALUES ('lamp', 3), ('desk', 1);
CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, key TEXT);
"""
TAKE = "UPDATE stock SET level = level - :n WHERE item = :item AND level >= :n"
ORDER = "INSERT INTO orders (item, key) VALUES (:item, :idempotency_key)"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(SCHEMA)
    connection.close()
    return file


@pytest.fixture
def databases(shop: Path) -> Iterator[Databases]:
    flowctl_sql.flowctl_configure({"databases": {"shop": "sqlite:///shop.db"}}, str(shop.parent))
    yield from flowctl_sql.databases()
    flowctl_sql.flowctl_configure({}, ".")


def context(key: str = "order-1/take") -> ActivityContext:
    return ActivityContext(idempotency_key=key)


def rows(shop: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(shop)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def take(databases: Databases, *statements: Statement, key: str = "order-1/take") -> list[dict[str, Any]]:
    return flowctl_sql.transaction(databases, context(key), "shop", list(statements))


def lamps(n: int, expect: int | None = 1) -> Statement:
    return Statement(TAKE, {"item": "lamp", "n": n}, expect)


def test_a_query_returns_rows_as_mappings(databases: Databases) -> None:
    sql = "SELECT item, level FROM stock WHERE level >= :least ORDER BY item"
    found = flowctl_sql.query(databases, context(), "shop", sql, {"least": 2})
    assert found == [{"item": "lamp", "level": 3}]


def test_a_query_changes_nothing(databases: Databases, shop: Path) -> None:
    flowctl_sql.query(databases, context(), "shop", "DELETE FROM stock RETURNING item")
    flowctl_sql.query(databases, context(), "shop", "DELETE FROM stock")
    assert rows(shop, "SELECT count(*) FROM stock") == [(2,)]


def test_a_value_is_never_part_of_a_statement(databases: Databases, shop: Path) -> None:
    evil = "x'; DROP TABLE stock; --"
    sql = "SELECT :item AS item"
    assert flowctl_sql.query(databases, context(), "shop", sql, {"item": evil}) == [{"item": evil}]
    assert rows(shop, "SELECT count(*) FROM stock") == [(2,)]


def test_a_statement_says_how_many_rows_it_changed(databases: Databases, shop: Path) -> None:
    sql = "UPDATE stock SET level = level + 1"
    assert flowctl_sql.execute(databases, context(), "shop", sql) == {"rows": 2, "returned": None}
    assert rows(shop, "SELECT level FROM stock ORDER BY item") == [(2,), (4,)]


def test_more_rows_than_the_limit_are_an_error(databases: Databases) -> None:
    flowctl_sql.flowctl_configure({"max_rows": 1}, ".")
    with pytest.raises(flowctl_sql.TooManyRows, match="over 1 rows"):
        flowctl_sql.query(databases, context(), "shop", "SELECT * FROM stock")
    assert len(flowctl_sql.query(databases, context(), "shop", "SELECT * FROM stock LIMIT 1")) == 1


def test_what_json_does_not_have_is_text() -> None:
    engine = sa.create_engine("sqlite://")
    sql = sa.text("SELECT :day AS day, x'ff00' AS bytes").columns(day=sa.Date)
    import datetime
    import decimal

    with engine.connect() as connection:
        row = dict(connection.execute(sql, {"day": datetime.date(2026, 5, 4)}).mappings().one())
    row["price"] = decimal.Decimal("0.10")
    assert flowctl_sql._json([row]) == [{"day": "2026-05-04", "bytes": "/wA=", "price": "0.10"}]
    engine.dispose()


# --- exactly once


def test_a_transaction_happens_once_however_often_it_is_attempted(databases: Databases, shop: Path) -> None:
    order = Statement(ORDER + " RETURNING id, key", {"item": "lamp"})
    first = take(databases, lamps(2), order)
    assert first == [
        {"rows": 1, "returned": None},
        {"rows": 1, "returned": [{"id": 1, "key": "order-1/take"}]},
    ]
    assert take(databases, lamps(2), order) == first
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(1,)]
    assert rows(shop, "SELECT id, item FROM orders") == [(1, "lamp")]


def test_another_step_is_another_effect(databases: Databases, shop: Path) -> None:
    take(databases, lamps(1))
    take(databases, lamps(1), key="order-2/take")
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(1,)]


def test_a_transaction_happens_whole_or_not_at_all(databases: Databases, shop: Path) -> None:
    with pytest.raises(flowctl_sql.UnexpectedRows) as caught:
        take(databases, Statement(ORDER, {"item": "lamp"}), lamps(5))
    assert caught.value.details == {"statement": 2, "expected": 1, "rows": 0}
    with pytest.raises(sa.exc.IntegrityError):
        take(databases, Statement(ORDER, {"item": "lamp"}), Statement("UPDATE stock SET level = -1"))
    assert rows(shop, "SELECT count(*) FROM orders") == [(0,)]
    assert take(databases, lamps(3)), "its key was not used up"


def test_of_many_attempts_at_once_one_has_the_effect(databases: Databases, shop: Path) -> None:
    results: list[Any] = []

    def attempt() -> None:
        try:
            results.append(take(databases, lamps(1)))
        except sa.exc.OperationalError as error:  # locked: an attempt like this is made again
            results.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert [{"rows": 1, "returned": None}] in results
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(2,)]


def give_back(databases: Databases) -> None:
    """Undo ``take``, whatever it has done."""
    statement = Statement("UPDATE stock SET level = 3 WHERE item = 'lamp'")
    flowctl_sql.transaction(
        databases, context("order-1/take.undo"), "shop", [statement], undoes="order-1/take"
    )


def test_what_comes_after_it_was_undone_has_no_effect(databases: Databases, shop: Path) -> None:
    give_back(databases)
    assert take(databases, lamps(2)) == []
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(3,)]


def test_what_has_happened_can_be_undone_as_well(databases: Databases, shop: Path) -> None:
    before = take(databases, lamps(2))
    give_back(databases)
    give_back(databases)
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(3,)]
    assert take(databases, lamps(2)) == before, "what is recorded stays"


# --- errors and settings


def test_errors_are_typed_and_quote_no_parameters(databases: Databases) -> None:
    sql = "INSERT INTO stock VALUES (:item, :level)"
    with pytest.raises(sa.exc.IntegrityError) as caught:
        flowctl_sql.execute(databases, context(), "shop", sql, {"item": "hush", "level": -1})
    failure = failure_from(caught.value)
    assert failure.matches(("IntegrityError",))
    assert failure.matches(("DBAPIError",))
    assert "hush" not in repr(failure)


def test_what_the_same_statement_would_meet_again_is_not_tried_again() -> None:
    plugins = load(entry_points=False, objects=[flowctl_sql])
    assert plugins.problems == []
    policy = plugins.activities["sql.transaction"].policy.retry
    assert policy is not None
    assert {"SqlError", "IntegrityError"} <= set(policy.non_retryable or ())
    assert "OperationalError" not in (policy.non_retryable or ())


def test_a_database_that_nobody_named_is_unknown(databases: Databases) -> None:
    with pytest.raises(flowctl_sql.UnknownDatabase, match=r"no database 'shpo'.*has shop"):
        flowctl_sql.query(databases, context(), "shpo", "SELECT 1")


def test_a_url_can_be_in_the_environment(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Databases({"a": "env:SHOP_URL", "b": "env:NO_URL", "c": "env:BAD_URL"}, "/nowhere")
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{shop}")
    monkeypatch.setenv("BAD_URL", "hush")
    assert len(flowctl_sql.query(opened, context(), "a", "SELECT * FROM stock")) == 2
    with pytest.raises(flowctl_sql.UnknownDatabase, match="NO_URL, which is not set"):
        opened.engine("b")
    with pytest.raises(flowctl_sql.UnknownDatabase) as caught:
        opened.engine("c")
    assert "hush" not in str(caught.value)
    opened.close()


@pytest.mark.parametrize("settings", [{"database": {}}, {"databases": {"a": 1}}, {"databases": ["a"]}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    plugins = load(entry_points=False, objects=[flowctl_sql], settings={"flowctl_sql": settings})
    assert len(plugins.problems) == 1
    assert "sql.query" not in plugins.activities


# --- as it is installed

WORKFLOW = f"""
dsl: 1
name: sell
input: {{type: object, properties: {{item: {{type: string}}}}}}
steps:
  - id: take
    activity: sql.transaction
    with:
      database: shop
      statements:
        - {{sql: "{TAKE}", parameters: {{item: "${{{{ input.item }}}}", n: 1}}, expect: 1}}
  - id: left
    activity: sql.query
    with: {{database: shop, sql: "SELECT level FROM stock WHERE item = 'lamp'"}}
output: "${{{{ steps.left.output[0].level }}}}"
"""


def flowctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowctl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(shop: Path) -> Path:
    (shop.parent / "sell.yaml").write_text(WORKFLOW)
    (shop.parent / "flowctl.toml").write_text('[plugins.sql.databases]\nshop = "sqlite:///shop.db"\n')
    return shop.parent


def test_a_workflow_sells_until_there_is_nothing_left(project: Path, shop: Path) -> None:
    done = flowctl(project, "run", "sell.yaml", "-i", "item=lamp", "--json")
    assert json.loads(done.stdout)["output"] == 2
    flowctl(project, "run", "sell.yaml", "-i", "item=desk", "--json")
    failed = flowctl(project, "run", "sell.yaml", "-i", "item=desk", "--json")
    assert json.loads(failed.stdout)["error"]["type"] == "UnexpectedRows"
    assert rows(shop, "SELECT level FROM stock ORDER BY item") == [(0,), (2,)]


KILLED = """
import os, signal, sys
import flowctl_sql
from flowctl.cli import main

# dies right after the commit, before anybody hears of it
import sqlalchemy as sa
commit = sa.Connection.commit
def commit_and_die(self):
    commit(self)
    os.kill(os.getpid(), signal.SIGKILL)
sa.Connection.commit = commit_and_die
sys.argv = ["flowctl", "run", "sell.yaml", "-i", "item=lamp", "--id", "sale"]
main()
"""


def test_a_kill_between_the_effect_and_its_acknowledgement_does_nothing_twice(
    project: Path, shop: Path
) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED], cwd=project, check=False)
    assert died.returncode == -signal.SIGKILL
    assert rows(shop, "SELECT level FROM stock WHERE item = 'lamp'") == [(2,)]
    done = flowctl(project, "run", "sell.yaml", "-i", "item=lamp", "--id", "sale", "--json")
    assert (done.returncode, json.loads(done.stdout)["output"]) == (0, 2)
    assert rows(shop, "SELECT idempotency_key FROM flowctl_effects") == [("sale/take",)]


SECRETIVE = "half'of it :other 4711"


@pytest.mark.parametrize(
    ("sql", "type"),
    [
        ("SELECT * FROM stock WHERE item = '%s'", "OperationalError"),
        ("SELECT '%s", "OperationalError"),
        ("SELECT %s", "Withheld"),  # what follows a colon is taken for a parameter
        ("INSERT INTO stock VALUES (1, 2) -- %s", "Withheld"),
        ("INSERT INTO stock VALUES ('lamp', 2) /* \\:%s */", "IntegrityError"),
    ],
)
def test_of_a_statement_with_a_secret_in_its_text_no_error_has_a_piece(
    databases: Databases, sql: str, type: str
) -> None:
    secretive = sql % SECRETIVE.replace(":", "\\:" if type != "Withheld" else ":")
    calls: list[tuple[str, Any]] = [
        ("/sql", lambda ctx: flowctl_sql.query(databases, ctx, "shop", secretive)),
        ("/sql", lambda ctx: flowctl_sql.execute(databases, ctx, "shop", secretive)),
        (
            "/statements/1/sql",
            lambda ctx: flowctl_sql.transaction(
                databases, ctx, "shop", [Statement("SELECT 1"), Statement(secretive)]
            ),
        ),
    ]
    for place, call in calls:
        known, unknown = (ActivityContext(secret_arguments=frozenset(each)) for each in ([place], []))
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call(known)
        failure = failure_from(caught.value)
        assert failure.type == type
        said = json.dumps(failure.to_json())
        assert "pass that in `parameters`" in said
        assert [word for word in ("half", "of it", "other", "4711", "lamp", "stock") if word in said] == []
        with pytest.raises(Exception) as shown:  # noqa: PT011
            call(unknown)
        assert "not shown" not in str(shown.value)
