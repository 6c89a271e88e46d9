"""What a message says, opened when it is about to be sent: to which devices, and with which forms, as things stand then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from schemas.registry import RegistryUnavailableError
from sinks.runtime.form_files import NONE, Forms
from sinks.runtime.keys import KeyGone
from sinks.runtime.permit import Permit
from sinks.runtime.tools import Tools

log = logging.getLogger(__name__)

# Asking blocks the process for the registry client's own time-out, so not often; it happens for a new schema id only.
REGISTRY_RETRY_SECONDS = 5.0

Message = Mapping[str, Any]


class Opening:
    """Opens messages of one channel. Raises PoisonError for one that cannot be, KeyRingError for a ring that cannot."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def names_forms(self, message: Message) -> bool:
        """Whether it may be megabytes. Nothing of it is kept: it may wait for long."""
        if self._tools.channel.name != "email":
            return False
        content = await self._open(message)
        return content is not None and bool(content["forms"])

    async def content(self, message: Message) -> Message | None:
        """What is said and to whom, but for forms; None where its recipient was erased."""
        content = await self._open(message)
        if content is not None and self._tools.channel.name == "push":
            return await self._on_devices(message, content)
        return content

    async def forms(self, message: Message, content: Message | None, permit: Permit) -> Forms:
        """Those that it names, of those on file. The permit has its place in the room, and keeps it if there are any."""
        if content is None or not content["forms"] or permit.room is None:
            return NONE
        found = await self._tools.forms.read(message["clinic_id"], content["forms"])
        if not found.files:
            self._tools.admission.leave_room(permit)
        return found

    async def _open(self, message: Message) -> Message | None:
        while True:
            try:
                return await self._tools.keys.open(message)
            except KeyGone:
                return None
            except RegistryUnavailableError as error:
                log.warning("the schema registry does not answer; a message waits for it: %s", error)
                await asyncio.sleep(REGISTRY_RETRY_SECONDS)

    async def _on_devices(self, message: Message, content: Message) -> Message:
        """The content for those devices only that are still this person's: who signed out, or in, may hold one since.

        With the number for their badge, counted at the same time.
        """
        ring = self._tools.records.ring
        hashes = {token: ring.address_hash("push", token) for token in self._tools.channel.addresses(content)}
        theirs = await self._tools.devices.held(message["recipient"], hashes.values())
        data = content["data"] if theirs.unread is None else {**content["data"], "badge": str(theirs.unread)}
        to = " ".join(token for token, hashed in hashes.items() if hashed in theirs.hashes)
        return {**content, "to": to, "data": data}
