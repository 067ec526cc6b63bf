-- The market's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong. Amounts are in cents.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS sellers (
    id      INTEGER PRIMARY KEY,
    owed    INTEGER NOT NULL, -- every month
    closed  INTEGER NOT NULL, -- whether the account is
    hiccups INTEGER NOT NULL  -- attempts at which the bank does not answer
);
CREATE TABLE IF NOT EXISTS funds (
    fund    TEXT PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS payouts (
    key    TEXT PRIMARY KEY,
    seller INTEGER NOT NULL REFERENCES sellers,
    month  TEXT NOT NULL,
    fund   TEXT NOT NULL REFERENCES funds,
    cents  INTEGER NOT NULL,
    state  TEXT NOT NULL DEFAULT 'paid' CHECK (state IN ('paid', 'taken back'))
);
-- Nobody is paid twice for a month, whoever asks.
CREATE UNIQUE INDEX IF NOT EXISTS once ON payouts (seller, month) WHERE state = 'paid';
CREATE TABLE IF NOT EXISTS called_off (
    key TEXT PRIMARY KEY -- of payments that were taken back, wherever they were by then
);
CREATE TABLE IF NOT EXISTS statements (
    key   TEXT PRIMARY KEY,
    month TEXT NOT NULL,
    last  INTEGER NOT NULL REFERENCES sellers,
    cents INTEGER NOT NULL
);

-- A thousand sellers. Every 97th has closed the account, the bank of every 250th is slow to answer.
INSERT INTO sellers
WITH RECURSIVE number (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM number WHERE id < 1000)
SELECT id, 1000 + id % 10 * 100, id % 97 = 0, id % 250 = 0 FROM number
WHERE NOT EXISTS (SELECT 1 FROM sellers);
-- The small fund lasts for two hundred sellers and a half.
INSERT OR IGNORE INTO funds VALUES ('large', 100000000), ('small', 350000);

COMMIT;
