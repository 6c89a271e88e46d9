"""Saying no: links that carry who may say it, what a no changes, and the one place where every no is carried out."""
