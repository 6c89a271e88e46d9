"""Saying no."""
