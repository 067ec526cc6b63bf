"""SQL as activities of flowctl, over SQLAlchemy.

Rules:

1. Which databases there are is the project's word: ``[plugins.sql.databases]`` in ``flowctl.toml``. A
   document names one of them, and never a URL.
2. Values go into parameters, never into the text of a statement.
3. ``sql.transaction`` happens **exactly once** for a step, however often it is attempted: the step's
   idempotency key and the result are rows of the same database, written in the same transaction as the
   effect. An attempt that finds its key returns the result that is there. ``sql.execute`` is the plain thing,
   which may happen again.
4. What undoes a transaction, with ``undoes``, uses up the key of what it undoes: an attempt that was given up
   and is still under way then finds it taken, and never has its effect after it was undone.
5. A query changes nothing: it is rolled back. It returns up to ``max_rows`` rows, and says so if there are
   more.
6. Errors show neither parameters nor passwords. Of a statement that has a secret in its own text (which rule
   2 cannot help where SQL takes no parameters), nothing of what the database says is shown: parsers quote
   pieces, which nobody recognises.

SQLAlchemy is imported when the first statement is executed: every command loads its plugins.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from flowctl import ActivityContext, activity, hookimpl, resource

if TYPE_CHECKING:
    import sqlalchemy as sa

ENVIRONMENT = "env:"
"""Prefix of a setting that names the environment variable with the URL: a password is no setting."""

EFFECTS = "flowctl_effects"
"""The table of what has happened: a row for each step whose transaction was committed."""

KEY = "idempotency_key"
"""A parameter that every statement may use without being given it: the step's key."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.sql]``. ``databases`` are URLs of SQLAlchemy by name, or ``env:VARIABLE`` for one in the
    environment; a relative SQLite path is relative to the project."""

    databases: dict[str, str] = {}
    max_rows: int = 1_000


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One statement of a transaction. ``expect`` is how many rows it must change, or return; anything else
    undoes the whole transaction."""

    sql: str
    parameters: dict[str, Any] = {}
    expect: int | None = None


class SqlError(Exception):
    """What this module itself finds wrong."""

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.details = details


class UnknownDatabase(SqlError):
    """``flowctl.toml`` names no such database."""


class UnexpectedRows(SqlError):
    """A statement did not change as many rows as it was to: ``details`` has ``statement`` (from 1),
    ``expected`` and ``rows``. Nothing has happened."""


class Withheld(SqlError):
    """What the database, or its driver, says of a statement with a secret in it."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"the statement is refused ({kind}). What is wrong with it is not shown, because there is a"
            " secret in its text: pass that in `parameters`"
        )


class TooManyRows(SqlError):
    """A statement returns more rows than ``max_rows``."""


HOPELESS = (
    SqlError,
    "IntegrityError",
    "DataError",
    "ProgrammingError",
    "NotSupportedError",
    "ArgumentError",
    "PermissionError",
    "InvalidInput",
    "InvalidOutput",
)
"""What the same statement would meet again."""

_settings = Settings()
_folder = "."


@hookimpl
def flowctl_configure(settings: Mapping[str, Any], folder: str) -> None:
    """Take ``[plugins.sql]``."""
    global _settings, _folder
    _settings, _folder = msgspec.convert(settings, Settings), folder


class Databases:
    """The databases of the project, each opened when it is first used. Used from many threads."""

    def __init__(self, urls: Mapping[str, str], folder: str) -> None:
        self._urls = urls
        self._folder = folder
        self._lock = threading.Lock()
        self._engines: dict[str, sa.Engine] = {}
        self._prepared: set[str] = set()

    def engine(self, name: str) -> sa.Engine:
        """The engine of a database. ``UnknownDatabase``."""
        import sqlalchemy as sa

        with self._lock:
            if name not in self._engines:
                # a pool that notices dead connections, and errors that do not quote parameters
                self._engines[name] = sa.create_engine(
                    self._url(name), pool_pre_ping=True, hide_parameters=True
                )
            return self._engines[name]

    def effects(self, name: str) -> sa.Table:
        """The table of what has happened, made if it is not there."""
        import sqlalchemy as sa
        from sqlalchemy.schema import CreateTable

        table = _effects()
        with self._lock:
            prepared = name in self._prepared
        if not prepared:
            engine = self.engine(name)
            if not sa.inspect(engine).has_table(EFFECTS):
                with engine.begin() as connection:
                    connection.execute(CreateTable(table, if_not_exists=True))
            with self._lock:
                self._prepared.add(name)
        return table

    def close(self) -> None:
        """Give all connections back."""
        for engine in self._engines.values():
            engine.dispose()

    def _url(self, name: str) -> sa.URL:
        import sqlalchemy as sa

        if name not in self._urls:
            known = ", ".join(sorted(self._urls)) or "none"
            raise UnknownDatabase(
                f"there is no database {name!r}; [plugins.sql.databases] in flowctl.toml has {known}"
            )
        text = self._urls[name]
        if text.startswith(ENVIRONMENT):
            variable = text.removeprefix(ENVIRONMENT)
            if variable not in os.environ:
                raise UnknownDatabase(
                    f"the database {name!r} is in the variable {variable}, which is not set"
                )
            text = os.environ[variable]
        try:
            url = sa.make_url(text)
        except sa.exc.ArgumentError:
            raise UnknownDatabase(f"what stands for the database {name!r} is no URL") from None
        relative = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
        return url.set(database=os.path.join(self._folder, str(url.database))) if relative else url


def _effects() -> sa.Table:
    import sqlalchemy as sa

    return sa.Table(
        EFFECTS,
        sa.MetaData(),
        sa.Column(KEY, sa.String(400), primary_key=True),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("happened_at", sa.String(40), nullable=False),
    )


@resource
def databases() -> Iterator[Databases]:
    """The pools of connections, shared by all statements."""
    with contextlib.closing(Databases(_settings.databases, _folder)) as opened:
        yield opened


@activity("sql.query", timeout="30s", non_retryable=HOPELESS)
def query(
    databases: Databases,
    ctx: ActivityContext,
    database: str,
    sql: str,
    parameters: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a query, each a mapping from column to value. Whatever it changes is rolled back."""
    with databases.engine(database).connect() as connection:
        try:
            return _execute(connection, sql, parameters or {}, ctx, "/sql")["returned"] or []
        finally:
            connection.rollback()


