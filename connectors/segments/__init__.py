"""Segments: time-driven selections that no event announces, found in Postgres and told as events. See docs/segments.md."""
