"""Postgres, sealing, outbox and relay against real servers."""
