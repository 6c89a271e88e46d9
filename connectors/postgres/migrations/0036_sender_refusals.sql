-- Of a provider's account, or one of our senders there, that receipts say may not send: the calls themselves are accepted, so sinks
-- would go on. One row each. Both times are of messages, when the provider took them: the last one that was refused, and one that
-- arrived; what was taken later counts, in whichever order, and however often, receipts come. It stands while no arrival is later.
CREATE TABLE sender_refusals (
    provider   text        NOT NULL,
    subject    text        NOT NULL,  -- account, or the class of sender: care, marketing
    code       text        NOT NULL,  -- the provider's
    clinic_id  text        NOT NULL,  -- whose message met it last
    refused_at timestamptz NOT NULL,
    arrived_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (provider, subject)
);
