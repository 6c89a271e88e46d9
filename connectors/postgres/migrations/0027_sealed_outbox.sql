-- Events written by our own services: their value is sealed here, and opened by the relay (outbox_sealing.py).
ALTER TABLE outbox ADD COLUMN sealed boolean NOT NULL DEFAULT false;
