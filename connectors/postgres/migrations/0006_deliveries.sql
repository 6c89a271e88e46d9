-- The attempt ledger, which is also the index by which a provider's receipt finds its recipient.

CREATE TABLE deliveries (
    delivery_id         text PRIMARY KEY,
    notification_id     text NOT NULL,
    recipient           text NOT NULL,
    clinic_id           text NOT NULL,
    notification_type   text NOT NULL,
    category            text NOT NULL,
    lane                text NOT NULL,
    channel             text NOT NULL,
    step                int NOT NULL,
    attempt             int NOT NULL CHECK (attempt >= 1),
    template_id         text NOT NULL,
    template_version    int NOT NULL,
    correlation_id      text,
    occurred_at         timestamptz NOT NULL,            -- the event's own time
    state               text NOT NULL CHECK (state IN ('attempting', 'accepted', 'retry', 'failed', 'unknown')),
    takeovers           int NOT NULL DEFAULT 0,          -- how often this attempt's lease ended without a result
    lease_until         timestamptz,                     -- of an attempt that is under way
    provider            text NOT NULL,
    provider_message_id text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80); -- each row is updated once or twice soon after it is made: leave room for it on its page

CREATE UNIQUE INDEX deliveries_by_provider ON deliveries (provider, provider_message_id)
    WHERE provider_message_id IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries USING brin (created_at);

-- Receipts that came before the ledger knew their message. Raw bodies hold phone numbers: sealed.
CREATE TABLE parked_receipts (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider            text NOT NULL,
    provider_message_id text NOT NULL,
    sealed              bytea NOT NULL,
    received_at         timestamptz NOT NULL DEFAULT now(),
    quarantined_at      timestamptz                      -- nobody claimed it in time: kept to be looked at
);

CREATE INDEX parked_receipts_by_message ON parked_receipts (provider, provider_message_id);
CREATE INDEX parked_receipts_by_age ON parked_receipts (received_at);
