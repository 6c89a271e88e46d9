-- Short links of ours in messages that were sent: where each leads, and of which delivery it is.
CREATE TABLE short_links (
    code        text        PRIMARY KEY,
    delivery_id text        NOT NULL,    -- not a reference: a link outlives its row in the ledger
    recipient   text        NOT NULL,    -- erased with them
    target      bytea,                   -- the URL, sealed for code and delivery; NULL: the picture that counts openings
    counted     boolean     NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);

CREATE INDEX short_links_by_recipient ON short_links (recipient);
CREATE INDEX short_links_by_end ON short_links (expires_at);
