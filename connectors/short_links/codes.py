"""Codes of short links, and the targets behind them: ``…/l/<code>``, and ``…/o/<code>.gif`` for the picture that counts openings.

A code is 64 bits of a keyed hash over delivery and place, in base 58: 11 characters (a text message has 160), the same however
often a message is rendered, and nobody's guess. Of 100 million links that live at once two share a code with a chance of 3 in
10,000; the older then keeps it. The target lies in Postgres, sealed for its code and delivery: a row that was put there, or
altered, by anybody else opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from cryptography.exceptions import InvalidTag

from connectors.sealing.keyring import KeyRing
from connectors.sealing.nonces import NONCE_BYTES, nonce

FOLLOW_PATH = "/l/"
OPENED_PATH = "/o/"
OPENED_SUFFIX = ".gif"
CODE_CHARACTERS = 11
# Base 58: no 0, O, I, l, which are mistaken for each other, and no punctuation, at which phones cut a link off.
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

_CODE_BYTES = 8
_KNOWN = frozenset(ALPHABET)

Kind = Literal["link", "picture"]


class TargetError(Exception):
    """A stored target that is not ours: altered, or another installation's. Tells nothing of it."""


class ShortLinks:
    """Names links, seals and opens their targets."""

    def __init__(self, ring: KeyRing, base_url: str) -> None:
        base = base_url.rstrip("/")
        self._prefixes = {"link": base + FOLLOW_PATH, "picture": base + OPENED_PATH}
        self._naming = ring.naming_key("short-link")
        self._sealing = ring.link_key("short-link")

    def code(self, delivery_id: str, place: str) -> str:
        """The code of one link of a delivery; ``place`` tells its links apart."""
        digest = hmac.new(self._naming, f"{delivery_id}\0{place}".encode(), hashlib.sha256).digest()
        number = int.from_bytes(digest[:_CODE_BYTES])
        digits = []
        for _ in range(CODE_CHARACTERS):
            number, digit = divmod(number, 58)
            digits.append(ALPHABET[digit])
        return "".join(digits)

    def url(self, kind: Kind, code: str) -> str:
        """The whole link of a code."""
        return self._prefixes[kind] + code + (OPENED_SUFFIX if kind == "picture" else "")

    @property
    def url_characters(self) -> int:
        """How long every link is."""
        return len(self._prefixes["link"]) + CODE_CHARACTERS

    def seal(self, code: str, delivery_id: str, target: str) -> bytes:
        """A target, for its row."""
        unique = nonce()
        return unique + self._sealing.encrypt(unique, target.encode(), _bound(code, delivery_id))

    def open(self, code: str, delivery_id: str, sealed: bytes) -> str:
        """The target of a row. Raises TargetError."""
        try:
            opened = self._sealing.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(code, delivery_id))
        except (InvalidTag, ValueError):
            raise TargetError("a link's target does not open") from None
        return opened.decode()


def is_code(text: str) -> bool:
    """Whether this can be a code at all: what cannot is not asked for."""
    return len(text) == CODE_CHARACTERS and _KNOWN.issuperset(text)


def _bound(code: str, delivery_id: str) -> bytes:
    return f"short-link\0{code}\0{delivery_id}".encode()
