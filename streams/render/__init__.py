"""Rendering: templates, variables and formats. Pure: no clock, no I/O; ``now`` and every fact are arguments."""
