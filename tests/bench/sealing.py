"""Sealing 500 bytes, as in one message: ours against bare AES-GCM without header, associated data and checks.

python -m tests.bench.sealing [--write build/bench.json]
"""

from __future__ import annotations

import argparse
from os import urandom
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connectors.sealing import DataKey, open_sealed, seal
from tests.bench.report import Figure, measure, rate, write

CALLS = 20_000
CONTENT_BYTES = 500
RECORD_ID = "6e8c5a52-9c1e-5a52-8f4b-0f6d3c1b2a11"
# Header, associated data and checks may cost as much again as the encryption itself, which takes about a microsecond.
GOAL = 0.5


def figures() -> list[Figure]:
    """Measure both directions; about ten seconds."""
    content = urandom(CONTENT_BYTES)
    key = DataKey(urandom(32), "patient:1")
    sealed = seal(key, "ChannelMessage", RECORD_ID, content)
    bare = AESGCM(urandom(32))
    nonce = urandom(12)
    encrypted = bare.encrypt(nonce, content, None)

    def seals() -> None:
        for _ in range(CALLS):
            seal(key, "ChannelMessage", RECORD_ID, content)

    def encrypts() -> None:
        for _ in range(CALLS):
            bare.encrypt(urandom(12), content, None)

    def opens() -> None:
        for _ in range(CALLS):
            open_sealed(key, "ChannelMessage", RECORD_ID, sealed)

    def decrypts() -> None:
        for _ in range(CALLS):
            bare.decrypt(nonce, encrypted, None)

    sealing = measure(seals, encrypts, units_per_call=CALLS)
    opening = measure(opens, decrypts, units_per_call=CALLS)
    return [
        rate("seal ÷ bare AES-GCM", *sealing, "records/s", GOAL),
        rate("open ÷ bare AES-GCM", *opening, "records/s", GOAL),
    ]


def main() -> None:
    """Print the figures, and add them to a report where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="report to add the figures to")
    arguments = parser.parse_args()
    found = figures()
    for figure in found:
        print(figure.line())
    if arguments.write:
        write(found, arguments.write)


if __name__ == "__main__":
    main()
