-- For which address a consent was given or withdrawn, where it was said: proof of what a number or an email agreed to.
ALTER TABLE consents ADD COLUMN address_hash text;       -- keyed, as in addresses
