"""Asks the provider for texts that reached it and not us: Twilio posts a text once, and we are away at times.

Each that was not taken is taken as the webhook would have. Everything may be repeated, by several processes too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from confluent_kafka import KafkaException

from connectors.metrics.counting import Read, Source, one
from connectors.metrics.swept import SWEEP_AGE
from connectors.postgres import texts_taken
from connectors.postgres.pool import Pool
from connectors.postgres.texts_taken import Swept
from connectors.providers.outcome import OutcomeUnknown, Refused
from connectors.providers.twilio import MESSAGING_SERVICE_PREFIX, Received, TwilioMessages
from connectors.sealing import KeyRingError, SealError
from connectors.settings import Settings
from connectors.time_limit import within
from connectors.webhooks.counted import Counted
from connectors.webhooks.inbound import Inbound, InboundDesk, InboundError
from connectors.webhooks.sweeping import news, slices, window
from schemas.codec import CodecError
from schemas.registry import RegistryError

log = logging.getLogger(__name__)

CALL_SECONDS = 15.0
CONNECTIONS = 2
TAKE_SECONDS = 8.0
# Of one number in one slice of time; where there are more, the slice is halved.
MOST_TEXTS = 5_000
SHORTEST_SLICE = timedelta(seconds=2)
# Twilio's code for what is not found: https://www.twilio.com/docs/api/errors/20404
NO_SUCH_SERVICE = "20404"

AWAY = (psycopg.Error, KafkaException, BufferError, TimeoutError, RegistryError, Refused, OutcomeUnknown)
UNREADABLE = (CodecError, SealError, KeyRingError)


def sweep_age(found: Callable[[], Sweep]) -> Source:
    """For the exporter. ``found``: the process' own, once it is there."""
    return Read(SWEEP_AGE, one(lambda: found().age_seconds()))


