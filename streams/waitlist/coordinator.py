"""The coordinator: takes what the practice system says of slots, and offers each to one patient after the other.

Everything it knows lies in Postgres. So several may run at once (a slot is locked by whoever looks at it), and one that is killed
leaves nothing behind but what another does again: an event that it had not finished is read again and changes nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import psycopg

from connectors.metrics.catalogue import WAITLIST_LATE, WAITLIST_SKIPPED, WAITLIST_TOLD
from connectors.metrics.counting import Counts, Timings
from connectors.postgres import policies
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.waitlist import slot as slots
from connectors.waitlist.keeping import Row, SlotRows, put_off
from connectors.waitlist.saying import Details
from connectors.waitlist.slot import ClaimedTwice, OfferEnded, OfferMade, Said, SlotUnfilled, Step, WithdrawnFromHolder
from streams.catalog import Catalog
from streams.rules.timing import known_zone, wall_to_utc, zone
from streams.waitlist.reach import Reach, reach

log = logging.getLogger(__name__)

# Asking the rules about a candidate takes milliseconds; a transaction that holds a slot is to end within a second.
CANDIDATES_A_TURN = 50
# A night is slept through; who cannot be asked for longer (do not disturb until Monday) does not hold up the others.
LONGEST_HOLD = timedelta(hours=14)
# What is heard so late comes from a backlog: the claim of that very slot may lie behind it, so that is heard first.
LATE = timedelta(seconds=5)
SETTLE = timedelta(seconds=5)
# A slot that nobody can make sense of now is looked at again then; the others are looked at meanwhile.
PUT_OFF = timedelta(minutes=1)
# A slot first heard of so long after it was announced (a first start, an outage: the topic holds a week) is offered to nobody:
# by then the clinic has looked after the hour itself, and may have given it away without a word to us.
STALE = timedelta(days=1)


class Coordinator:
    """One process' work. ``window``: how long an offer stands at most."""

    def __init__(self, pool: Pool, records: Records, types: Catalog, rows: SlotRows, window: timedelta) -> None:
        self._pool, self._records, self._types, self._rows, self._window = pool, records, types, rows, window
        self.told, self.skipped, self.late = Counts(WAITLIST_TOLD), Counts(WAITLIST_SKIPPED), Timings(WAITLIST_LATE)

    # Events

    async def hear(self, event: Mapping[str, Any], now: datetime) -> None:
        """One event of ``events.waitlist``; what it changes is stored on return. Twice, or late, is no error.

        Raises psycopg.OperationalError where Postgres is away, SealError where the clinic's key cannot be used.
        """
        if event["event_type"] not in _HEARD:
            return  # what we said ourselves
        async with self._pool.connection() as connection:
            row = await self._rows.locked(connection, event["clinic_id"], event["slot_id"])
            version = event["aggregate_version"]
            match event["event_type"]:
                case "waitlist.slot_available":
                    row, step = await self._announced(connection, row, event, now)
                case "waitlist.slot_claimed":
                    step = slots.claimed_elsewhere(row.slot, event["patient_id"], version)
                case "waitlist.slot_declined":
                    step = slots.declined_elsewhere(
                        row.slot, event["patient_id"], event["next_patient_id"], version, now
                    )
                case _:
                    step = slots.withdrawn(row.slot, version)
            if step.slot.due_at == now and now - event["occurred_at"] > LATE:
                step = step._replace(slot=slots.held(step.slot, now + SETTLE).slot)
            await self._keep(connection, row, step, now)

    async def _announced(
        self, connection: psycopg.AsyncConnection, row: Row, event: Mapping[str, Any], now: datetime
    ) -> tuple[Row, Step]:
        where = zone(event["time_zone"] or await self._clinic_zone(connection, event["clinic_id"]))
        starts_at = wall_to_utc(event["date"], datetime.strptime(event["time"], "%H:%M").time(), where)  # noqa: DTZ007
        version, details = event["aggregate_version"], Details.of(event)
        news, first = slots.is_news(row.slot, version), row.slot.state == "unannounced"
        stale = now > max(event["expires_at"], event["occurred_at"] + STALE)
        step = slots.announced(
            row.slot,
            event["waitlist_patients"],
            starts_at,
            window_of(event["occurred_at"], event["expires_at"], self._window),
            version,
            now,
            changed=news and not first and details != await self._rows.details(connection, row),
            too_late=stale and (first or row.slot.too_late),
        )
        if news:
            if step.said:  # an offer of the hour as it was: told as it was
                row, step = await self._keep(connection, row, step, now), Step(step.slot)
            row = await self._rows.announce(connection, row, details, event["correlation_id"])
        return row, step

    async def _clinic_zone(self, connection: psycopg.AsyncConnection, clinic_id: str) -> str:
        for one in (clinic_id, SYSTEM_CLINIC):
            policy = await policies.current(connection, one)
            if policy is not None and (name := known_zone(policy.content["time_zone"])):
                return name
        return "UTC"

    # Time

    async def turn(self, now: datetime) -> bool:
        """Look at the slot that is due first; False where none is. Raises psycopg.OperationalError."""
        row: Row | None = None
        try:
            async with self._pool.connection() as connection:
                row = await self._rows.due(connection, now)
                if row is None:
                    return False
                if row.slot.due_at is not None:
                    self.late.observe((now - row.slot.due_at).total_seconds())
                await self._advance(connection, row, now)
        except psycopg.OperationalError:
            raise
        except Exception as error:
            if row is None:
                raise
            # Whatever is wrong with this one must not hold up the others.
            log.exception("a slot of a waitlist cannot be looked at (%s); again in a minute", type(error).__name__)
            async with self._pool.connection() as connection:
                await put_off(connection, row, now + PUT_OFF)
        return True

    async def next_due(self) -> datetime | None:
        """When the next slot is due; None: none ever."""
        async with self._pool.connection() as connection:
            return await self._rows.next_due(connection)

    async def _advance(self, connection: psycopg.AsyncConnection, row: Row, now: datetime) -> None:
        slot, said = slots.lapsed(row.slot, now)
        for _ in range(CANDIDATES_A_TURN):
            patient = slot.next_candidate
            if patient is None:
                break
            found = await reach(connection, self._records, self._types, patient, now)
            if found.when == "never" or (found.when == "later" and not _may_wait(found, slot, now)):
                self.skipped.add(found.reason)
                slot, _nothing = slots.skipped(slot, patient, found.reason)
                continue
            if found.when == "later" and found.until is not None:
                slot, _nothing = slots.held(slot, found.until)
            else:
                slot, more = slots.offered(slot, patient, now)
                said += more
            break
        if slot.state == "open" and slot.next_candidate is None:
            slot, more = slots.exhausted(slot)
            said += more
        await self._keep(connection, row, Step(slot, said), now)

    async def _keep(self, connection: psycopg.AsyncConnection, row: Row, step: Step, now: datetime) -> Row:
        kept = await self._rows.keep(connection, row, step, now)
        for said in step.said:
            if (word := _word(said)) is not None:
                self.told.add(word)
        return kept


_HEARD = frozenset(
    {"waitlist.slot_available", "waitlist.slot_claimed", "waitlist.slot_declined", "waitlist.slot_withdrawn"}
)


def window_of(occurred_at: datetime, expires_at: datetime, longest: timedelta) -> timedelta:
    """How long each patient has: what the clinic gives the first one, at most ``longest``; in whole seconds, at least one."""
    given = expires_at - occurred_at
    if given <= timedelta():
        given = longest
    return timedelta(seconds=max(1, ceil(min(given, longest).total_seconds())))


def _may_wait(found: Reach, slot: slots.Slot, now: datetime) -> bool:
    """Whether a sleeper may be waited for: a night at most, and only if she can still be asked after it."""
    if found.until is None or found.until - now > LONGEST_HOLD:
        return False
    return slot.last_call is None or found.until <= slot.last_call


def _word(said: Said) -> str | None:
    match said:
        case OfferMade():
            return "offer_made"
        case OfferEnded(_, _, outcome):
            return outcome
        case SlotUnfilled(cause, _):
            return cause
        case ClaimedTwice():
            return "claimed_twice"
        case WithdrawnFromHolder():
            return "withdrawn_from_holder"
        case _:
            return None
