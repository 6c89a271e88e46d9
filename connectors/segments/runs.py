"""What the scanner looked at, by segment, clinic and day; and which clinics there are, in which zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

import psycopg

from connectors.postgres.records import SYSTEM_CLINIC


@dataclass(slots=True)
class Tally:
    """What a look found. ``repeated``: told before in the same period. ``missed``: passed while nothing ran."""

    scanned: int = 0
    emitted: int = 0
    repeated: int = 0
    missed: int = 0
    unreadable: int = 0

    def add(self, other: Tally) -> None:
        """Count another look's too."""
        self.scanned += other.scanned
        self.emitted += other.emitted
        self.repeated += other.repeated
        self.missed += other.missed
        self.unreadable += other.unreadable


class Clinic(NamedTuple):
    """A clinic with patients. ``booking_url``: of its policy, or of the one that stands in for it."""

    clinic_id: str
    zone: ZoneInfo
    booking_url: str | None
    portal_url: str | None


class Latest(NamedTuple):
    """The latest day that a segment was looked at in a clinic, and the latest that was finished."""

    day: date
    finished: bool
    last_finished: date | None


# Jumps from clinic to clinic in the index: what it costs grows with the clinics, not with the patients.
_CLINICS = """
    WITH RECURSIVE found AS (
        (SELECT clinic_id FROM recipients WHERE clinic_id <> '' ORDER BY clinic_id LIMIT 1)
        UNION ALL
        SELECT (SELECT r.clinic_id FROM recipients r WHERE r.clinic_id > f.clinic_id ORDER BY r.clinic_id LIMIT 1)
        FROM found f WHERE f.clinic_id IS NOT NULL
    )
    SELECT f.clinic_id, p.content->>'time_zone', p.content->>'booking_url', p.content->>'portal_url'
    FROM found f JOIN LATERAL (
        SELECT content FROM policies WHERE clinic_id IN (f.clinic_id, %s) ORDER BY clinic_id = f.clinic_id DESC LIMIT 1
    ) p ON true WHERE f.clinic_id IS NOT NULL
"""


async def clinics(connection: psycopg.AsyncConnection) -> list[Clinic]:
    """Every clinic that somebody belongs to, by id."""
    cursor = await connection.execute(_CLINICS, (SYSTEM_CLINIC,))
    return [Clinic(one, ZoneInfo(zone), booking, portal) for one, zone, booking, portal in await cursor.fetchall()]


async def latest_runs(connection: psycopg.AsyncConnection) -> dict[tuple[str, str], Latest]:
    """By segment and clinic."""
    cursor = await connection.execute(
        """SELECT segment, clinic_id, max(day), max(day) FILTER (WHERE finished_at IS NOT NULL)
           FROM segment_runs GROUP BY segment, clinic_id"""
    )
    return {
        (segment, clinic_id): Latest(day, day == finished, finished)
        for segment, clinic_id, day, finished in await cursor.fetchall()
    }


async def latest_tallies(connection: psycopg.AsyncConnection) -> dict[tuple[str, str], Tally]:
    """What the latest look at each segment in each clinic found."""
    cursor = await connection.execute(
        """SELECT DISTINCT ON (segment, clinic_id) segment, clinic_id, scanned, emitted, repeated, missed, unreadable
           FROM segment_runs ORDER BY segment, clinic_id, day DESC"""
    )
    return {(segment, clinic_id): Tally(*counts) for segment, clinic_id, *counts in await cursor.fetchall()}


async def last_finished_before(
    connection: psycopg.AsyncConnection, segment: str, clinic_id: str, day: date
) -> date | None:
    """The latest finished day before that one."""
    cursor = await connection.execute(
        """SELECT max(day) FROM segment_runs
           WHERE segment = %s AND clinic_id = %s AND day < %s AND finished_at IS NOT NULL""",
        (segment, clinic_id, day),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def begin(connection: psycopg.AsyncConnection, segment: str, clinic_id: str, day: date, *, again: bool) -> None:
    """Make the run's row, or leave the one there is. ``again``: one that is finished begins anew."""
    await connection.execute(
        """INSERT INTO segment_runs (segment, clinic_id, day) VALUES (%s, %s, %s)
           ON CONFLICT (segment, clinic_id, day) DO NOTHING""",
        (segment, clinic_id, day),
    )
    if again:
        await connection.execute(
            """UPDATE segment_runs SET cursor = '', scanned = 0, emitted = 0, repeated = 0, missed = 0, unreadable = 0,
                      started_at = now(), finished_at = NULL
               WHERE (segment, clinic_id, day) = (%s, %s, %s) AND finished_at IS NOT NULL""",
            (segment, clinic_id, day),
        )


async def held_cursor(connection: psycopg.AsyncConnection, segment: str, clinic_id: str, day: date) -> str | None:
    """The last recipient looked at, the run's row held until the transaction's end; None: finished.

    Another scanner of the same run waits here, and goes on where this one got to.
    """
    cursor = await connection.execute(
        """SELECT cursor, finished_at IS NOT NULL FROM segment_runs WHERE (segment, clinic_id, day) = (%s, %s, %s)
           FOR UPDATE""",
        (segment, clinic_id, day),
    )
    row = await cursor.fetchone()
    return None if row is None or row[1] else str(row[0])


async def advance(
    connection: psycopg.AsyncConnection, segment: str, clinic_id: str, day: date, last: str | None, tally: Tally
) -> None:
    """Count a batch; ``last`` is the cursor after it, None: the run is finished."""
    await connection.execute(
        """UPDATE segment_runs SET cursor = coalesce(%s, cursor), scanned = scanned + %s, emitted = emitted + %s,
                  repeated = repeated + %s, missed = missed + %s, unreadable = unreadable + %s,
                  finished_at = CASE WHEN %s THEN now() END
           WHERE (segment, clinic_id, day) = (%s, %s, %s)""",
        (
            *(last, tally.scanned, tally.emitted, tally.repeated, tally.missed, tally.unreadable, last is None),
            *(segment, clinic_id, day),
        ),
    )
