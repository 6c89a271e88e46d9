-- The transactional outbox: what must reach Kafka is written with the change it tells of. See docs/adr/0005-outbox.md.

CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic        text NOT NULL,
    key          bytea NOT NULL,
    value        bytea,                                  -- null: a tombstone
    headers      jsonb NOT NULL DEFAULT '{}',            -- name → text
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);

-- What the relay reads: stays small however much was published.
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;

-- Ids are given at insert, rows appear at commit: a reader could see id 8 before id 7. Every writer therefore holds this lock,
-- shared with other writers, from before its first id until its end; the relay looks who holds it (outbox.py names the same
-- number) and waits for those who did when it saw the highest id.
CREATE FUNCTION outbox_before_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7305808869232275);
    RETURN NULL;
END $$;

CREATE FUNCTION outbox_after_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('luxe_outbox', '');
    RETURN NULL;
END $$;

-- Before a statement's first row is made, so before its first id is given.
CREATE TRIGGER outbox_lock BEFORE INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_before_insert();
CREATE TRIGGER outbox_wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_after_insert();

-- Whoever publishes this database's outbox does so under this Kafka transactional id, and so fences whoever did before.
CREATE TABLE outbox_publisher (
    transactional_id text NOT NULL DEFAULT 'luxe-outbox-' || gen_random_uuid()
);
INSERT INTO outbox_publisher DEFAULT VALUES;
