-- Which form was on file when: what a person was sent can be told after it was replaced or removed. Rows are only added.

CREATE TABLE clinic_document_history (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    clinic_id  text        NOT NULL,
    form_key   text        NOT NULL,
    form       text        NOT NULL,
    filename   text        NOT NULL,
    sha256     bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    phi_level  smallint    NOT NULL,
    change     text        NOT NULL CHECK (change IN ('put', 'removed')),
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text        NOT NULL
);

CREATE INDEX clinic_document_history_by_form ON clinic_document_history (clinic_id, form_key, id);

CREATE FUNCTION clinic_document_history_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'clinic_document_history: rows are only added';
END
$$;

CREATE TRIGGER clinic_document_history_is_kept
    BEFORE UPDATE OR DELETE ON clinic_document_history
    FOR EACH ROW EXECUTE FUNCTION clinic_document_history_is_kept();

INSERT INTO clinic_document_history (clinic_id, form_key, form, filename, sha256, phi_level, change, changed_at, changed_by)
SELECT clinic_id, form_key, form, filename, sha256, phi_level, 'put', uploaded_at, uploaded_by
FROM clinic_documents ORDER BY uploaded_at;
