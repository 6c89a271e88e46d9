-- Codes that prove that somebody reads an address. One open code an address; kept until it is used, or replaced.
CREATE TABLE address_codes (
    recipient    text NOT NULL REFERENCES recipients ON DELETE CASCADE,
    channel      text NOT NULL,
    address_hash text NOT NULL,
    code_hash    bytea NOT NULL,                         -- keyed: six digits would be found by trying
    sent_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    attempts     int NOT NULL DEFAULT 0,                 -- wrong ones, of this code
    day          date NOT NULL,
    sent_in_day  int NOT NULL,
    PRIMARY KEY (recipient, channel, address_hash)
);

CREATE INDEX address_codes_by_age ON address_codes (expires_at);
