"""Sealing: round trips, refusals that say why without saying what, and the key ring's file."""
