CREATE TABLE accounts (
    email TEXT PRIMARY KEY,
    password TEXT NOT NULL CHECK (password LIKE '$argon2id$%'),
    token TEXT,                          -- the hash of it: who reads this table cannot open anybody's link
    run TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'active'))
);
