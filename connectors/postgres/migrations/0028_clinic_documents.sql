-- Clinics' own blank forms, which emails may carry. No patient's data. See docs/runbooks/documents.md.

CREATE TABLE clinic_documents (
    clinic_id   text        NOT NULL,       -- of policies, as it is added
    form_key    text        NOT NULL,       -- the form's name as it is compared: without regard to capitals and spaces
    form        text        NOT NULL,       -- the name as events (forms.due) write it
    filename    text        NOT NULL,
    content     bytea       NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 5242880),
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    phi_level   smallint    NOT NULL DEFAULT 3 CHECK (phi_level BETWEEN 1 AND 3),
    uploaded_at timestamptz NOT NULL DEFAULT now(),
    uploaded_by text        NOT NULL,
    PRIMARY KEY (clinic_id, form_key)
);

-- It is compressed already: Postgres need not try.
ALTER TABLE clinic_documents ALTER COLUMN content SET STORAGE EXTERNAL;
