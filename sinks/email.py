"""Email through SendGrid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.providers.outcome import Accepted
from connectors.providers.sendgrid import PROVIDER, Email, EmailFile, SendGridMail
from connectors.settings import Settings
from sinks.runtime.channel import Shared
from sinks.runtime.tuning import Tuning


class EmailChannel:
    """The channel; see sinks.runtime.channel.Channel."""

    name = "email"
    provider = PROVIDER
    idempotent = False
    accepted_is_delivered = False

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._sender = settings.email_from
        self._sendgrid = SendGridMail.open(
            settings,
            connections=tuning.connections,
            timeout_seconds=tuning.email_call_seconds,
            files_timeout_seconds=tuning.attachments_call_seconds,
        )

    def use(self, shared: Shared) -> None:
        """Nothing: its provider is elsewhere."""

    def addresses(self, content: Mapping[str, Any]) -> Sequence[str]:
        """The address."""
        return (content["to"],)

    async def send(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> Accepted:
        """Hand the email over."""
        return await self._sendgrid.send(
            Email(
                sender=self._sender,
                to=content["to"],
                to_name=content["to_name"],
                subject=content["subject"] or "",
                text=content["body"],
                html=content["html"],
                headers=content["headers"],
                files=[
                    EmailFile(file["filename"], file["content_type"], file["content"])
                    for file in content["attachments"]
                ],
                delivery_id=message["delivery_id"],
                attempt=message["attempt"],
                category=message["category"],
            )
        )

    async def find(self, message: Mapping[str, Any], content: Mapping[str, Any], since: datetime) -> None:
        """SendGrid keeps no searchable record of what it took (its activity feed is an extra, minutes late)."""
        return

    async def look_up(self, provider_message_id: str, now: datetime) -> None:
        """SendGrid tells by its event webhook only; its activity is a product of its own."""
        return

    async def close(self) -> None:
        """Give the connections back."""
        await self._sendgrid.close()
