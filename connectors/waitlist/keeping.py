"""Slots in Postgres: locked, changed, and told of through the outbox, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb

from connectors.postgres import data_keys, outbox
from connectors.postgres.outbox_sealing import sealed_row
from connectors.postgres.policies import strangers_key
from connectors.postgres.records import Records, clinic_subject
from connectors.sealing import open_sealed, seal
from connectors.short_links.codes import ShortLinks, is_code
from connectors.waitlist import saying
from connectors.waitlist.saying import About, Details
from connectors.waitlist.slot import NOTHING_HEARD, Candidate, OfferEnded, OfferMade, Slot, Step
from schemas.events import EVENT_TYPES

PAGE_PATH = "/w/"

_SEALED_AS = "WaitlistSlot"
_COLUMNS: LiteralString = """clinic_id, slot_id, correlation_id, sealed, sealed_for, state, version, candidates, holder,
    offer_number, offer_ends_at, due_at, starts_at, window_seconds, announced_version, too_late"""
_OFFER: LiteralString = "offer_id::text, clinic_id, slot_id, number, patient_id, made_at, ends_at, outcome"


class SlotKeyGone(LookupError):
    """The key that sealed what a slot is, is no more: its clinic's row of ``data_keys`` was deleted."""

    code = "slot_key_gone"

    def __init__(self) -> None:
        super().__init__(
            "the clinic's key that sealed what the slot is, is gone; restore its row of data_keys from a backup and replay the "
            "event, or withdraw the slot in the practice system and announce it anew under another id"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A slot as stored."""

    about: About
    slot: Slot
    sealed: bytes | None
    sealed_for: str | None

    def __repr__(self) -> str:
        return f"Row({self.slot.state}, offer {self.slot.offer_number})"


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer as stored: what its link leads to. ``outcome`` None: it stands."""

    offer_id: str
    clinic_id: str
    slot_id: str
    number: int
    patient_id: str
    made_at: datetime
    ends_at: datetime
    outcome: str | None

    def __repr__(self) -> str:
        return f"Offer({self.number}, {self.outcome or 'stands'})"


class SlotRows:
    """Reads and writes slots. ``base_url``: what links to our page begin with."""

    def __init__(self, records: Records, base_url: str) -> None:
        self._records = records
        self._base_url = base_url.rstrip("/")
        self._codes = ShortLinks(records.ring, base_url)

    # Reading

    async def locked(self, connection: psycopg.AsyncConnection, clinic_id: str, slot_id: str) -> Row:
        """The slot, made where there is none, locked until the transaction's end."""
        await connection.execute(
            """INSERT INTO waitlist_slots (clinic_id, slot_id, state, version, offer_number, window_seconds, candidates)
               VALUES (%s, %s, %s, -1, 0, 0, '[]') ON CONFLICT DO NOTHING""",
            (clinic_id, slot_id, NOTHING_HEARD.state),
        )
        return _there(await self._one(connection, "clinic_id = %s AND slot_id = %s FOR UPDATE", (clinic_id, slot_id)))

    async def seen(self, connection: psycopg.AsyncConnection, clinic_id: str, slot_id: str) -> Row:
        """The slot, not locked. Raises LookupError where there is none."""
        return _there(await self._one(connection, "clinic_id = %s AND slot_id = %s", (clinic_id, slot_id)))

    async def find(self, connection: psycopg.AsyncConnection, named: str) -> list[Row]:
        """The slots of that id, one a clinic; or the one that an offer of that id is about. Not locked."""
        # Two look-ups by an index each: an OR over both tables would read every slot there is.
        cursor = await connection.execute(
            f"""SELECT {_COLUMNS} FROM waitlist_slots WHERE (clinic_id, slot_id) IN (
                    SELECT clinic_id, slot_id FROM waitlist_slots WHERE slot_id = %s
                    UNION SELECT clinic_id, slot_id FROM waitlist_offers WHERE offer_id = %s)
                ORDER BY clinic_id""",  # noqa: S608 — columns of ours
            (named, _uuid(named)),
        )
        return [_row(columns) for columns in await cursor.fetchall()]

    async def due(self, connection: psycopg.AsyncConnection, now: datetime) -> Row | None:
        """The slot that is due first, locked; None: none is that nobody else has locked."""
        return await self._one(connection, "due_at <= %s ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED", (now,))

    async def next_due(self, connection: psycopg.AsyncConnection) -> datetime | None:
        """When the next slot is due; None: none ever."""
        row = await (await connection.execute("SELECT min(due_at) FROM waitlist_slots")).fetchone()
        return row[0] if row else None

    async def offer_of(self, connection: psycopg.AsyncConnection, code: str) -> Offer | None:
        """The offer that a link's code names."""
        return await _offer(connection, "code = %s", code) if is_code(code) else None

    async def offer(self, connection: psycopg.AsyncConnection, named: str) -> Offer | None:
        """The offer of that id."""
        id_ = _uuid(named)
        return None if id_ is None else await _offer(connection, "offer_id = %s", id_)

    async def offers_seen(
        self, connection: psycopg.AsyncConnection, named: Sequence[str]
    ) -> dict[str, tuple[Offer, Row]]:
        """The offers of those ids, each with its slot as it is, not locked; ids of none are left out. One query."""
        ids = {name: id_ for name in named if (id_ := _uuid(name)) is not None}
        cursor = await connection.execute(
            f"""SELECT offer_id, {_OFFER}, {_COLUMNS} FROM waitlist_offers JOIN waitlist_slots USING (clinic_id, slot_id)
                WHERE offer_id = ANY(%s)""",  # noqa: S608 — columns of ours
            (list(ids.values()),),
        )
        width = len(fields(Offer))
        found = {id_: (Offer(*columns[:width]), _row(columns[width:])) for id_, *columns in await cursor.fetchall()}
        return {name: found[id_] for name, id_ in ids.items() if id_ in found}

    async def offers(self, connection: psycopg.AsyncConnection, about: About) -> list[Offer]:
        """A slot's offers in their order."""
        cursor = await connection.execute(
            f"SELECT {_OFFER} FROM waitlist_offers WHERE clinic_id = %s AND slot_id = %s ORDER BY number",  # noqa: S608 — as above
            (about.clinic_id, about.slot_id),
        )
        return [Offer(*row) for row in await cursor.fetchall()]

    async def latest(
        self, connection: psycopg.AsyncConnection, clinic_id: str | None, *, over: bool, limit: int
    ) -> list[Row]:
        """Slots of a clinic (None: of all), those last changed first; ``over``: also those that are for good."""
        cursor = await connection.execute(
            f"""SELECT {_COLUMNS} FROM waitlist_slots
                WHERE (%s::text IS NULL OR clinic_id = %s) AND (%s OR due_at IS NOT NULL)
                ORDER BY updated_at DESC, clinic_id, slot_id LIMIT %s""",  # noqa: S608 — columns of ours
            (clinic_id, clinic_id, over, limit),
        )
        return [_row(columns) for columns in await cursor.fetchall()]

    async def details(self, connection: psycopg.AsyncConnection, row: Row) -> Details | None:
        """What the slot is; None: it was never announced. Raises SealError, SlotKeyGone."""
        if row.sealed is None or row.sealed_for is None:
            return None
        subject = clinic_subject(row.sealed_for)
        key = (await data_keys.find(connection, [subject])).get(subject)
        if key is None:
            raise SlotKeyGone
        data_key = self._records.keys.get(key.wrapped, subject, key.clinic_id)
        return Details(**orjson.loads(open_sealed(data_key, _SEALED_AS, _bound(row.about), row.sealed)))

    def url(self, offer: str) -> str:
        """The page of an offer."""
        return f"{self._base_url}{PAGE_PATH}{self._code(offer)}"

    # Writing

    async def announce(
        self, connection: psycopg.AsyncConnection, row: Row, details: Details, correlation_id: str | None
    ) -> Row:
        """Keep what an announcement says of the slot; ``keep`` its step after that."""
        wrapped = await strangers_key(connection, row.about.clinic_id)
        key = self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
        sealed = seal(key, _SEALED_AS, _bound(row.about), orjson.dumps(asdict(details)))
        about = About(row.about.clinic_id, row.about.slot_id, correlation_id)
        await connection.execute(
            """UPDATE waitlist_slots SET sealed = %s, sealed_for = %s, correlation_id = %s
               WHERE clinic_id = %s AND slot_id = %s""",
            (sealed, wrapped.clinic_id, correlation_id, about.clinic_id, about.slot_id),
        )
        return Row(about, row.slot, sealed, wrapped.clinic_id)

    async def keep(self, connection: psycopg.AsyncConnection, row: Row, step: Step, now: datetime) -> Row:
        """Store the slot as it shall be, its offers, and what is told of it. The caller holds its lock."""
        about, slot = row.about, step.slot
        if slot != row.slot:
            await self._store(connection, about, slot)
        for said in step.said:
            # An offer is over before another may be made: the index of one holder sees every statement.
            if isinstance(said, OfferEnded):
                await connection.execute(
                    """UPDATE waitlist_offers SET ended_at = %s, outcome = %s
                       WHERE clinic_id = %s AND slot_id = %s AND number = %s""",
                    (now, said.outcome, about.clinic_id, about.slot_id, said.number),
                )
            elif isinstance(said, OfferMade):
                offer = saying.offer_id(about.clinic_id, about.slot_id, said.number)
                await connection.execute(
                    """INSERT INTO waitlist_offers
                       (offer_id, code, clinic_id, slot_id, number, patient_id, made_at, ends_at)
                       VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
                    (
                        *(offer, self._code(offer), about.clinic_id, about.slot_id),
                        *(said.number, said.patient_id, now, said.ends_at),
                    ),
                )
        if step.said:
            await self._tell(connection, row, step, now)
        return Row(about, slot, row.sealed, row.sealed_for)

    async def _tell(self, connection: psycopg.AsyncConnection, row: Row, step: Step, now: datetime) -> None:
        details = await self.details(connection, row)
        url = self.url(saying.offer_id(row.about.clinic_id, row.about.slot_id, step.slot.offer_number))
        rows = []
        for event in saying.events_of(row.about, details, step.slot, step.said, url, now):
            contract = EVENT_TYPES[event["event_type"]]
            wire = self._records.codec.encode(contract.topic, contract.record, event)
            rows.append(sealed_row(self._records.ring, contract.topic, event["aggregate_id"].encode(), wire))
        await outbox.add_many(connection, rows)

    async def _store(self, connection: psycopg.AsyncConnection, about: About, slot: Slot) -> None:
        await connection.execute(
            """UPDATE waitlist_slots SET state = %s, version = %s, candidates = %s, holder = %s, offer_number = %s,
                   offer_ends_at = %s, due_at = %s, starts_at = %s, window_seconds = %s, announced_version = %s,
                   too_late = %s, updated_at = now()
               WHERE clinic_id = %s AND slot_id = %s""",
            (
                slot.state,
                slot.version,
                Jsonb([list(one) for one in slot.candidates]),
                slot.holder,
                slot.offer_number,
                slot.offer_ends_at,
                slot.due_at,
                slot.starts_at,
                int(slot.window.total_seconds()),
                slot.announced_version,
                slot.too_late,
                about.clinic_id,
                about.slot_id,
            ),
        )

    async def _one(
        self, connection: psycopg.AsyncConnection, condition: LiteralString, arguments: Sequence[Any]
    ) -> Row | None:
        cursor = await connection.execute(
            f"SELECT {_COLUMNS} FROM waitlist_slots WHERE {condition}",  # noqa: S608 — a text of ours
            arguments,
        )
        columns = await cursor.fetchone()
        return None if columns is None else _row(columns)

    def _code(self, offer: str) -> str:
        return self._codes.code(offer, "waitlist")


async def put_off(connection: psycopg.AsyncConnection, row: Row, until: datetime) -> None:
    """Look at a slot later, whatever is wrong with it, so that the others are looked at meanwhile.

    ``row``: as it was read; one that was changed since keeps the time that it was given.
    """
    await connection.execute(
        "UPDATE waitlist_slots SET due_at = %s WHERE clinic_id = %s AND slot_id = %s AND due_at = %s",
        (until, row.about.clinic_id, row.about.slot_id, row.slot.due_at),
    )


async def _offer(connection: psycopg.AsyncConnection, condition: LiteralString, argument: str | UUID) -> Offer | None:
    cursor = await connection.execute(
        f"SELECT {_OFFER} FROM waitlist_offers WHERE {condition}",  # noqa: S608 — texts of ours
        (argument,),
    )
    row = await cursor.fetchone()
    return None if row is None else Offer(*row)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _there(row: Row | None) -> Row:
    if row is None:
        raise LookupError("there is no such slot")
    return row


def _row(columns: Sequence[Any]) -> Row:
    clinic_id, slot_id, correlation_id, sealed, sealed_for, state, version, candidates, *rest = columns
    holder, offer_number, offer_ends_at, due_at, starts_at, window_seconds, announced_version, too_late = rest
    slot = Slot(
        state,
        version,
        tuple(Candidate(*one) for one in candidates),
        holder,
        offer_number,
        offer_ends_at,
        due_at,
        starts_at,
        timedelta(seconds=window_seconds),
        announced_version,
        too_late,
    )
    return Row(About(clinic_id, slot_id, correlation_id), slot, sealed, sealed_for)


def _bound(about: About) -> str:
    return f"{about.clinic_id}\0{about.slot_id}"
