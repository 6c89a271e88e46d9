"""Tells people's devices, without a sound, that their inbox changed elsewhere: their badges would be wrong.

Best effort, and no delivery: nothing is written down of it, and it gives way to every message. See docs/adr/0015-push.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import psycopg

from connectors.metrics import push_sync
from connectors.metrics.counting import Counts, Read, Source, one
from connectors.postgres import devices
from connectors.postgres.recipient_rows import LockedRow, read
from connectors.postgres.recipients import Recipient, opened
from connectors.providers.fcm import FcmMessages
from connectors.providers.outcome import OutcomeUnknown, Refused
from connectors.sealing import SealError
from connectors.settings import Settings
from sinks.inbox_sync.pending import Pending
from sinks.inbox_sync.reader import ChangesReader
from sinks.push_message import silent
from sinks.runtime.gates import LaterGateError
from sinks.runtime.tools import Tools

log = logging.getLogger(__name__)

# How often it is seen who is due. Nobody waits for it.
TURN_SECONDS = 1.0
# Calls at a time, over connections of their own: no message waits for one of these.
CALLS = 8
# After a call that failed for all, or without Postgres: another is not worth making for a while.
CALM_SECONDS = 30.0
# For a token of a rate limit, which is fetched when somebody asks for it.
LOOKS, LOOK_SECONDS = 10, 0.05
CONSENT, SWITCH = "push_notifications", "push_enabled"
# A browser that is pushed to must show something, and shows a text of its own where a page does not.
SILENT_PLATFORMS = ("android", "ios")


class InboxSync:
    """Beside the lanes of a push sink, in its event loop."""

    def __init__(self, settings: Settings, tools: Tools, fcm: FcmMessages) -> None:
        self._tools = tools
        self._fcm = fcm
        self._people_per_turn = max(1, round(settings.push_sync_per_second * TURN_SECONDS))
        self._pending = Pending(settings.push_sync_seconds, settings.push_sync_people)
        self._reader = ChangesReader(settings, tools.records.codec, self._heard)
        self._calling = asyncio.Semaphore(CALLS)
        self._calm_until = 0.0
        self._counted = Counts(push_sync.PUSH_SYNCS)

    @classmethod
    def open(cls, settings: Settings, tools: Tools) -> Self | None:
        """None where it is switched off. The caller closes it. Raises SettingsError."""
        if not settings.push_sync_seconds:
            return None
        seconds = tools.tuning.push_call_seconds
        return cls(settings, tools, FcmMessages.open(settings, connections=CALLS, timeout_seconds=seconds))

    def sources(self) -> list[Source]:
        """For the exporter."""
        return [self._counted, Read(push_sync.PUSH_SYNC_WAITING, one(lambda: len(self._pending)))]

    async def close(self) -> None:
        """Give the connections back."""
        await self._fcm.close()

    async def run(self) -> None:
        """Until cancelled. Nothing that goes wrong here ends the sink."""
        self._reader.start()
        try:
            while True:
                await asyncio.sleep(TURN_SECONDS)
                try:
                    await self._turn(time.monotonic())
                except Exception as error:  # noqa: BLE001 - messages go on, whatever becomes of this
                    # Only the kind: an exception's text may hold what it failed on.
                    log.warning("silent pushes rest for a while: %s", type(error).__name__)
                    self._rest()
        finally:
            await self._reader.stop()

    def _heard(self, changed: Sequence[str]) -> None:
        now = time.monotonic()
        for recipient in changed:
            if not self._pending.add(recipient, now):
                self._counted.add("no_room")

    def _rest(self, seconds: float = CALM_SECONDS) -> None:
        self._calm_until = max(self._calm_until, time.monotonic() + seconds)

    async def _turn(self, now: float) -> None:
        if now < self._calm_until or not self._tools.gates.current:
            return
        due = self._pending.take(now, self._people_per_turn)
        if not due:
            return
        try:
            async with self._tools.pool.connection(timeout=TURN_SECONDS) as connection:
                rows = await read(connection, due)
                unread = await devices.unread_of(connection, list(rows))
        except psycopg.OperationalError:
            self._heard(due)  # they are due again after as long
            raise
        people = [self._opened(one, row) for one, row in rows.items() if one in unread]
        await asyncio.gather(*(self._tell(one, unread[one.recipient]) for one in people if one is not None))

    def _opened(self, recipient: str, row: LockedRow) -> Recipient | None:
        try:
            return opened(self._tools.records, recipient, row)
        except SealError:
            self._counted.add("unreadable")
            return None

    async def _tell(self, person: Recipient, unread: int) -> None:
        """All devices of one person; those that are gone are forgotten, as after a message."""
        tools = self._tools
        tokens = self._tokens(person)
        ends = await asyncio.gather(*(self._send(person.recipient, token, unread) for token in tokens))
        gone = [token for token, end in zip(tokens, ends, strict=True) if end == "gone"]
        for end in ends:
            self._counted.add(end)
        if "held" in ends:
            self._heard([person.recipient])
        if gone:
            await devices.forget(tools.pool, tools.records, person.recipient, gone, updated_by="sink:push")

    def _tokens(self, person: Recipient) -> list[str]:
        """Devices that may be told: their owner wants pushes, by what is stored and by the gates that messages pass too."""
        tokens = [one["token"] for one in person.content.get("devices", ()) if one["platform"] in SILENT_PLATFORMS]
        if tokens and not (person.active and wanted(person.content)):
            self._counted.add("unwanted")
            return []
        return tokens

    async def _send(self, recipient: str, token: str, unread: int) -> str:
        """How it ended: see push_sync.PUSH_SYNCS."""
        async with self._calling:
            if time.monotonic() < self._calm_until or not await self._may_call():
                return "held"
            now = datetime.now(UTC)
            tools = self._tools
            hashed = tools.records.ring.address_hash("push", token)
            try:
                verdict = tools.gates.gates.verdict(_as_message(recipient), hashed, now)
            except LaterGateError:
                return "stopped"  # a badge is not worth the wait
            if not tools.gates.current or verdict is not None:
                return "stopped"
            try:
                await self._fcm.send(silent(token, unread, now))
            except Refused as refused:
                if refused.error_class == "permanent_recipient":
                    return "gone"
                self._rest(max(CALM_SECONDS, refused.retry_after_seconds or 0))
                return "refused"
            except OutcomeUnknown:
                self._rest()
                return "unanswered"
            return "sent"

    async def _may_call(self) -> bool:
        """Whether no message would want this call's place."""
        for _ in range(LOOKS):
            if self._tools.admission.spare():
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False


def wanted(content: Mapping[str, Any]) -> bool:
    """Whether somebody (luxe.pipeline.RecipientContent) has push on, and never took their consent back. Pure."""
    preferences = content.get("preferences")
    if preferences is not None and not preferences[SWITCH]:
        return False
    return not any(
        consent["consent_type"] == CONSENT and consent["status"] == "opted_out"
        for consent in content.get("consents", ())
    )


def _as_message(recipient: str) -> Mapping[str, Any]:
    """What the gates are asked about: a message of no type, of which only person, device, consent and switch count."""
    return {
        "recipient": recipient,
        "channel": "push",
        "sender_class": "care",
        "consent_scope": CONSENT,
        "preferences": (SWITCH,),
        "expires_at": None,
        "send_not_after": None,
        "notification_id": "",
        "delivery_id": "",
        "clinic_id": "",
        "aggregate_type": "",
        "aggregate_id": "",
        "aggregate_version": 0,
        "visit": "",
        "visit_version": -1,
    }
