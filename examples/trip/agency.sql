-- The travel agency's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS flights (
    flight TEXT PRIMARY KEY,
    seats  INTEGER NOT NULL CHECK (seats >= 0) -- still free
);
CREATE TABLE IF NOT EXISTS hotels (
    hotel   TEXT PRIMARY KEY,
    rooms   INTEGER NOT NULL CHECK (rooms >= 0), -- still free
    outages INTEGER NOT NULL DEFAULT 0 -- attempts at which its booking system is offline
);
CREATE TABLE IF NOT EXISTS bookings (
    booking   TEXT PRIMARY KEY,
    key       TEXT NOT NULL UNIQUE,
    flight    TEXT REFERENCES flights,
    hotel     TEXT REFERENCES hotels,
    traveller TEXT NOT NULL,
    state     TEXT NOT NULL DEFAULT 'booked' CHECK (state IN ('booked', 'cancelled')),
    CHECK ((flight IS NULL) <> (hotel IS NULL))
);
CREATE TABLE IF NOT EXISTS outbox (
    key       TEXT PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL
);

INSERT OR IGNORE INTO flights VALUES ('FC100', 3), ('FC200', 0);
INSERT OR IGNORE INTO hotels VALUES ('harbour', 2, 0), ('grand', 0, 0), ('lagoon', 2, 2);

COMMIT;
