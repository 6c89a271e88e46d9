"""Open connections to inboxes: woken by Kafka, fed from Postgres, over WebSocket or server-sent events."""
