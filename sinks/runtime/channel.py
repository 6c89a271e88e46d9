"""What the runtime needs of a channel: how it calls its provider. The rest is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.providers.outcome import Accepted
from connectors.statuses import AcknowledgedProducer
from connectors.webhooks.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Shared:
    """What a sink's process has open, for a channel whose provider is our own stores."""

    pool: Pool
    records: Records
    producer: AcknowledgedProducer


class Channel(Protocol):
    """One channel's provider. ``message`` is a luxe.pipeline.ChannelMessage, ``content`` its MessageContent: never printed."""

    name: str
    provider: str
    # A call that is made twice is one message: a doubt is settled by calling again, whatever the message.
    idempotent: bool
    # The provider's taking it is all there is to delivery: no receipt says more.
    accepted_is_delivered: bool

    def use(self, shared: Shared) -> None:
        """Told once, before the first message."""

    def addresses(self, content: Mapping[str, Any]) -> Sequence[str]:
        """Whom a message goes to: one number or email, or each device. ``content["to"]`` holds them, separated by spaces."""

    async def send(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> Accepted:
        """Make the call. Raises Refused, OutcomeUnknown."""

    async def find(
        self, message: Mapping[str, Any], content: Mapping[str, Any], since: datetime
    ) -> Sequence[Accepted] | None:
        """What the provider took since then that may be this message, oldest first; None: it cannot be asked.

        Raises Refused, OutcomeUnknown.
        """

    async def look_up(self, provider_message_id: str, now: datetime) -> Receipt | None:
        """What became of a message whose receipt is overdue; None: the provider does not tell. Raises Refused, OutcomeUnknown."""

    async def close(self) -> None:
        """Give the connections back."""
