"""The API on the real stack."""
