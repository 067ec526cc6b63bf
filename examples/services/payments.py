"""A payment gateway on this machine, which keeps its books in ``payments.db``.

    POST /charges  {"card", "cents", "order_id"}   201 and the charge, once for each Idempotency-Key
    POST /refunds  {"key"}                         200: whatever was charged under that key is given back

A refund of what was never charged uses the key up: a charge that is still on its way then comes too late
(409). What happens depends on the card:

    visa      it is charged
    declined  402
    busy      503 twice, then it is charged
    slow      it is charged, but the first answer never comes
    stuck     it is charged, and no answer ever comes
"""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from examples.services import serving

TABLES = """
CREATE TABLE IF NOT EXISTS charges (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, order_id TEXT, card TEXT,
    cents INTEGER NOT NULL CHECK (cents >= 0), state TEXT NOT NULL CHECK (state IN ('charged', 'refunded'))
);
CREATE TABLE IF NOT EXISTS requests (key TEXT NOT NULL);
"""


class Gateway(serving.Handler):
    """The requests. ``database`` is set before there are any."""

    database: Path

    def do_POST(self) -> None:
        asked = json.loads(self.body() or b"{}")
        if self.path == "/charges":
            self._charge(asked, self.headers.get("Idempotency-Key", ""))
        elif self.path == "/refunds":
            with self._books() as books:
                refund(books, asked["key"])
            self._say(200, {"refunded": True})
        else:
            self._say(404, {"error": "there are /charges and /refunds"})

    def _charge(self, asked: dict[str, Any], key: str) -> None:
        card = asked["card"]
        with self._books() as books:
            books.execute("INSERT INTO requests VALUES (?)", [key])
            [attempt] = books.execute("SELECT count(*) FROM requests WHERE key = ?", [key]).fetchone()
            if card == "declined" or (card == "busy" and attempt <= 2):
                made = None
            else:
                made = charge(books, key, asked)
        if made is None:
            refusal = (402, "the card is declined") if card == "declined" else (503, "come back later")
            self._say(refusal[0], {"error": refusal[1]})
        elif card == "stuck" or (card == "slow" and attempt == 1):
            self._keep_silent()
        elif made["state"] != "charged":
            self._say(409, {"error": "it was refunded before it came"})
        else:
            self.charged()
            self._say(201, {"id": f"ch_{made['id']}", "cents": made["cents"]})

    def charged(self) -> None:
        """Called between the effect and its answer."""

    def _keep_silent(self) -> None:
        """Say nothing until the other side has lost patience."""
        self.close_connection = True
        self.connection.recv(1, socket.MSG_PEEK)

    def _say(self, status: int, content: dict[str, Any]) -> None:
        self.answer(status, json.dumps(content).encode(), content_type="application/json")

    @contextmanager
    def _books(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with closing(sqlite3.connect(self.database, timeout=10)) as books:
            books.row_factory = sqlite3.Row
            books.execute("BEGIN IMMEDIATE")
            with books:
                yield books


def charge(books: sqlite3.Connection, key: str, asked: dict[str, Any]) -> sqlite3.Row:
    """What stands in the books under a key, after charging it if nothing did."""
    books.execute(
        "INSERT OR IGNORE INTO charges (key, order_id, card, cents, state) VALUES (?, ?, ?, ?, 'charged')",
        [key, asked["order_id"], asked["card"], asked["cents"]],
    )
    found: sqlite3.Row = books.execute("SELECT * FROM charges WHERE key = ?", [key]).fetchone()
    return found


def refund(books: sqlite3.Connection, key: str) -> None:
    """Give back what was charged under a key; it can be charged no more."""
    books.execute(
        "INSERT INTO charges (key, cents, state) VALUES (?, 0, 'refunded')"
        " ON CONFLICT (key) DO UPDATE SET state = 'refunded'",
        [key],
    )


def open_books(folder: Path) -> Path:
    """The database of the gateway, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "payments.db"
    with closing(sqlite3.connect(file)) as books:
        books.executescript(TABLES)
    return file


def main() -> None:
    options = serving.arguments(__doc__).parse_args()
    Gateway.database = open_books(options.folder)
    serving.serve(Gateway, options.port)


if __name__ == "__main__":
    main()
