-- Waitlist slots: one row says who holds a slot, and whoever changes that has the row's lock. See docs/waitlist.md.
CREATE TABLE waitlist_slots (
    clinic_id      text        NOT NULL,
    slot_id        text        NOT NULL,
    state          text        NOT NULL CHECK (state IN
                       ('unannounced', 'open', 'offered', 'claimed', 'exhausted', 'expired', 'withdrawn')),
    version        bigint      NOT NULL,               -- the highest aggregate_version of its events
    holder         text,                               -- a patient's id: whose offer it is, or whose slot
    offer_number   integer     NOT NULL,               -- of the latest offer
    offer_ends_at  timestamptz,
    due_at         timestamptz,                        -- when the coordinator looks at it next; NULL: never
    starts_at      timestamptz,
    window_seconds integer     NOT NULL,
    candidates     jsonb       NOT NULL,               -- [[patient id, standing, reason], …] in their order
    sealed         bytea,                              -- what it is: service, provider, day, time
    sealed_for     text,                               -- the clinic whose key sealed it
    correlation_id text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (clinic_id, slot_id),
    CHECK ((state IN ('offered', 'claimed')) = (holder IS NOT NULL)),
    CHECK ((state = 'offered') = (offer_ends_at IS NOT NULL))
);

CREATE INDEX waitlist_slots_due ON waitlist_slots (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX waitlist_slots_by_id ON waitlist_slots (slot_id);
CREATE INDEX waitlist_slots_by_change ON waitlist_slots (updated_at);

CREATE TABLE waitlist_offers (
    offer_id   uuid        PRIMARY KEY,
    code       text        NOT NULL UNIQUE,            -- of the link in its message
    clinic_id  text        NOT NULL,
    slot_id    text        NOT NULL,
    number     integer     NOT NULL,
    patient_id text        NOT NULL,
    made_at    timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    ended_at   timestamptz,
    outcome    text        CHECK (outcome IN ('claimed', 'declined', 'expired', 'taken', 'withdrawn')),
    UNIQUE (clinic_id, slot_id, number),
    UNIQUE (clinic_id, slot_id, patient_id),           -- nobody is asked twice
    CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    FOREIGN KEY (clinic_id, slot_id) REFERENCES waitlist_slots ON DELETE CASCADE
);

-- The database's own word for it: of a slot's offers at most one stands, or was claimed.
CREATE UNIQUE INDEX waitlist_offers_one_holder ON waitlist_offers (clinic_id, slot_id)
    WHERE outcome IS NULL OR outcome = 'claimed';
