-- What somebody asked to be sent, through the API: the store of idempotency keys, and how a cancellation finds its notification
-- before ClickHouse knows of it.

CREATE TABLE asked_notifications (
    request_id        text PRIMARY KEY,                  -- made of the caller and the idempotency key, which is kept nowhere
    body_hash         bytea NOT NULL,                    -- keyed: a body may be a sentence that is easily guessed
    notification_id   text NOT NULL,
    notification_type text NOT NULL,
    recipient         text NOT NULL,
    clinic_id         text NOT NULL,
    asked_at          timestamptz NOT NULL,
    outbox_id         bigint                             -- of its event; not a reference: the outbox forgets what is in Kafka
);

CREATE INDEX asked_notifications_by_notification ON asked_notifications (notification_id);
CREATE INDEX asked_notifications_by_age ON asked_notifications USING brin (asked_at);
