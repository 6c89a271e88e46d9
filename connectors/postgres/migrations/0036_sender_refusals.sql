-- Of a provider's account, or one of our senders there, that receipts say may not send: the calls themselves are accepted, so sinks
-- would go on. One row each; removed by the receipt of a text that arrived and was taken after the refusal.
CREATE TABLE sender_refusals (
    provider   text        NOT NULL,
    subject    text        NOT NULL,  -- account, or the class of sender: care, marketing
    code       text        NOT NULL,  -- the provider's
    clinic_id  text        NOT NULL,  -- whose message met it last
    refused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, subject)
);
