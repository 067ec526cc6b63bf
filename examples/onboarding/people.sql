-- The company's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS accounts (
    email TEXT PRIMARY KEY,
    key   TEXT NOT NULL UNIQUE, -- of the call that opened it, or opened it again
    name  TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed'))
);
CREATE TABLE IF NOT EXISTS laptops (
    serial TEXT PRIMARY KEY,
    model  TEXT NOT NULL,
    owner  TEXT REFERENCES accounts, -- null in the cupboard
    key    TEXT UNIQUE               -- of the call that gave it to its owner
);
CREATE TABLE IF NOT EXISTS systems (
    system TEXT PRIMARY KEY,
    seats  INTEGER NOT NULL CHECK (seats >= 0) -- paid for and still free
);
CREATE TABLE IF NOT EXISTS access (
    email  TEXT NOT NULL REFERENCES accounts,
    system TEXT NOT NULL REFERENCES systems,
    key    TEXT NOT NULL UNIQUE, -- of the call that granted it
    PRIMARY KEY (email, system)
);
CREATE TABLE IF NOT EXISTS outbox (
    key       TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL
);

-- No strong laptop is left, and no seat for customers: both can be tried.
INSERT OR IGNORE INTO accounts VALUES ('boss@example.com', 'before flowctl', 'Boss', 'open');
INSERT OR IGNORE INTO laptops VALUES
    ('S-1', 'standard', NULL, NULL), ('S-2', 'standard', NULL, NULL), ('S-3', 'standard', NULL, NULL),
    ('L-1', 'light', NULL, NULL), ('X-1', 'strong', 'boss@example.com', 'before flowctl');
INSERT OR IGNORE INTO systems VALUES ('repositories', 3), ('customers', 0), ('timesheets', 9);

COMMIT;
