-- Interactive writes (the API, the webhooks) do not wait behind an import. See docs/adr/0005-outbox.md.

-- A pool says once for all its connections that its writers are interactive: no writer in between has to pass it on.
ALTER TABLE outbox ADD COLUMN urgent boolean NOT NULL DEFAULT coalesce(current_setting('luxe.urgent', true), '') = 'on';

CREATE INDEX outbox_urgent ON outbox (id) WHERE published_at IS NULL AND urgent;
-- What must not be overtaken: older rows of an urgent row's key.
CREATE INDEX outbox_unpublished_by_key ON outbox (topic, key, id) WHERE published_at IS NULL;
