"""The HTTP API: what patients, staff and systems may read and change, and nothing that they may not."""
