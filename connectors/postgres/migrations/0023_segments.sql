-- Time-driven selections: what is known of patients from events, what the scanner looked at, and what it told. See docs/segments.md.

-- Last visit, bookings: folded from events, one small row a patient.
CREATE TABLE patient_standings (
    recipient   text        PRIMARY KEY,    -- not a reference: events may come before the person's record
    key_subject text        NOT NULL,       -- whose data key seals it: hers, or the clinic's for people without a record
    sealed      bytea       NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- How far the projection has read: written in the transaction of what it read.
CREATE TABLE projection_positions (
    projection  text    NOT NULL,
    topic_id    text    NOT NULL,           -- a recreated topic starts anew
    partition   integer NOT NULL,
    topic       text    NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (projection, topic_id, partition)
);

-- A look at one segment in one clinic on one of its days. The cursor is the last recipient looked at.
CREATE TABLE segment_runs (
    segment     text        NOT NULL,
    clinic_id   text        NOT NULL,
    day         date        NOT NULL,
    cursor      text        NOT NULL DEFAULT '',
    scanned     bigint      NOT NULL DEFAULT 0,
    emitted     bigint      NOT NULL DEFAULT 0,
    repeated    bigint      NOT NULL DEFAULT 0,     -- told before, in the same period
    missed      bigint      NOT NULL DEFAULT 0,     -- no longer useful when looked at
    unreadable  bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (segment, clinic_id, day)
);

-- Once per segment, subject and period: the event's id is a keyed hash of the three, so that a day of a visit cannot be guessed.
CREATE TABLE segment_emitted (
    event_id   uuid        PRIMARY KEY,
    segment    text        NOT NULL,
    recipient  text        NOT NULL,
    emitted_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX segment_emitted_by_recipient ON segment_emitted (recipient);
CREATE INDEX segment_emitted_by_age ON segment_emitted USING brin (emitted_at);
CREATE INDEX recipients_by_clinic ON recipients (clinic_id, recipient);
