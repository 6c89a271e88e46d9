"""Sealing of PHI: a data key per recipient, wrapped by the clinic's key-encryption key, seals what describes a person."""

from connectors.sealing.cache import KeyCache
from connectors.sealing.keyring import KeyRing, KeyRingError, ensure_key_ring
from connectors.sealing.sealed import (
    DataKey,
    SealError,
    SealErrorCode,
    SealHeader,
    header_of,
    open_sealed,
    seal,
)

__all__ = [
    "DataKey",
    "KeyCache",
    "KeyRing",
    "KeyRingError",
    "SealError",
    "SealErrorCode",
    "SealHeader",
    "ensure_key_ring",
    "header_of",
    "open_sealed",
    "seal",
]
