-- In-app messages: what lies in a person's inbox, and how far it has come. See docs/adr/0016-in-app.md.

-- A person's inbox has a version that rises with every change of it. Whoever changes an item first changes, and so holds, this row
-- until the commit: the versions of one inbox become visible in their order, and a reader who has seen one has seen all before it.
CREATE TABLE inboxes (
    recipient text PRIMARY KEY,
    version   bigint NOT NULL,
    forgotten bigint NOT NULL DEFAULT 0                  -- highest version of what housekeeping has deleted
);

CREATE TABLE inbox_items (
    recipient         text NOT NULL,
    notification_id   text NOT NULL,
    number            bigint NOT NULL,                   -- the inbox's version when it came: its place in the list
    version           bigint NOT NULL,                   -- the inbox's version when it last changed
    -- What its later statuses say of it.
    delivery_id       text NOT NULL,
    event_id          text NOT NULL,
    clinic_id         text NOT NULL,
    notification_type text NOT NULL,
    category          text NOT NULL,
    lane              text NOT NULL,
    step              int NOT NULL,
    attempt           int NOT NULL,
    template_id       text NOT NULL,
    template_version  int NOT NULL,
    correlation_id    text,
    occurred_at       timestamptz NOT NULL,              -- the event's own time
    group_key         text NOT NULL,                     -- what it is about: <aggregate type>:<aggregate id>
    acknowledge       text NOT NULL CHECK (acknowledge IN ('none', 'own', 'shared')),
    locale            text NOT NULL,
    sealed            bytea NOT NULL,                    -- luxe.pipeline.MessageContent (type ChannelMessage, id delivery_id)
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,              -- past it, it is in no list and no count, and is deleted
    seen_at           timestamptz,
    read_at           timestamptz,
    first_read_at     timestamptz,                       -- told once, however often it is marked as unread again
    archived_at       timestamptz,
    snoozed_until     timestamptz,
    acknowledged_at   timestamptz,
    acknowledged_by   text,                              -- whoever of those it was sent to took it: staff:<id>
    PRIMARY KEY (recipient, notification_id)
);

CREATE UNIQUE INDEX inbox_items_by_number ON inbox_items (recipient, number);
CREATE UNIQUE INDEX inbox_items_by_version ON inbox_items (recipient, version);
CREATE INDEX inbox_items_unread ON inbox_items (recipient, number) WHERE read_at IS NULL AND archived_at IS NULL;
CREATE INDEX inbox_items_by_group ON inbox_items (recipient, group_key, number);
CREATE INDEX inbox_items_by_expiry ON inbox_items (expires_at);
-- The same alert in the inboxes of all whom it was sent to.
CREATE INDEX inbox_items_shared ON inbox_items (event_id, notification_type) WHERE acknowledge = 'shared';
