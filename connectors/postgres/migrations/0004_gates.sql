-- What must not be sent any more. A gate is shut while it has at least one reason: a START lifts an opt-out, not a hard bounce.

CREATE TABLE gates (
    gate_key   text PRIMARY KEY,
    kind       text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE suppressions (
    gate_key   text NOT NULL REFERENCES gates ON DELETE CASCADE,
    reason     text NOT NULL,
    source     text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (gate_key, reason)
);
