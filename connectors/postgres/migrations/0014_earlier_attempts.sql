-- What a provider called earlier attempts of a delivery that was tried again after it had been accepted (a handset switched off, a
-- full mailbox): their late receipts are told from the present attempt's, and their messages are not taken for its own.
ALTER TABLE deliveries ADD COLUMN earlier_message_ids text[] NOT NULL DEFAULT '{}';
CREATE INDEX deliveries_earlier_messages ON deliveries USING gin (earlier_message_ids) WHERE earlier_message_ids <> '{}';
