"""Explanations, without any store."""
