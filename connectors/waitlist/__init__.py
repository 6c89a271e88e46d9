"""A waitlist's slots: who holds one, what changes that, and how it is kept. See docs/waitlist.md."""
