"""The sealed form of a record's PHI, and the data key that makes and opens it. Pure but for the random nonce.

``sealed`` = version byte 0x01 · scope byte (``r`` the recipient's key, ``c`` the clinic's strangers key) · key id (8 bytes) ·
nonce (12 bytes) · AES-256-GCM ciphertext and tag. Associated data: record type · NUL · record id, so that a sealed field cannot
be moved to another record.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connectors.sealing.nonces import NONCE_BYTES
from connectors.sealing.nonces import nonce as next_nonce

Scope = Literal["r", "c"]
SealErrorCode = Literal[
    "truncated", "unknown_version", "unknown_scope", "wrong_key", "unauthentic", "unknown_kek", "wrong_subject"
]

VERSION = 1
KEY_BYTES = 32  # AES-256
KEY_ID_BYTES = 8
TAG_BYTES = 16
HEADER_BYTES = 2 + KEY_ID_BYTES
_BODY_START = HEADER_BYTES + NONCE_BYTES
OVERHEAD_BYTES = _BODY_START + TAG_BYTES

CLINIC_SUBJECT_PREFIX = "clinic:"


class SealError(Exception):
    """Something sealed, or a wrapped key, cannot be opened. The message names type, code and shapes, never content or id."""

    def __init__(self, code: SealErrorCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code: SealErrorCode = code


class SealHeader(NamedTuple):
    """Which key a sealed field needs."""

    scope: Scope
    key_id: bytes


class DataKey:
    """An unwrapped data key, ready to use. Never printed; held only in memory."""

    __slots__ = ("aead", "header", "key_id", "scope", "subject")

    def __init__(self, key: bytes, subject: str) -> None:
        """``key``: 32 bytes. ``subject``: a recipient key, or ``clinic:<clinic_id>`` for the clinic's strangers key."""
        self.aead = AESGCM(key)
        self.key_id = hashlib.sha256(b"luxe-key-id\0" + key).digest()[:KEY_ID_BYTES]
        self.scope: Scope = "c" if subject.startswith(CLINIC_SUBJECT_PREFIX) else "r"
        self.subject = subject
        self.header = bytes((VERSION, ord(self.scope))) + self.key_id

    def __repr__(self) -> str:
        return f"DataKey(scope={self.scope!r}, key_id={self.key_id.hex()})"


def seal(key: DataKey, record_type: str, record_id: str, plaintext: bytes) -> bytes:
    """Seal one record's PHI; 38 bytes longer than ``plaintext``."""
    nonce = next_nonce()
    return key.header + nonce + key.aead.encrypt(nonce, plaintext, f"{record_type}\0{record_id}".encode())


def open_sealed(key: DataKey, record_type: str, record_id: str, sealed: bytes) -> bytes:
    """The plaintext. Raises SealError: truncated, unknown_version, unknown_scope, wrong_key, unauthentic."""
    if len(sealed) < OVERHEAD_BYTES or sealed[:HEADER_BYTES] != key.header:
        raise _mismatch(key, record_type, record_id, sealed)
    try:
        return key.aead.decrypt(
            sealed[HEADER_BYTES:_BODY_START], sealed[_BODY_START:], f"{record_type}\0{record_id}".encode()
        )
    except InvalidTag:
        raise SealError(
            "unauthentic",
            f"{_shape(record_type, record_id, sealed)} was altered, cut, or belongs to another record; "
            "restore the record from its source",
        ) from None


def header_of(sealed: bytes) -> SealHeader:
    """Scope and id of the key that ``sealed`` needs. Raises SealError: truncated, unknown_version, unknown_scope."""
    if len(sealed) < OVERHEAD_BYTES:
        raise SealError("truncated", f"a sealed field has at least {OVERHEAD_BYTES} bytes, this has {len(sealed)}")
    if sealed[0] != VERSION:
        raise SealError("unknown_version", f"sealed by version {sealed[0]} of the form, this program knows {VERSION}")
    key_id = bytes(sealed[2:HEADER_BYTES])
    if sealed[1] == ord("r"):
        return SealHeader("r", key_id)
    if sealed[1] == ord("c"):
        return SealHeader("c", key_id)
    raise SealError("unknown_scope", f"scope byte {sealed[1]} is neither r (recipient) nor c (clinic)")


def _mismatch(key: DataKey, record_type: str, record_id: str, sealed: bytes) -> SealError:
    """Why ``sealed`` cannot be this key's."""
    try:
        wanted = header_of(sealed)
    except SealError as error:
        return SealError(error.code, f"{_shape(record_type, record_id, sealed)}: {error}")
    return SealError(
        "wrong_key",
        f"{_shape(record_type, record_id, sealed)} needs key {wanted.key_id.hex()} of scope {wanted.scope}, "
        f"was given {key.key_id.hex()} of scope {key.scope}",
    )


def _shape(record_type: str, record_id: str, sealed: bytes) -> str:
    return f"{record_type} (id of {len(record_id)} characters, {len(sealed)} sealed bytes)"
