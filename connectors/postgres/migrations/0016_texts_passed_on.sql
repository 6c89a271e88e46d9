-- A YES from a number that was not opted out: a reply for the clinic's people, then and whenever it is posted again.
-- Kept without end, as opt_outs is: a provider's signature under a text names no time, and so does not grow old.

CREATE TABLE texts_passed_on (
    message_id text PRIMARY KEY,                         -- the provider's id
    at         timestamptz NOT NULL DEFAULT now()
);
