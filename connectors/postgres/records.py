"""What Postgres publishes, as Kafka records: the codec and the keys that its writers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.sealing import DataKey, KeyCache, KeyRing, open_sealed, seal
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import open_registry
from schemas.topics import GATES, POLICIES, RECIPIENTS, STATUS, TEMPLATES

RECIPIENT = "luxe.pipeline.Recipient"
RECIPIENT_CONTENT = "luxe.pipeline.RecipientContent"
POLICY = "luxe.pipeline.ClinicPolicy"
TEMPLATE = "luxe.pipeline.Template"
GATE = "luxe.pipeline.Gate"
DELIVERY_STATUS = "luxe.pipeline.DeliveryStatus"

# Stands in for clinics without a policy of their own.
SYSTEM_CLINIC = "*"


class Records:
    """Codec, key ring and key cache of one process' writers. Not for several threads."""

    def __init__(self, ring: KeyRing, codec: Codec) -> None:
        self.ring = ring
        self.keys = KeyCache(ring)
        self.codec = codec
        self.encode_recipient = codec.encoder(RECIPIENTS, RECIPIENT)
        self.encode_policy = codec.encoder(POLICIES, POLICY)
        self.encode_template = codec.encoder(TEMPLATES, TEMPLATE)
        self.encode_gate = codec.encoder(GATES, GATE)
        self.encode_status = codec.encoder(STATUS, DELIVERY_STATUS)

    @classmethod
    def open(cls, settings: Settings) -> Records:
        """With the installation's ring and registry. Raises KeyRingError, RegistryError."""
        auth = settings.schema_registry_auth
        registry = open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None)
        return cls(KeyRing.load(settings.kek_path), Codec(registry))

    def encode_content(self, content: Mapping[str, Any]) -> bytes:
        """RecipientContent as it is sealed. Raises CodecError."""
        return self.codec.encode_content(RECIPIENT_CONTENT, content)

    def decode_content(self, plaintext: bytes) -> dict[str, Any]:
        """RecipientContent as it was sealed. Raises CodecError."""
        return self.codec.decode_content(RECIPIENT_CONTENT, plaintext)

    def seal_content(self, key: DataKey, recipient: str, plaintext: bytes) -> bytes:
        """``Recipient.sealed``."""
        return seal(key, "Recipient", recipient, plaintext)

    def open_content(self, key: DataKey, recipient: str, sealed: bytes) -> bytes:
        """The plaintext of ``Recipient.sealed``. Raises SealError."""
        return open_sealed(key, "Recipient", recipient, sealed)


def clinic_subject(clinic_id: str) -> str:
    """Whose data key a clinic's strangers key is."""
    return f"clinic:{clinic_id}"
