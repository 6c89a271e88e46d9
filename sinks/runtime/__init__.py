"""The delivery runtime: from a lane's log to a provider's call and back, the same for every channel."""
