"""The schema of the SQLite journal, as the list of steps that lead to it.

People open the file with other tools, so tables and columns have the names of the documentation and data is
JSON text. A migration that was released never changes; the next one is added below it. ``sqlite_utils`` is
imported by nobody but this module, and this module only when a database is new or behind: the import takes
longer than a whole run.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from flowctl.journal.seals import SEALED, seal

migrations = Migrations("flowctl")


@migrations()
def m001_initial(db: Database) -> None:
    """Documents and the registry, runs, their entries and inboxes, and who writes."""
    create_documents(db)
    create_runs(db)
    create_entries(db)
    create_sessions(db)


@migrations()
def m002_attributes(db: Database) -> None:
    """What a run says about itself: search attributes and memo."""
    db.table("runs").add_column("attributes", str)


@migrations()
def m003_relatives(db: Database) -> None:
    """What a run has to do with others: the documents of its children, and what it took over."""
    db.table("runs").add_column("pins", str)
    db.table("runs").add_column("inherited", str)


@migrations()
def m004_origin(db: Database) -> None:
    """The run that a run repeats."""
    db.table("runs").add_column("origin", str)


@migrations()
def m005_workers(db: Database) -> None:
    """When a run is to be taken up, for workers to find; and which sessions are workers.

    What there is already is due at once, and the dead are fenced again, so that their runs are given back.
    """
    db.table("runs").add_column("due_at", int)
    db.execute("UPDATE runs SET due_at = created_at WHERE completed_at IS NULL")
    db.execute("DROP INDEX runs_by_wake_at")
    db.execute("CREATE INDEX runs_by_due_at ON runs (session, due_at) WHERE due_at IS NOT NULL")
    db.table("sessions").add_column("worker", int, not_null_default=0)
    db.execute("UPDATE sessions SET fenced = 0")


@migrations()
def m006_keeping(db: Database) -> None:
    """What damage and age are known by: seals, when a document was last asked for, and runs that are gone
    but for their entries.
    """
    for table in ("runs", "inbox", "definitions"):
        db.table(table).add_column("seal", int)
        seal_rows(db, table)
    db.table("documents").add_column("used_at", int)
    db.create_table("discarded", {"run": int}, pk="run")
    db.execute("CREATE INDEX runs_by_origin ON runs (origin) WHERE origin IS NOT NULL")


@migrations()
def m007_heartbeats(db: Database) -> None:
    """How far the attempts in flight have come."""
    db.create_table(
        "heartbeats",
        {"run": int, "path": str, "attempt": int, "details": str, "seal": int},
        pk=("run", "path"),
        not_null={"attempt", "details", "seal"},
    )


def seal_rows(db: Database, table: str) -> None:
    """Seal what is there."""
    columns = ", ".join(SEALED[table])
    found = db.execute(f"SELECT rowid, {columns} FROM {table}").fetchall()  # noqa: S608  # names of our own
    seals = [(seal(table, values), rowid) for rowid, *values in found]
    db.conn.executemany(f"UPDATE {table} SET seal = ? WHERE rowid = ?", seals)  # noqa: S608


def create_documents(db: Database) -> None:
    db.create_table(
        "documents",
        {"digest": str, "name": str, "version": int, "body": str, "source": str},
        pk="digest",
        not_null={"name", "version", "body", "source"},
    )
    # Other texts of the same document (another comment, another layout) are known texts too.
    db.create_table("sources", {"sha256": str, "digest": str}, pk="sha256", not_null={"digest"})
    db.create_table(
        "definitions",
        {"name": str, "version": int, "digest": str, "deployed_at": int, "deprecated": str},
        pk=("name", "version"),
        not_null={"digest", "deployed_at"},
    )


def create_runs(db: Database) -> None:
    runs = db.create_table(
        "runs",
        {
            "key": int,
            "id": str,
            "workflow_id": str,
            "workflow": str,
            "version": int,
            "digest": str,
            "input": str,
            "created_at": int,
            "deadline": int,
            "status": str,
            "parent_id": str,
            "principal": str,
            "trace_id": str,
            "started_at": int,
            "completed_at": int,
            "output": str,
            "error": str,
            "saga": str,
            "waiting_for": str,
            "blocked": str,
            "wake_at": int,
            "generation": int,
            "session": str,
            "entries": int,
            "size": int,
            "head": bytes,
        },
        pk="key",
        not_null={"id", "workflow_id", "workflow", "version", "digest", "created_at", "deadline", "status"}
        | {"generation", "entries", "size", "head"},
    )
    runs.create_index(["id"], "runs_by_id", unique=True)
    runs.create_index(["workflow_id"], "runs_by_workflow_id")
    runs.create_index(["status"], "runs_by_status")  # and so, within a status, by key: in order of creation
    db.execute("CREATE INDEX runs_by_wake_at ON runs (wake_at) WHERE wake_at IS NOT NULL")


def create_entries(db: Database) -> None:
    entries = db.create_table(
        "entries",
        {
            "seq": int,
            "run": int,
            "path": str,
            "kind": str,
            "attempt": int,
            "generation": int,
            "at": int,
            "data": str,
            "hash": bytes,
        },
        pk="seq",
        not_null={"run", "path", "kind", "attempt", "generation", "at", "data", "hash"},
    )
    entries.create_index(["run", "path", "kind", "attempt", "generation"], "entries_are_unique", unique=True)
    inbox = db.create_table(
        "inbox",
        {
            "seq": int,
            "run": int,
            "kind": str,
            "name": str,
            "data": str,
            "at": int,
            "principal": str,
            "dedup_id": str,
        },
        pk="seq",
        not_null={"run", "kind", "name", "at"},
    )
    inbox.create_index(["run", "dedup_id"], "messages_are_unique", unique=True)


def create_sessions(db: Database) -> None:
    db.create_table(
        "sessions",
        {"id": str, "pid": int, "boot": str, "last_seq": int, "last_hash": bytes, "fenced": int},
        pk="id",
        not_null={"pid", "boot", "last_seq", "last_hash", "fenced"},
    )


def apply(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date. Each migration is one transaction, so ending in between is safe."""
    migrations.apply(Database(connection))
