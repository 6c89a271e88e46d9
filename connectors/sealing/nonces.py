"""Random nonces, taken from the operating system a block at a time.

`os.urandom` lets other threads have the interpreter. In a process with busy ones (Kafka's clients, views, commits), getting it
back took longer than everything else about a seal: 66 µs of a request's 450 in intake, 340 µs of a message in notify.
"""

from __future__ import annotations

import os
from collections import deque

# 96 random bits: NIST SP 800-38D allows 2^32 seals a key; a recipient's key sees thousands, a clinic's strangers key millions.
NONCE_BYTES = 12
_BLOCK_NONCES = 512

# Appending and popping at an end are atomic, so that threads never get the same nonce; several may refill it at once.
_ready: deque[bytes] = deque()
# A child would give out its parent's nonces again.
os.register_at_fork(after_in_child=_ready.clear)


def nonce() -> bytes:
    """96 random bits, never given out before."""
    while True:
        try:
            return _ready.popleft()
        except IndexError:
            block = os.urandom(NONCE_BYTES * _BLOCK_NONCES)
            _ready.extend(block[start : start + NONCE_BYTES] for start in range(0, len(block), NONCE_BYTES))
