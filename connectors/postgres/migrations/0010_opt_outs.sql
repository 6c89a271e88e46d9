-- Every no, and every yes again, that came by text, link or page: who, how, when, to what. See docs/opting-out.md.

CREATE TABLE opt_outs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT now(),
    action          text NOT NULL CHECK (action IN ('out', 'in')),
    path            text NOT NULL CHECK (path IN ('text', 'link', 'one_click', 'page')),
    actor           text NOT NULL,                       -- patient:<id> (whoever held the link), or the text's keyed hash
    recipients      text[] NOT NULL DEFAULT '{}',        -- whose wishes it changed; no reference: the proof outlives an erasure
    channel         text NOT NULL,
    scope           text NOT NULL,                       -- category:<opt-in>, channel, everything, sender:<class>[,<class>]
    address_hash    text,                                -- text: whose number, keyed
    message_id      text UNIQUE,                         -- text: the provider's id; the same text twice is one
    notification_id text                                 -- link: of the message that carried it
);

CREATE INDEX opt_outs_by_recipient ON opt_outs USING gin (recipients);

CREATE TRIGGER opt_outs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON opt_outs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
