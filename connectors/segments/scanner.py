"""Looks at a clinic's patients, one bounded batch a transaction: who is due is told through the outbox, once per period.

A batch reads and judges, then in the same transaction writes who was told, the events and how far it got. So a scanner that is
killed leaves nothing half done, two of them take turns at the run's row, and what was told before is told no more: its event's
id is a primary key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

import psycopg

from connectors.postgres import outbox
from connectors.postgres.records import Records
from connectors.sealing import SealError
from connectors.segments import runs
from connectors.segments.definitions import Segment
from connectors.segments.occasions import Occasion, Person, occasions, verdict
from connectors.segments.runs import Clinic, Tally
from connectors.segments.standing import Standing
from connectors.segments.standings import open_standing
from connectors.segments.telling import Telling, Told
from schemas.codec import CodecError

log = logging.getLogger(__name__)

# Rows that wait for the relay: past this the scanner waits too, so that a first look at a large clinic is no flood.
OUTBOX_ROWS = 10_000
OUTBOX_POLL_SECONDS = 0.5
# So often somebody who waits is told how far it is.
_NO_ONE = ""


class OutboxFull(Exception):
    """The outbox has not emptied for long: the relay, or Kafka, is away. Nothing is lost; a later look goes on here."""


@dataclass(frozen=True, slots=True)
class Look:
    """One segment, as the clinic wants it, in one clinic on one of its days. ``last``: the finished day before it."""

    segment: Segment
    clinic: Clinic
    day: date
    last: date | None


def is_scanned(segment: Segment, clinic: Clinic) -> bool:
    """Whether a clinic is looked at for this at all."""
    return segment.enabled and not (segment.kind.needs_portal and clinic.portal_url is None)


class _Row(NamedTuple):
    recipient: str
    sealed: bytes
    key_clinic_id: str
    wrapped: bytes
    standing: bytes | None
    standing_subject: str | None
    standing_clinic_id: str | None
    standing_wrapped: bytes | None


_PATIENTS = """
    SELECT r.recipient, r.sealed, k.clinic_id, k.wrapped, s.sealed, sk.subject, sk.clinic_id, sk.wrapped
    FROM recipients r JOIN data_keys k ON k.subject = r.recipient
    LEFT JOIN patient_standings s ON s.recipient = r.recipient LEFT JOIN data_keys sk ON sk.subject = s.key_subject
    WHERE r.clinic_id = %s AND r.recipient > %s AND r.sealed IS NOT NULL AND r.active
      AND starts_with(r.recipient, 'patient:')
    ORDER BY r.recipient LIMIT %s
"""
# Whoever is being erased, moved or set inactive at this moment is waited for, and then left out.
_STILL_HERE = """
    SELECT recipient FROM recipients
    WHERE recipient = ANY(%s) AND clinic_id = %s AND sealed IS NOT NULL AND active ORDER BY recipient FOR SHARE
