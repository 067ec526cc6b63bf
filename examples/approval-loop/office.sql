-- The office's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong. Amounts are in cents.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS budgets (
    department TEXT PRIMARY KEY,
    granted    INTEGER NOT NULL,
    free       INTEGER NOT NULL CHECK (free >= 0),
    aside      INTEGER NOT NULL DEFAULT 0 CHECK (aside >= 0), -- for requests that are not decided yet
    spent      INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    CHECK (free + aside + spent = granted) -- money moves, it is never made or lost
);
CREATE TABLE IF NOT EXISTS requests (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    department TEXT NOT NULL REFERENCES budgets,
    item       TEXT NOT NULL,
    cents      INTEGER NOT NULL CHECK (cents > 0),
    state      TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'ordered', 'withdrawn'))
);
CREATE TABLE IF NOT EXISTS revisions (
    key        TEXT PRIMARY KEY,
    request_id INTEGER NOT NULL REFERENCES requests,
    cents      INTEGER NOT NULL CHECK (cents > 0)
);
CREATE TABLE IF NOT EXISTS discontinued (
    item TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS outbox (
    key       TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL
);

INSERT OR IGNORE INTO budgets (department, granted, free) VALUES ('research', 100000, 100000), ('archive', 5000, 5000);
INSERT OR IGNORE INTO discontinued VALUES ('fax');

COMMIT;
