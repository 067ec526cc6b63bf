-- The bank's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong. Amounts are in cents.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS cards (
    card         TEXT PRIMARY KEY,
    credit       INTEGER NOT NULL,
    available    INTEGER NOT NULL CHECK (available >= 0),
    held         INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
    charged      INTEGER NOT NULL DEFAULT 0 CHECK (charged >= 0),
    blocked      INTEGER NOT NULL DEFAULT 0,
    late_answers INTEGER NOT NULL DEFAULT 0, -- attempts to charge whose answer comes too late
    CHECK (available + held + charged = credit) -- money moves, it is never made or lost
);
CREATE TABLE IF NOT EXISTS holds (
    id    INTEGER PRIMARY KEY,
    key   TEXT NOT NULL UNIQUE,
    card  TEXT NOT NULL REFERENCES cards,
    cents INTEGER NOT NULL CHECK (cents > 0),
    state TEXT NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'charged', 'released'))
);
CREATE TABLE IF NOT EXISTS charges (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL UNIQUE,
    hold_id INTEGER REFERENCES holds,
    state   TEXT NOT NULL CHECK (state IN ('charged', 'refunded', 'void'))
);
CREATE TABLE IF NOT EXISTS receipts (
    key       TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    charge_id INTEGER NOT NULL REFERENCES charges
);

INSERT OR IGNORE INTO cards (card, credit, available, blocked, late_answers) VALUES
    ('plenty',  100000, 100000, 0, 0),
    ('empty',      100,    100, 0, 0),
    ('blocked', 100000, 100000, 1, 0),
    ('slow',    100000, 100000, 0, 1),
    ('stuck',   100000, 100000, 0, 99);

COMMIT;
