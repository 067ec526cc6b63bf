-- The dashboard's tables and what they hold at first. Reading it twice does no harm.
-- What must always be true is a constraint here: no activity can get it wrong.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS sources (
    source  TEXT NOT NULL,
    region  TEXT NOT NULL,
    value   REAL,                         -- null if the source is down
    seconds REAL NOT NULL DEFAULT 0,      -- until it answers
    outages INTEGER NOT NULL DEFAULT 0,   -- attempts at which it is busy
    PRIMARY KEY (source, region)
);
CREATE TABLE IF NOT EXISTS pages (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL UNIQUE,
    region  TEXT NOT NULL,
    numbers TEXT, -- a JSON mapping
    state   TEXT NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'published', 'discarded')),
    CHECK (state <> 'published' OR numbers IS NOT NULL)
);
CREATE TABLE IF NOT EXISTS loads (
    key    TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('begun', 'loaded', 'refused', 'abandoned'))
);

-- On the island the stock is not known and visitors are counted by hand; in the south it is foggy; from the reef
-- there is hardly anything.
INSERT OR IGNORE INTO sources VALUES
    ('sales',     'north',  1250, 0.1, 0), ('sales',     'south',   830, 0.1, 1),
    ('stock',     'north',   310, 0.2, 0), ('stock',     'south',   120, 0.2, 0),
    ('visitors',  'north',  5400, 0.1, 0), ('visitors',  'south',   990, 0.1, 0),
    ('station',   'north',  21.5, 0.1, 0), ('station',   'south',  NULL,   0, 0),
    ('satellite', 'north',  21.0,  60, 0), ('satellite', 'south',  23.5, 0.3, 0),
    ('sales',     'island',   40, 0.1, 0), ('sales',     'reef',   NULL,   0, 0),
    ('stock',     'island', NULL, 0.3, 0), ('stock',     'reef',   NULL,   0, 0),
    ('visitors',  'island',   12,  60, 0), ('visitors',  'reef',      3,  60, 0),
    ('station',   'island', 19.5, 0.1, 0), ('station',   'reef',   18.0, 0.1, 0),
    ('satellite', 'island', 19.0,  60, 0), ('satellite', 'reef',   18.5,  60, 0);

COMMIT;
