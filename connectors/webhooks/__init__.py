"""What providers post to us: signed receipts become statuses in the log."""
