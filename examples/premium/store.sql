-- The store's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong. Amounts are in cents.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS customers (
    email   TEXT PRIMARY KEY,
    tier    TEXT NOT NULL CHECK (tier IN ('regular', 'premium')),
    city    TEXT NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS payments (
    key   TEXT PRIMARY KEY,
    email TEXT NOT NULL REFERENCES customers,
    cents INTEGER NOT NULL CHECK (cents >= 0),
    state TEXT NOT NULL DEFAULT 'paid' CHECK (state IN ('paid', 'refunded'))
);
CREATE TABLE IF NOT EXISTS supplies (
    what TEXT PRIMARY KEY,
    left INTEGER NOT NULL CHECK (left >= 0)
);
CREATE TABLE IF NOT EXISTS takings (
    key   TEXT PRIMARY KEY,
    what  TEXT NOT NULL REFERENCES supplies,
    state TEXT NOT NULL DEFAULT 'taken' CHECK (state IN ('taken', 'returned'))
);
CREATE TABLE IF NOT EXISTS routes (
    service TEXT NOT NULL CHECK (service IN ('priority', 'standard')),
    city    TEXT NOT NULL,
    days    INTEGER NOT NULL,
    PRIMARY KEY (service, city)
);
CREATE TABLE IF NOT EXISTS parcels (
    tracking TEXT PRIMARY KEY,
    key      TEXT NOT NULL UNIQUE,
    service  TEXT NOT NULL,
    city     TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'recalled')),
    FOREIGN KEY (service, city) REFERENCES routes
);
CREATE TABLE IF NOT EXISTS cards (
    key  TEXT PRIMARY KEY,
    text TEXT NOT NULL CHECK (length(text) <= 40)
);

-- No van goes to the island, and no post to the moon: both can be tried.
INSERT OR IGNORE INTO customers VALUES
    ('ada@example.com', 'premium', 'harbour', 500000), ('grace@example.com', 'premium', 'island', 500000),
    ('mary@example.com', 'premium', 'moon', 500000), ('alan@example.com', 'premium', 'harbour', 10500),
    ('charles@example.com', 'regular', 'harbour', 500000);
INSERT OR IGNORE INTO supplies VALUES ('paper', 5), ('ribbon', 5), ('van', 2);
INSERT OR IGNORE INTO routes VALUES
    ('priority', 'harbour', 1), ('standard', 'harbour', 4), ('standard', 'island', 6);

COMMIT;
