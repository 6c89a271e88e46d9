-- Wrapped data keys. Destroying one row here erases what was sealed for its subject, everywhere. See docs/adr/0004-sealed-phi.md.

CREATE TABLE key_encryption_keys (
    kek_id     text NOT NULL PRIMARY KEY,
    retired    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kek_id, retired)
);

CREATE TABLE data_keys (
    subject     text PRIMARY KEY,                        -- patient:<id>, staff:<id> or clinic:<id>
    clinic_id   text NOT NULL,
    kek_id      text NOT NULL,
    -- Always false: with the foreign key below, no row can be, or come to be, wrapped by a retired key.
    kek_retired boolean NOT NULL DEFAULT false CHECK (NOT kek_retired),
    wrapped     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    wrapped_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (kek_id, kek_retired) REFERENCES key_encryption_keys (kek_id, retired)
);

CREATE INDEX data_keys_by_kek ON data_keys (kek_id, subject);

-- Who did what with keys. Appended to, never changed.
CREATE TABLE key_audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    action  text NOT NULL CHECK (action IN ('rotate', 'retire', 'erase')),
    subject text NOT NULL,                               -- a recipient key or a key-encryption key's id
    actor   text NOT NULL,
    detail  text NOT NULL DEFAULT ''
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is appended to, never changed', TG_TABLE_NAME;
END $$;

CREATE TRIGGER key_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON key_audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
