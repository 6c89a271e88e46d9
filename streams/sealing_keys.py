"""The key that seals what belongs to someone: the recipient's own, or the clinic's strangers key for people without a record.

Both travel wrapped in the views `recipients` and `policies`; nothing else of a recipient is read here.
"""

from __future__ import annotations

from connectors.sealing import DataKey, KeyCache, SealError
from schemas.codec import Codec, CodecError, LaterSchemaError
from streams.runtime import FatalError, PoisonError
from streams.runtime.errors import outdated
from streams.tables import Clinics, Lookup

# A kept entry is the record's bytes (which the view holds anyway) and a key of about 600 bytes.
RECIPIENTS_KEPT = 25_000


class UnreadableRecipientError(PoisonError):
    """A recipient's record is there and cannot be read. Not the same as missing: nothing may be sealed with another key."""

    code = "unreadable_record"


class SealingKeys:
    """Data keys by recipient, kept until the view holds other bytes for them."""

    def __init__(self, recipients: Lookup, codec: Codec, keys: KeyCache, clinics: Clinics) -> None:
        self._recipients, self._codec, self._keys, self._clinics = recipients, codec, keys, clinics
        self._kept: dict[str, tuple[bytes, DataKey]] = {}

    def __repr__(self) -> str:
        return f"<SealingKeys of {len(self._kept)} recipients>"

    def of(self, recipient: str, clinic_id: str) -> DataKey:
        """The recipient's own key, else the clinic's strangers key. Raises PoisonError, FatalError."""
        raw = self._recipients.get(recipient.encode())
        if raw is None:
            self._kept.pop(recipient, None)
            return self._clinics.get(clinic_id).key
        kept = self._kept.get(recipient)
        if kept is not None and (kept[0] is raw or kept[0] == raw):
            return kept[1]
        key = self._unwrapped(recipient, raw)
        if len(self._kept) >= RECIPIENTS_KEPT:
            self._kept.clear()
        self._kept[recipient] = raw, key
        return key

    def _unwrapped(self, recipient: str, raw: bytes) -> DataKey:
        try:
            record = self._codec.decode(raw).value
            return self._keys.get(record["wrapped_key"], recipient, record["clinic_id"])
        except LaterSchemaError as error:
            raise outdated("recipients", error) from error
        except (CodecError, SealError) as error:
            if isinstance(error, SealError) and error.code == "unknown_kek":
                raise FatalError(f"recipients: {error}") from error  # nobody's record opens without it: mend the ring
            raise UnreadableRecipientError(f"recipients: {error}") from error
