"""Push through Firebase: every device of a person at once; one that took it is enough, dead ones are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from firebase_admin import messaging

from connectors.providers.fcm import PROVIDER, FcmMessages, aimed, ttl_until
from connectors.providers.outcome import Accepted, OutcomeUnknown, Refused
from connectors.settings import Settings
from sinks.runtime.channel import Shared
from sinks.runtime.tuning import Tuning

URGENT_LANES = ("critical", "high")
# Which of several refusals is told when no device took the message: the one that leaves most hope first.
_HOPE = ("throttled", "transient", "account", "unknown", "content_filtered", "opted_out", "permanent_recipient")
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


def build(
    message: Mapping[str, Any], content: Mapping[str, Any], token: str, deep_link: str, now: datetime
) -> messaging.Message:
    """The SDK's message for one device. Ids only but for the text, which was rendered for a lock screen.

    A repetition replaces what it repeats, on each system by its own means: a resend after a lost answer is seen once.
    """
    ident: str = message["notification_id"]
    urgent = message["lane"] in URGENT_LANES
    ttl = ttl_until(message["expires_at"], now)
    made = messaging.Message(
        notification=messaging.Notification(
            title=content["subject"], body=content["body"], image=next(iter(content["media_urls"]), None)
        ),
        data={**content["data"], "delivery_id": message["delivery_id"], "deep_link": f"{deep_link}{ident}"},
        android=messaging.AndroidConfig(
            priority="high" if urgent else "normal",
            ttl=ttl,
            collapse_key=ident,
            notification=messaging.AndroidNotification(
                tag=ident, channel_id=message["category"], sound="default", visibility="private"
            ),
        ),
        apns=messaging.APNSConfig(
            headers={
                "apns-priority": "10" if urgent else "5",
                "apns-expiration": str(int((now + ttl).timestamp())),
                "apns-collapse-id": ident,
            },
            payload=messaging.APNSPayload(
                aps=messaging.Aps(sound="default", category=message["notification_type"], thread_id=message["category"])
            ),
        ),
        webpush=messaging.WebpushConfig(
            headers={"TTL": str(int(ttl.total_seconds())), "Urgency": "high" if urgent else "normal"},
            notification=messaging.WebpushNotification(tag=ident),
        ),
    )
    return aimed(made, token)
