"""SMS through Twilio: care and marketing texts leave by senders of their own, so that STOP to one never blocks the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.providers.outcome import Accepted
from connectors.providers.twilio import PROVIDER, STATUS_PATH, TwilioMessages
from connectors.settings import Settings
from connectors.webhooks.receipts import Receipt, from_twilio
from sinks.runtime.channel import Shared
from sinks.runtime.tuning import Tuning


class Sms:
    """The channel; see sinks.runtime.channel.Channel."""

    name = "sms"
    provider = PROVIDER
    idempotent = False
    accepted_is_delivered = False

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._senders = {"care": settings.twilio_care_sender, "marketing": settings.twilio_marketing_sender}
        self._status_url = settings.public_base_url.rstrip("/") + STATUS_PATH
        self._twilio = TwilioMessages.open(
            settings, connections=tuning.connections, timeout_seconds=tuning.sms_call_seconds
        )

    def use(self, shared: Shared) -> None:
        """Nothing: its provider is elsewhere."""

    def addresses(self, content: Mapping[str, Any]) -> Sequence[str]:
        """The number."""
        return (content["to"],)

    async def send(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> Accepted:
        """Create the text. Its callback carries our id and attempt, no PHI: a receipt finds its way if our answer was lost."""
        return await self._twilio.send(
            sender=self._senders[message["sender_class"]],
            to=content["to"],
            body=content["body"],
            media_urls=content["media_urls"],
            status_callback=f"{self._status_url}?delivery_id={message['delivery_id']}&attempt={message['attempt']}",
        )

    async def find(self, message: Mapping[str, Any], content: Mapping[str, Any], since: datetime) -> Sequence[Accepted]:
        """Texts with these very words to this number since then."""
        return await self._twilio.find(to=content["to"], body=content["body"], since=since)

    async def look_up(self, provider_message_id: str, now: datetime) -> Receipt | None:
        """By its id, which says nothing of anybody."""
        said = await self._twilio.fetch(provider_message_id)
        return None if said is None else from_twilio(said, delivery_id=None, now=now)

    async def close(self) -> None:
        """Give the connections back."""
        await self._twilio.close()
