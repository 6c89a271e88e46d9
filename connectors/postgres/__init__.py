"""Postgres, the system of record: recipients, policies, templates, suppressions, deliveries, and the outbox."""