"""


class Scanner:
    """Looks on one connection, in autocommit mode. ``outbox_seconds``: for so long it waits for the relay; None: for ever."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        records: Records,
        *,
        outbox_rows: int = OUTBOX_ROWS,
        outbox_seconds: float | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._records = records
        self._telling = Telling(records)
        self._outbox_rows = outbox_rows
        self._outbox_seconds = outbox_seconds
        self._clock = clock

    async def scan(self, look: Look, *, again: bool = False, progress: Callable[[Tally], None] | None = None) -> Tally:
        """Look at all, from where an earlier look got to; what this one did. ``again``: also where it was finished.

        Raises OutboxFull, psycopg.Error, CodecError, RegistryError.
        """
        where = (look.segment.name, look.clinic.clinic_id, look.day)
        await runs.begin(self._connection, *where, again=again)
        total = Tally()
        while True:
            await self._room_in_outbox()
            async with self._connection.transaction():
                cursor = await runs.held_cursor(self._connection, *where)
                if cursor is None:
                    return total
                tally, last, due = await self._judged(look, cursor)
                tally.emitted = await self._tell(look, due)
                tally.repeated = len(due) - tally.emitted
                await runs.advance(self._connection, *where, last, tally)
            total.add(tally)
            if progress is not None:
                progress(total)

    async def preview(self, look: Look, progress: Callable[[Tally], None] | None = None) -> tuple[Tally, list[str]]:
        """What a look would tell, and to whom (recipient keys); nothing is written. Raises as ``scan`` does."""
        total, found = Tally(), list[str]()
        cursor: str | None = _NO_ONE
        while cursor is not None:
            async with self._connection.transaction():
                tally, cursor, due = await self._judged(look, cursor)
                known = await self._connection.execute(
                    "SELECT event_id::text FROM segment_emitted WHERE event_id = ANY(%s::uuid[])",
                    ([one.event_id for one in due],),
                )
                before = {event_id for (event_id,) in await known.fetchall()}
            new = {one.event_id: one.recipient for one in due if one.event_id not in before}
            tally.emitted, tally.repeated = len(new), len(due) - len(new)
            found += new.values()
            total.add(tally)
            if progress is not None:
                progress(total)
        return total, found

    async def _judged(self, look: Look, cursor: str) -> tuple[Tally, str | None, list[Told]]:
        """The next batch: counts, the cursor after it (None: it was the last), and who is due."""
        batch = look.segment.batch
        found = await self._connection.execute(_PATIENTS, (look.clinic.clinic_id, cursor, batch))
        rows = [_Row(*row) for row in await found.fetchall()]
        tally, due, now = Tally(scanned=len(rows)), list[Told](), self._clock()
        for row in rows:
            try:
                person = self._person(look.segment, row)
            except (SealError, CodecError, ValueError) as error:
                tally.unreadable += 1
                log.warning(
                    "segment %s: a patient's record cannot be opened (%s)", look.segment.name, type(error).__name__
                )
                continue
            for occasion in occasions(look.segment, person, look.day, look.clinic.clinic_id, look.clinic.zone):
                match verdict(look.segment, occasion, look.day, look.last):
                    case "due":
                        self._add(look, row.recipient, occasion, now, due, tally)
                    case "missed":
                        tally.missed += 1
        return tally, rows[-1].recipient if len(rows) == batch else None, due

    def _add(
        self, look: Look, recipient: str, occasion: Occasion, now: datetime, due: list[Told], tally: Tally
    ) -> None:
        told = self._telling.told(look.segment, look.clinic, recipient, occasion, now)
        if told is None:
            tally.unreadable += 1
            log.warning("segment %s: what it would say of a patient breaks its contract", look.segment.name)
        else:
            due.append(told)

    def _person(self, segment: Segment, row: _Row) -> Person:
        """What the selection looks at, and no more. Raises SealError, CodecError, ValueError."""
        if segment.kind.reads == "record":
            # Not from the cache: a clinic's patients are gone through once.
            key = self._records.ring.unwrap(row.wrapped, row.recipient, row.key_clinic_id)
            content = self._records.decode_content(self._records.open_content(key, row.recipient, row.sealed))
            ends = {
                one["consent_type"]: one["expires_at"]
                for one in content["consents"]
                if one["status"] == "opted_in" and one["expires_at"] is not None
            }
            return Person(birthday=content["birthday"], consents=ends)
        if row.standing is None:
            return Person()
        if row.standing_subject is None or row.standing_clinic_id is None or row.standing_wrapped is None:
            raise SealError("unknown_kek", "the key of a patient's standing is gone")
        key = (
            self._records.ring.unwrap(row.standing_wrapped, row.standing_subject, row.standing_clinic_id)
            if row.standing_subject == row.recipient
            else self._records.keys.get(row.standing_wrapped, row.standing_subject, row.standing_clinic_id)
        )
        return Person(standing=Standing.decoded(open_standing(key, row.recipient, row.standing)))

    async def _tell(self, look: Look, due: Sequence[Told]) -> int:
        """Those told now, for the first time in their period; how many. In the caller's transaction."""
        if not due:
            return 0
        here = await self._connection.execute(
            _STILL_HERE, (sorted({one.recipient for one in due}), look.clinic.clinic_id)
        )
        still = {recipient for (recipient,) in await here.fetchall()}
        wanted = {one.event_id: one for one in due if one.recipient in still}
        new = await self._connection.execute(
            """INSERT INTO segment_emitted (event_id, segment, recipient)
               SELECT event_id, %s, recipient FROM unnest(%s::uuid[], %s::text[]) AS n (event_id, recipient)
               ORDER BY event_id ON CONFLICT (event_id) DO NOTHING RETURNING event_id::text""",
            (look.segment.name, list(wanted), [one.recipient for one in wanted.values()]),
        )
        first = {event_id for (event_id,) in await new.fetchall()}
        told = [one.row for event_id, one in wanted.items() if event_id in first]
        if told:
            await outbox.add_many(self._connection, told)
        return len(told)

    async def _room_in_outbox(self) -> None:
        """Wait until the relay has caught up. Raises OutboxFull."""
        waited = 0.0
        while True:
            cursor = await self._connection.execute(
                "SELECT count(*) FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT %s) AS waiting",
                (self._outbox_rows,),
            )
            row = await cursor.fetchone()
            if row is None or row[0] < self._outbox_rows:
                return
            if self._outbox_seconds is not None and waited >= self._outbox_seconds:
                raise OutboxFull(
                    f"{self._outbox_rows} records wait for Kafka; see `luxe status` whether the relay runs, then run this again: "
                    "it goes on where it stopped"
                )
            if waited == 0:
                log.info("the outbox has %d rows that wait for Kafka; the scanner waits too", self._outbox_rows)
            await asyncio.sleep(OUTBOX_POLL_SECONDS)
            waited += OUTBOX_POLL_SECONDS
