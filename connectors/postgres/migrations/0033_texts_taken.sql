-- Texts from phones that were taken, by webhook or sweep, and how far the sweep has looked (connectors/webhooks/sweep.py).
-- Not text_answers or opt_outs: those are written before Kafka has what follows, these rows after. Kept 45 days (housekeeping.py).

CREATE TABLE texts_taken (
    message_id text PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX texts_taken_by_age ON texts_taken (at);

CREATE TABLE inbound_sweep (
    one_row  boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    through  timestamptz NOT NULL,  -- everything that the provider received before is taken
    swept_at timestamptz NOT NULL   -- when a sweep was last whole
);

-- What came before this table is not in it, and would be taken a second time.
INSERT INTO inbound_sweep (through, swept_at) VALUES (now(), now());
