"""Events in the outbox: their topics carry them in clear for a week, Postgres and its log must not.

Each is sealed under a data key of its own, which lies beside it, wrapped by the active key-encryption key of the installation.
The relay opens it just before it is published.
"""

from __future__ import annotations

import struct

from connectors.postgres.outbox import OutboxRow
from connectors.postgres.records import SYSTEM_CLINIC, clinic_subject
from connectors.sealing import KeyRing, SealError, open_sealed, seal

_LENGTH = struct.Struct(">H")
_RECORD = "OutboxRow"


def sealed_row(ring: KeyRing, topic: str, key: bytes, value: bytes) -> OutboxRow:
    """A row whose value only the relay can read."""
    wrapped, data_key = ring.new_data_key(clinic_subject(SYSTEM_CLINIC), SYSTEM_CLINIC)
    return OutboxRow(
        topic, key, _LENGTH.pack(len(wrapped)) + wrapped + seal(data_key, _RECORD, topic, value), sealed=True
    )


def opened(ring: KeyRing, topic: str, value: bytes) -> bytes:
    """What was sealed for that topic. Raises SealError."""
    if len(value) < _LENGTH.size:
        raise SealError("truncated", f"an outbox row for {topic} of {len(value)} bytes; write its event again")
    (size,) = _LENGTH.unpack_from(value)
    wrapped, rest = value[_LENGTH.size : _LENGTH.size + size], value[_LENGTH.size + size :]
    data_key = ring.unwrap(wrapped, clinic_subject(SYSTEM_CLINIC), SYSTEM_CLINIC)
    return open_sealed(data_key, _RECORD, topic, rest)
