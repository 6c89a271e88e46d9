-- A no, and a yes again, that was said to the provider and told us by it: docs/opting-out.md.

ALTER TABLE opt_outs DROP CONSTRAINT opt_outs_path_check;
ALTER TABLE opt_outs ADD CONSTRAINT opt_outs_path_check CHECK (path IN ('text', 'link', 'one_click', 'page', 'provider'));

-- What was said of an address is looked up before what a provider says of it counts.
CREATE INDEX opt_outs_by_address ON opt_outs (address_hash, at) WHERE address_hash IS NOT NULL;
