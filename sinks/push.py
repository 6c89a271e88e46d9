"""Push through Firebase: every device of a person at once; one that took it is enough, dead ones are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connectors.providers.fcm import PROVIDER, FcmMessages
from connectors.providers.outcome import Accepted, OutcomeUnknown, Refused
from connectors.settings import Settings
from sinks.push_message import build
from sinks.runtime.channel import Shared
from sinks.runtime.tuning import Tuning

# Which of several refusals is told when no device took the message: the one that leaves most hope first.
_HOPE = (
    "throttled",
    "transient",
    "account",
    "unknown",
    "media",
    "content_filtered",
    "opted_out",
    "permanent_recipient",
)
_DEAD = "permanent_recipient"


class Push:
    """The channel; see sinks.runtime.channel.Channel."""

    name = "push"
    provider = PROVIDER
    idempotent = False
    accepted_is_delivered = False

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._deep_link = settings.push_deep_link
        self._fcm = FcmMessages.open(
            settings,
            connections=tuning.connections,
            timeout_seconds=tuning.push_call_seconds,
        )

    def use(self, shared: Shared) -> None:
        """Nothing: its provider is elsewhere."""

    def addresses(self, content: Mapping[str, Any]) -> Sequence[str]:
        """The devices' tokens."""
        tokens: list[str] = content["to"].split()
        return tokens

    async def send(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> Accepted:
        """To all devices at once. The id is that of the first which took it."""
        tokens = self.addresses(content)
        now = datetime.now(UTC)
        ends = await asyncio.gather(
            *(self._fcm.send(build(message, content, token, self._deep_link, now)) for token in tokens),
            return_exceptions=True,
        )
        return judged(dict(zip(tokens, ends, strict=True)))

    async def find(self, message: Mapping[str, Any], content: Mapping[str, Any], since: datetime) -> None:
        """FCM keeps no record that could be asked."""
        return

    async def look_up(self, provider_message_id: str, now: datetime) -> None:
        """FCM keeps no record that could be asked."""
        return

    async def close(self) -> None:
        """Give the connections back."""
        await self._fcm.close()


def judged(ends: Mapping[str, Accepted | BaseException]) -> Accepted:
    """What became of a message to several devices. Raises OutcomeUnknown, Refused, and what is neither."""
    taken = [end for end in ends.values() if isinstance(end, Accepted)]
    refusals = {token: end for token, end in ends.items() if isinstance(end, Refused)}
    dead = tuple(token for token, refused in refusals.items() if refused.error_class == _DEAD)
    for end in ends.values():
        if not isinstance(end, Accepted | Refused | OutcomeUnknown):
            raise end
    if taken:
        return Accepted(taken[0].provider_message_id, f"{len(taken)}/{len(ends)}", dead)
    for end in ends.values():
        if isinstance(end, OutcomeUnknown):
            raise end
    told = min(refusals.values(), key=lambda refused: _HOPE.index(refused.error_class))
    told.dead_addresses = dead
    raise told