class Sweep:
    """See the module."""

    def __init__(
        self, settings: Settings, pool: Pool, messages: TwilioMessages, desk: InboundDesk, counted: Counted
    ) -> None:
        self._settings, self._pool, self._messages, self._desk = settings, pool, messages, desk
        self._counted = counted
        self._whole = time.monotonic()
        self._fault = ""
        self._missing: set[str] = set()

    def age_seconds(self) -> float:
        """Since a sweep was last whole, as far as this process has heard; from its beginning, where none was."""
        return time.monotonic() - self._whole

    async def run(self) -> None:
        """Sweep at once, and then every LUXE_INBOUND_SWEEP_SECONDS, for ever, whoever is away.

        An error that nobody foresaw ends it: the log and the age tell.
        """
        period = self._settings.inbound_sweep_seconds
        while True:
            try:
                await self.once(datetime.now(UTC), unless_within=timedelta(seconds=period / 2))
                self._fault = ""
            except AWAY as error:
                # Said once, not once a minute: the age is what alarms.
                if (name := _name(error)) != self._fault:
                    self._fault = name
                    log.warning("texts that the webhook missed are not looked for just now (%s); trying again", name)
            await asyncio.sleep(period)

    async def once(self, now: datetime, *, unless_within: timedelta = timedelta(0)) -> int | None:
        """One sweep; how many texts it took, None: another is at it.

        ``unless_within``: nothing is done where one was whole so short ago.
        Raises psycopg.Error, KafkaException, BufferError, TimeoutError, RegistryError, Refused, OutcomeUnknown: the next goes on
        from there.
        """
        async with self._pool.connection() as connection:
            # The lock is the connection's: no transaction stands open while the provider is asked.
            await connection.set_autocommit(True)
            try:
                if not await texts_taken.try_lock(connection):
                    return None
                try:
                    return await self._sweep(connection, now, unless_within)
                finally:
                    await texts_taken.unlock(connection)
            except psycopg.Error:
                # Its end unlocks it; back in the pool it would keep the lock.
                await connection.close()
                raise
            finally:
                if not connection.closed:
                    await connection.set_autocommit(False)  # as the pool's others are

    async def _sweep(self, connection: psycopg.AsyncConnection, now: datetime, unless_within: timedelta) -> int:
        last = await texts_taken.swept(connection)
        if now - last.at < unless_within:
            self._whole = max(self._whole, time.monotonic() - (now - last.at).total_seconds())
            return 0
        asked = window(last.through, now, timedelta(days=self._settings.inbound_sweep_days))
        if asked.cut:
            self._counted.sweep_cut()
            log.error(
                "the last sweep is more than %d days ago (LUXE_INBOUND_SWEEP_DAYS): texts missed before stay missed",
                self._settings.inbound_sweep_days,
            )
        numbers = await self._numbers(await texts_taken.clinics_senders(connection))
        taken, left = 0, False
        for since, until in slices(asked.since, asked.until):
            found = [text for number, service in numbers for text in await self._between(number, service, since, until)]
            fresh = news(found, await texts_taken.known(connection, [text.message_id for text in found]))
            for text in fresh:
                if await self._take(connection, text, now):
                    taken += 1
                else:
                    left = True
            if not left:
                await texts_taken.advance(connection, Swept(until, last.at))
        if taken:
            log.info("the sweep took %d texts that the webhook had missed", taken)
        if not left:
            await texts_taken.advance(connection, Swept(asked.until, now))
            self._whole = time.monotonic()
        return taken

    async def _numbers(self, clinics: Sequence[str]) -> list[tuple[str, str | None]]:
        """Our numbers that patients can text, each with its messaging service if it is asked for as one of such."""
        senders = dict.fromkeys([self._settings.twilio_care_sender, self._settings.twilio_marketing_sender, *clinics])
        found: dict[str, str | None] = {}
        for sender in senders:
            if sender.startswith(MESSAGING_SERVICE_PREFIX):
                found |= dict.fromkeys(await self._numbers_of(sender), sender)
            elif sender.removeprefix("+").isdecimal():  # a sender of letters takes no answers
                found.setdefault(sender, None)
        return list(found.items())

    async def _numbers_of(self, service: str) -> list[str]:
        """None of a service that the account does not have: nobody can text it, and the others' texts are not to wait for it."""
        try:
            return await self._messages.numbers_of(service)
        except Refused as error:
            if error.code != NO_SUCH_SERVICE:
                raise
        if service not in self._missing:
            self._missing.add(service)
            log.error("Twilio has no messaging service %s in this account: texts to it are not looked for", service)
        return []

    async def _between(self, number: str, service: str | None, since: datetime, until: datetime) -> list[Received]:
        found = await self._messages.received(to=number, service=service, since=since, until=until, limit=MOST_TEXTS)
        if len(found) < MOST_TEXTS:
            return found
        if until - since <= SHORTEST_SLICE:
            self._counted.sweep_cut()
            log.error(
                "a number of ours got %d texts or more within %g s: of those, older ones stay missed (Twilio's console has them)",
                *(MOST_TEXTS, SHORTEST_SLICE.total_seconds()),
            )
            return found
        middle = since + (until - since) // 2
        middle = middle.replace(microsecond=0)
        return [
            *await self._between(number, service, since, middle),
            *await self._between(number, service, middle, until),
        ]

    async def _take(self, connection: psycopg.AsyncConnection, text: Received, now: datetime) -> bool:
        """False: it cannot be taken as things are, through a fault of ours; the others are, and this one is tried again."""
        try:
            await within(TAKE_SECONDS, self._desk.take(Inbound.read(text.form, said_at=text.at), now))
        except InboundError as error:
            log.warning("a text that the webhook missed is not in its form: %s", error)
            await texts_taken.remember(connection, text.message_id)
            self._counted.swept("unusable")
        except UNREADABLE as error:
            log.error("text %s cannot be taken (%s); it is tried again", text.message_id, type(error).__name__)  # noqa: TRY400
            return False
        else:
            self._counted.swept("recovered")
        return True


def _name(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return str(error.args[0].name())
    return f"{type(error).__name__} {error.code}" if isinstance(error, Refused) else type(error).__name__
