"""Why somebody did, or did not, get a notification: what the pipeline recorded, what was said before, and one plain sentence."""
