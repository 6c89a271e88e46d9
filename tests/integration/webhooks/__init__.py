"""Texts from phones."""
