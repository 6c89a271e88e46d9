-- Texts that asked to be answered by text, and what was made of the answers. See docs/replying.md.

CREATE TABLE text_questions (
    delivery_id       text PRIMARY KEY,                  -- not a reference: a question outlives its row in the ledger
    address_hash      text NOT NULL,                     -- of the number it went to, keyed
    sender_class      text NOT NULL,
    recipient         text NOT NULL,                     -- erased with them
    clinic_id         text NOT NULL,
    aggregate_type    text NOT NULL,
    aggregate_id      text NOT NULL,
    aggregate_version bigint NOT NULL,
    correlation_id    text,
    starts_at         timestamptz NOT NULL,              -- after it there is nothing to confirm
    sealed            bytea NOT NULL,                    -- luxe.pipeline.AskedAppointment, for its recipient
    asked_at          timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX text_questions_by_number ON text_questions (address_hash, sender_class, starts_at);
CREATE INDEX text_questions_by_recipient ON text_questions (recipient);
CREATE INDEX text_questions_by_start ON text_questions (starts_at);

-- The same text posted again means what it meant at first. Kept without end, as texts_passed_on is, and for the same reason.
CREATE TABLE text_answers (
    message_id        text PRIMARY KEY,                  -- the provider's id
    at                timestamptz NOT NULL DEFAULT now(),
    meant             text NOT NULL CHECK (meant IN ('confirm', 'reschedule')),
    possible          int NOT NULL,                      -- how many appointments it could be about
    delivery_id       text,                              -- the question that it answers; NULL: it is for people
    aggregate_id      text,
    aggregate_version bigint
);

CREATE INDEX text_answers_by_question ON text_answers (delivery_id) WHERE delivery_id IS NOT NULL;
