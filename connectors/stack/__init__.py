"""The local stack: Kafka, Postgres, a loopback provider and our own processes, started and kept alive without Docker."""
