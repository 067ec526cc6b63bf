-- Constraints hold whatever happens: nothing is reserved, or sold, that is not there.
CREATE TABLE stock (
    sku TEXT PRIMARY KEY,
    cents INTEGER NOT NULL,
    on_hand INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND on_hand)
);
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    email TEXT NOT NULL,
    cents INTEGER,
    charge TEXT,
    state TEXT NOT NULL DEFAULT 'accepted' CHECK (state IN ('accepted', 'placed'))
);
CREATE TABLE reservations (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders,
    sku TEXT NOT NULL REFERENCES stock,
    quantity INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reserved', 'sold'))
);
INSERT INTO stock (sku, cents, on_hand) VALUES ('lamp', 3990, 10), ('desk', 24900, 3), ('chair', 8950, 0);
