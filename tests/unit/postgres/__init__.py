"""Postgres' side, as far as it is pure: recipients files."""