@activity("sql.execute", timeout="30s", non_retryable=HOPELESS)
def execute(
    databases: Databases,
    ctx: ActivityContext,
    database: str,
    sql: str,
    parameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Execute one statement; returns ``{rows, returned}``. It may happen again after a crash: see
    ``sql.transaction``.
    """
    with databases.engine(database).begin() as connection:
        return _execute(connection, sql, parameters or {}, ctx, "/sql")


@activity("sql.transaction", timeout="30s", non_retryable=HOPELESS)
def transaction(
    databases: Databases,
    ctx: ActivityContext,
    database: str,
    statements: list[Statement],
    undoes: str | None = None,
) -> list[dict[str, Any]]:
    """Execute statements in one transaction, exactly once for this step; returns ``{rows, returned}`` for
    each.

    A statement is ``{sql, parameters, expect}``. If it changes (or returns) other than ``expect`` rows,
    nothing happens, and the error is ``UnexpectedRows``. Every statement may use ``:idempotency_key``.
    ``undoes`` is the key of a step that is being undone: if its transaction has not been committed yet, it
    never will be.
    """
    import sqlalchemy as sa

    effects, engine = databases.effects(database), databases.engine(database)
    seen = sa.select(effects.c.result).where(effects.c[KEY] == ctx.idempotency_key)
    with engine.connect() as connection:
        try:
            # The first thing in it: of two attempts at once, one waits here, and then finds it taken.
            connection.execute(_claim(effects, ctx.idempotency_key))
        except sa.exc.IntegrityError:
            connection.rollback()
            return _recorded(connection.execute(seen).scalar_one())
        if undoes is not None:
            with contextlib.suppress(sa.exc.IntegrityError), connection.begin_nested():
                connection.execute(_claim(effects, undoes))
        results = [_checked(connection, each, number, ctx) for number, each in enumerate(statements, 1)]
        text = msgspec.json.encode(results).decode()
        connection.execute(
            sa.update(effects).where(effects.c[KEY] == ctx.idempotency_key).values(result=text)
        )
        connection.commit()
    return results


def _claim(effects: sa.Table, key: str) -> sa.Insert:
    """Takes a key. Its result is filled in later, if there is to be one."""
    import sqlalchemy as sa

    return sa.insert(effects).values({KEY: key, "result": "[]", "happened_at": _now()})


def _recorded(text: str) -> list[dict[str, Any]]:
    return msgspec.json.decode(text, type=list[dict[str, Any]])


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _checked(
    connection: sa.Connection, statement: Statement, number: int, ctx: ActivityContext
) -> dict[str, Any]:
    place = f"/statements/{number - 1}/sql"
    result = _execute(connection, statement.sql, statement.parameters, ctx, place)
    rows = result["rows"]
    if statement.expect is not None and rows != statement.expect:
        raise UnexpectedRows(
            f"statement {number} was to be about {statement.expect} rows, and is about {rows}",
            {"statement": number, "expected": statement.expect, "rows": rows},
        )
    return result


def _execute(
    connection: sa.Connection, sql: str, parameters: Mapping[str, Any], ctx: ActivityContext, place: str
) -> dict[str, Any]:
    """Execute the statement at that place of the arguments: how many rows it changed or returned, and those
    that it returned, null if it returns none.
    """
    import sqlalchemy as sa

    try:
        return _executed(connection, sql, parameters, ctx)
    except sa.exc.SQLAlchemyError as error:
        if place not in ctx.secret_arguments:
            raise
        withheld = Withheld(type(error).__name__)
        driver = isinstance(error, sa.exc.DBAPIError)
        raise type(error)(None, None, withheld) if driver else withheld from None


def _executed(
    connection: sa.Connection, sql: str, parameters: Mapping[str, Any], ctx: ActivityContext
) -> dict[str, Any]:
    import sqlalchemy as sa

    statement = sa.text(sql)
    if KEY in statement.compile().params:
        parameters = {KEY: ctx.idempotency_key, **parameters}
    with connection.execute(statement, parameters) as result:
        if not result.returns_rows:
            return {"rows": result.rowcount, "returned": None}
        rows = result.mappings().fetchmany(_settings.max_rows + 1)
        if len(rows) > _settings.max_rows:
            raise TooManyRows(f"over {_settings.max_rows:,} rows; ask for fewer, with LIMIT")
        returned = _json([dict(row) for row in rows])
        return {"rows": len(returned), "returned": returned}


def _json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as JSON: dates are ISO 8601, decimals text (a float would not be the number), bytes base64."""
    plain: list[dict[str, Any]] = msgspec.to_builtins(rows, enc_hook=str)
    return plain
