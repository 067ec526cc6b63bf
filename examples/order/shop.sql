-- The shop's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS stock (
    sku       TEXT PRIMARY KEY,
    on_shelf  INTEGER NOT NULL CHECK (on_shelf >= 0),
    weight_kg REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS reservations (
    id    INTEGER PRIMARY KEY,
    key   TEXT NOT NULL UNIQUE,
    items TEXT NOT NULL, -- a JSON list of sku
    state TEXT NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'shipped', 'released'))
);
CREATE TABLE IF NOT EXISTS accounts (
    email   TEXT PRIMARY KEY,
    balance INTEGER NOT NULL DEFAULT 500000 CHECK (balance >= 0), -- in cents
    hiccups INTEGER NOT NULL DEFAULT 0 -- attempts at which the payment gateway is unavailable
);
CREATE TABLE IF NOT EXISTS charges (
    id    INTEGER PRIMARY KEY,
    key   TEXT NOT NULL UNIQUE,
    email TEXT REFERENCES accounts,
    cents INTEGER NOT NULL CHECK (cents >= 0),
    state TEXT NOT NULL CHECK (state IN ('charged', 'refunded', 'void'))
);
CREATE TABLE IF NOT EXISTS shipments (
    tracking       TEXT PRIMARY KEY,
    key            TEXT NOT NULL UNIQUE,
    reservation_id INTEGER NOT NULL REFERENCES reservations,
    state          TEXT NOT NULL DEFAULT 'shipped' CHECK (state IN ('shipped', 'cancelled'))
);
CREATE TABLE IF NOT EXISTS outbox (
    key       TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL
);

INSERT OR IGNORE INTO stock VALUES ('lamp', 10, 2), ('kettle', 5, 1.5), ('piano', 1, 280), ('unicorn', 0, 400);
INSERT OR IGNORE INTO accounts VALUES ('ada@example.com', 500000, 0), ('grace@example.com', 500000, 2), ('poor@example.com', 100, 0);

COMMIT;
