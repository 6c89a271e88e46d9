"""The waitlist's coordinator: whose turn it is, and when. See docs/waitlist.md."""
