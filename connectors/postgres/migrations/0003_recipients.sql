-- Clinics, patients and staff: the system of record. Who someone is and what they wish lies sealed.

CREATE TABLE policies (
    clinic_id  text PRIMARY KEY,                         -- '*' stands in for clinics without a row
    version    bigint NOT NULL CHECK (version >= 1),
    content    jsonb NOT NULL,                           -- luxe.pipeline.ClinicPolicy without version, key and change
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL
);

CREATE TABLE recipients (
    recipient  text PRIMARY KEY CHECK (recipient ~ '^(patient|staff):.'),
    clinic_id  text NOT NULL,
    version    bigint NOT NULL,                          -- rises with every change; 0 only inside the transaction that makes it
    roles      text[] NOT NULL DEFAULT '{}',
    active     boolean NOT NULL DEFAULT true,
    sealed     bytea,                                    -- luxe.pipeline.RecipientContent; null when erased
    erased_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- By which addresses a recipient is reached, as keyed hashes: an inbound STOP names only a number.
CREATE TABLE addresses (
    channel      text NOT NULL,
    address_hash text NOT NULL,
    recipient    text NOT NULL REFERENCES recipients ON DELETE CASCADE,
    PRIMARY KEY (channel, address_hash, recipient)
);

CREATE INDEX addresses_by_recipient ON addresses (recipient);

-- Every consent ever given or withdrawn, as proof. The latest of each type is also in the recipient's sealed content.
CREATE TABLE consents (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient    text NOT NULL,                          -- no reference: the proof outlives an erasure
    consent_type text NOT NULL,
    status       text NOT NULL,
    consent_date timestamptz NOT NULL,
    method       text NOT NULL,
    source       text NOT NULL,
    expires_at   timestamptz,
    text_version text NOT NULL,
    version      int NOT NULL,
    updated_by   text NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX consents_by_recipient ON consents (recipient, consent_type, id);

CREATE TRIGGER consents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON consents
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
