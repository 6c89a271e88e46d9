"""What the gates say of a message to its addresses, at this moment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sinks.runtime.gates import LaterGateError, Verdict
from sinks.runtime.tools import Tools

Message = Mapping[str, Any]


class Verdicts:
    """Of one channel."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def of(self, message: Message, addresses: Sequence[str]) -> list[Verdict | None]:
        """For each address, None: it may go there. Raises LaterGateError, ValueError for what can be no address."""
        tools, now = self._tools, datetime.now(UTC)
        hashes = [tools.records.ring.address_hash(tools.channel.name, address) for address in addresses]
        return [tools.gates.gates.verdict(message, address_hash, now) for address_hash in hashes]

    def may_leave(self, message: Message, content: Message) -> bool:
        """Whether some gate is open to it now."""
        try:
            return not all(self.of(message, self._tools.channel.addresses(content)))
        except (ValueError, LaterGateError):
            return False

    def look(self, message: Message, content: Message | None) -> None:
        """Raises LaterGateError where a gate that is about it cannot be read here."""
        if content is None or not self._tools.gates.gates.any_later:
            return
        with contextlib.suppress(ValueError):  # what can be no address is found before the call
            self.of(message, self._tools.channel.addresses(content))
