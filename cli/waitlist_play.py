"""A waitlist of five with one slot, played on the running stack: through Kafka, the coordinator, its page and the providers."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import psycopg

from connectors.postgres import outbox, recipients
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.waitlist.answering import now_ms
from connectors.waitlist.keeping import Offer, SlotRows
from connectors.waitlist.saying import About
from schemas.events import EVENT_TYPES

CLINIC = "clinic-waitlist-play"
PEOPLE = tuple(f"waitlist-play-{number}" for number in range(1, 6))
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(slots=True)
class Played:
    """What happened. ``faults``: what should have gone otherwise; none, if all is well."""

    slot_id: str
    offers: list[Offer] = field(default_factory=list)
    holder: str | None = None
    winners: int = 0
    late_ms: list[int] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """One line of it."""
        return {
            "slot_id": self.slot_id,
            "offers": [[one.patient_id, one.outcome] for one in self.offers],
            "holder": self.holder,
            "claims_that_won": self.winners,
            "offers_late_ms": self.late_ms,
            "messages": self.messages,
            "faults": self.faults,
        }


class Play:
    """One play. ``say``: where each line goes."""

    def __init__(self, settings: Settings, window_seconds: int, say: Callable[[str], None]) -> None:
        self._settings, self._window, self._say = settings, timedelta(seconds=window_seconds), say
        self._began = time.monotonic()
        self._rows: SlotRows

    async def run(self, connection: psycopg.AsyncConnection, records: Records) -> Played:
        """Play it through."""
        self._rows = SlotRows(records, self._settings.pages_url)
        slot_id = f"play-{uuid.uuid4().hex[:8]}"
        played, about = Played(slot_id), About(CLINIC, slot_id, None)
        zone = _noon_zone(datetime.now(UTC))
        await self._people(connection, records, zone)
        self._began = time.monotonic()
        await self._open(connection, records, slot_id, zone)
        self._tell(f"slot {slot_id} opens; five wait, each has {self._window.total_seconds():g} s")
        async with aiohttp.ClientSession() as session:
            await self._offer(connection, about, 1)
            self._tell("  she does not look at her telephone")
            second = await self._offer(connection, about, 2)
            self._tell(f"  she passes it on: the page says {await self._post(session, second, 'decline')}")
            third = await self._offer(connection, about, 3)
            fourth = await self._offer(connection, about, 4)
            self._tell(f"  the third taps too late: the page says {await self._post(session, third, 'claim')}")
            first = (await self._rows.offers(connection, about))[0]
            tries = [fourth] * 10 + [first, second, third] * 5
            said = await asyncio.gather(*(self._post(session, offer, "claim") for offer in tries))
            won = {offer.patient_id for offer, word in zip(tries, said, strict=True) if word == "claimed"}
            played.winners = len(won)
            self._tell(
                f"  {len(tries)} claims at once by four people: it is now {', '.join(sorted(won)) or 'nobody'}'s"
            )
        played.offers = await self._rows.offers(connection, about)
        played.holder = (await self._rows.seen(connection, CLINIC, slot_id)).slot.holder
        played.late_ms = _late(played.offers)
        await self._messages(connection, played)
        self._judge(played)
        return played

    async def _people(self, connection: psycopg.AsyncConnection, records: Records, zone: str) -> None:
        """Five who can be reached by text and by email, and for whom it is noon."""
        rows = []
        for number, patient in enumerate(PEOPLE):
            now = now_ms()
            draft = {
                "first_name": "Play",
                "time_zone": zone,
                "phones": [{"e164": f"+1202555010{number}", "verified": True}],
                "emails": [{"address": f"{patient}@example.com", "verified": True}],
                "consents": [_consent(name, now) for name in ("sms_transactional", "email_transactional")],
            }
            content = records.decode_content(records.encode_content(draft))
            rows.append(Recipient(f"patient:{patient}", CLINIC, content))
        async with connection.transaction():
            written = await recipients.upsert_many(connection, records, rows, "luxe waitlist play")
        await outbox.published(connection, written.outbox_ids, PATIENCE_SECONDS)

    async def _open(self, connection: psycopg.AsyncConnection, records: Records, slot_id: str, zone: str) -> None:
        now = now_ms()
        event: dict[str, Any] = {
            "event_id": str(uuid.uuid4()),
            "event_type": "waitlist.slot_available",
            "occurred_at": now,
            "schema_version": "1.0",
            "source": "luxe-waitlist-play",
            "correlation_id": slot_id,
            "clinic_id": CLINIC,
            "aggregate_id": slot_id,
            "aggregate_version": 1,
            "metadata": {},
            "slot_id": slot_id,
            "waitlist_patients": list(PEOPLE),
            "service": "Facial",
            "provider": "Dr. Smith",
            "date": (now + timedelta(days=2)).date(),
            "time": "14:00",
            "expires_at": now + self._window,
            "provider_id": None,
            "duration": 45,
            "time_zone": zone,
            "claim_url": None,
        }
        contract = EVENT_TYPES[event["event_type"]]
        wire = records.codec.encode(contract.topic, contract.record, event)
        async with connection.transaction():
            added = await outbox.add(connection, contract.topic, slot_id.encode(), wire)
        await outbox.published(connection, [added], PATIENCE_SECONDS)

    async def _offer(self, connection: psycopg.AsyncConnection, about: About, number: int) -> Offer:
        """The n-th offer, once it is made. Raises TimeoutError where it never is."""
        deadline = time.monotonic() + self._window.total_seconds() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            offers = await self._rows.offers(connection, about)
            if len(offers) >= number:
                if number > 1:
                    self._tell(f"offer {number - 1} is over: {offers[number - 2].outcome}")
                self._tell(f"offer {number} goes to {offers[number - 1].patient_id}")
                return offers[number - 1]
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"offer {number} was not made; is the coordinator well? See `luxe status`")

    async def _post(self, session: aiohttp.ClientSession, offer: Offer, word: str) -> str:
        """What the page says then, in a word."""
        async with session.post(self._rows.url(offer.offer_id), data={"word": word}) as response:
            text = await response.text()
        return next((word for word in ("claimed", "declined", "taken", "over") if f'data-word="{word}"' in text), "?")

    async def _messages(self, connection: psycopg.AsyncConnection, played: Played) -> None:
        """What each got, from the ledger, once nothing more is under way."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        found: dict[str, list[str]] = {}
        while time.monotonic() < deadline:
            cursor = await connection.execute(
                """SELECT recipient, notification_type, channel, state FROM deliveries
                   WHERE clinic_id = %s AND correlation_id = %s ORDER BY created_at, channel""",
                (CLINIC, played.slot_id),
            )
            found = {patient: [] for patient in PEOPLE}
            for recipient, kind, channel, state in await cursor.fetchall():
                found[recipient.removeprefix("patient:")].append(f"{kind} by {channel}: {state}")
            if any("waitlist_claimed" in one for one in found[PEOPLE[3]]):
                break
            await asyncio.sleep(POLL_SECONDS)
        played.messages = found
        for patient, messages in found.items():
            self._say(f"{patient}: {', '.join(messages) or 'nothing'}")

    def _judge(self, played: Played) -> None:
        wanted = [(PEOPLE[0], "expired"), (PEOPLE[1], "declined"), (PEOPLE[2], "expired"), (PEOPLE[3], "claimed")]
        if [(one.patient_id, one.outcome) for one in played.offers] != wanted:
            played.faults.append("the offers went otherwise than they should")
        if played.holder != PEOPLE[3] or played.winners != 1:
            played.faults.append(f"{played.winners} won the slot")
        if any(not played.messages[patient] for patient in PEOPLE[:4]) or played.messages[PEOPLE[4]]:
            played.faults.append("not exactly those were written to who were asked")
        self._say(
            f"offers {len(played.offers)}, claims that won {played.winners}, "
            f"next offers {' and '.join(map(str, played.late_ms))} ms after a window's end"
        )

    def _tell(self, line: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.2f} s  {line}")


def _late(offers: list[Offer]) -> list[int]:
    """How long after a window's end the next one began, in ms."""
    return [
        round((after.made_at - before.ends_at).total_seconds() * 1000)
        for before, after in itertools.pairwise(offers)
        if before.outcome == "expired"
    ]


def _consent(name: str, now: datetime) -> dict[str, Any]:
    return {
        "consent_type": name,
        "status": "opted_in",
        "consent_date": now,
        "method": "electronic",
        "source": "luxe waitlist play",
        "updated_at": now,
    }


def _noon_zone(now: datetime) -> str:
    """A zone where nobody sleeps now. POSIX counts west of Greenwich as positive."""
    hours = now.hour - 12
    return "Etc/GMT" if hours == 0 else f"Etc/GMT{hours:+d}"
