"""Exports of practice systems (CSV) turned into domain events and recipients, as a map file says. See docs/producers-guide.md."""
