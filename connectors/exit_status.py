"""How a process of ours ends, where whoever starts it goes by that."""

from __future__ import annotations

# EX_CONFIG of sysexits.h: it cannot run with these settings, and to start it again at once changes nothing.
EXIT_SETTINGS = 78
