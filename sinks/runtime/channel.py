"""What the runtime needs of a channel: how it calls its provider. The rest is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from connectors.providers.outcome import Accepted


class Channel(Protocol):
    """One channel's provider. ``message`` is a luxe.pipeline.ChannelMessage, ``content`` its MessageContent: never printed."""

    name: str
    provider: str

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

    async def close(self) -> None:
        """Give the connections back."""
