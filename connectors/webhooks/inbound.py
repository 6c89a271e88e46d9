"""Texts from phones: a keyword changes what is sent from then on, or answers what a text asked; all else is for people.

Everything may be repeated, under the same MessageSid: Twilio, where it is told to, posts again what it heard no answer to,
and the sweep (connectors.webhooks.sweep) takes what it posted in vain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import psycopg

from connectors.postgres import recipients, texts_taken
from connectors.postgres.in_force import InForce
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.postgres.text_questions import Meant
from connectors.settings import Settings
from connectors.suppressing import sms_sender_class
from connectors.unsubscribing import carrying_out, history
from connectors.unsubscribing.carrying_out import CarriedOut, Text
from connectors.unsubscribing.wishes import SenderClass
from connectors.webhooks.answers import SILENCE, AnswerTo, twiml
from connectors.webhooks.event_log import EventLog
from connectors.webhooks.keywords import Keyword, carriers_know, keyword
from connectors.webhooks.replies import Replies
from schemas.ids import derived_id

log = logging.getLogger(__name__)

INBOUND_PATH = "/webhooks/twilio/inbound"
EVENT_TYPE = "message.received"
# The contract's own limit; Twilio's is 1,600.
MAX_TEXT_CHARACTERS = 20_000
IN_FORCE_SECONDS = 5.0
# Who wrote, where nobody is known under that number: staff see the number, and that we do not know whose it is.
STRANGER = "unknown"


class InboundError(Exception):
    """A signed form that is no text from a phone. Names the field and the shape of what stood there."""


@dataclass(frozen=True, slots=True, repr=False)
class Inbound:
    """One text. Carries PHI: never printed."""

    message_id: str
    number: str
    senders: tuple[str, ...]
    body: str
    media: int
    answered: bool
    # When it came to Twilio, of one that only the sweep found; None: it is posted just now.
    said_at: datetime | None = None

    @classmethod
    def read(cls, form: Mapping[str, str], said_at: datetime | None = None) -> Inbound:
        """From Twilio's form. Raises InboundError."""
        message_id, number = form.get("MessageSid", ""), form.get("From", "")
        senders = tuple(sender for name in ("To", "MessagingServiceSid") if (sender := form.get(name)))
        body, media = form.get("Body", ""), form.get("NumMedia", "0")
        if not 2 <= len(message_id) <= 64:
            raise InboundError(f"MessageSid: {len(message_id)} characters; Twilio's have 34")
        if not number or not senders:
            raise InboundError("From or To is missing")
        if len(body) > MAX_TEXT_CHARACTERS:
            raise InboundError(f"Body: {len(body)} characters; at most {MAX_TEXT_CHARACTERS}")
        # Twilio says so where a messaging service's Advanced Opt-Out recognised the word, and answered it.
        answered = bool(form.get("OptOutType"))
        return cls(message_id, number, senders, body, int(media) if media.isdecimal() else 0, answered, said_at)


class _Clinic(NamedTuple):
    clinic_id: str
    name: str
    phone: str | None
    locale: str


class InboundDesk:
    """Takes texts."""

    def __init__(
        self, settings: Settings, pool: Pool, in_force: InForce, records: Records, events: EventLog, replies: Replies
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._in_force = in_force
        self._records = records
        self._events = events
        self._replies = replies

    async def take(self, text: Inbound, now: datetime) -> str:
        """TwiML, once what was said is in Kafka. Raises InboundError for a sender that is no telephone.

        psycopg.Error, KafkaException, BufferError, TimeoutError or OutboxDelayed: it is perhaps stored, but not in force; the
        sweep takes it again, if Twilio does not post it again before.
        """
        try:
            address_hash = self._records.ring.address_hash("sms", text.number)
        except ValueError as error:
            raise InboundError(f"From: {error}") from None
        answer = await self._taken(text, address_hash, now)
        async with self._pool.connection() as connection:
            await texts_taken.remember(connection, text.message_id)
        return answer

    async def _taken(self, text: Inbound, address_hash: str, now: datetime) -> str:
        word = keyword(text.body)
        if word is None or (text.said_at is not None and await self._is_late(word, text, text.said_at, address_hash)):
            await self._pass_on(text, now)
            return SILENCE
        async with self._pool.connection() as connection:
            sender_class = await self._sender_class(connection, text.senders)
            said = Text(text.message_id, text.number, sender_class)
            answer: AnswerTo = "help"
            if word in ("stop", "stop_all"):
                everything = word == "stop_all" or sender_class == "care"
                done = await carrying_out.stop(connection, self._records, said, now, every_sender=everything)
                answer = "stopped" if everything else "stopped_marketing"
            elif word in ("start", "yes"):
                done = await carrying_out.start(connection, self._records, said, now, if_opted_out=word == "yes")
                answer = "started"
            else:
                done = CarriedOut(None, (), [])
        if word in ("confirm", "reschedule") or (word == "yes" and done.action is None):
            return await self._reply(text, sender_class, "reschedule" if word == "reschedule" else "confirm", now)
        await self._in_force.wait(done.waiting, IN_FORCE_SECONDS)
        log.info("a text said %s to the %s sender: %d patients", word, sender_class, len(done.recipients))
        return await self._answer(answer, text)

    async def _is_late(self, word: Keyword, text: Inbound, said_at: datetime, address_hash: str) -> bool:
        """Whether people must see to a text that only the sweep found: nobody is answered by it any more.

        A START after which she said STOP would undo that. HELP is answered by TwiML, and there is nobody to give it to.
        """
        if word == "help":
            return not self._is_answered(text)
        if word not in ("start", "yes"):
            return False
        async with self._pool.connection() as connection:
            return await history.said_no_since(connection, address_hash, said_at)

    async def _reply(self, text: Inbound, sender_class: SenderClass, meant: Meant, now: datetime) -> str:
        """What was asked is answered by an event, and she by the notification that follows from it; else people answer her."""
        possible = await self._replies.take(text.message_id, text.number, sender_class, meant, now, text.said_at)
        if possible is None:
            return SILENCE
        await self._pass_on(text, now, {"reply": meant, "appointments": str(possible)})
        return await self._twiml("which", text) if possible > 1 else SILENCE

    async def _answer(self, answer: AnswerTo, text: Inbound) -> str:
        """Once: by us only where the provider does not."""
        return SILENCE if self._is_answered(text) else await self._twiml(answer, text)

    def _is_answered(self, text: Inbound) -> bool:
        """By the provider."""
        by_default = self._settings.sms_keyword_answers == "provider" and carriers_know(text.body)
        return text.answered or by_default

    async def _twiml(self, answer: AnswerTo, text: Inbound) -> str:
        async with self._pool.connection() as connection:
            [clinic, *_] = await self._clinics(connection, await self._people(connection, text.number))
        return twiml(answer, clinic.locale, clinic.name, clinic.phone)

    async def _pass_on(self, text: Inbound, now: datetime, marks: Mapping[str, str] = MappingProxyType({})) -> None:
        """One ``message.received`` for each clinic that knows the number; its ids follow from the text's, so twice is once.

        ``marks``: what is known of it beside its words, for the event's metadata.
        """
        async with self._pool.connection() as connection:
            if await texts_taken.known(connection, [text.message_id]):
                return
            by_clinic = await self._people(connection, text.number)
        events = [self._event(text, clinic_id, patients, now, marks) for clinic_id, patients in by_clinic.items()]
        await asyncio.gather(*(self._events.publish(event) for event in events))

    def _event(
        self, text: Inbound, clinic_id: str, patients: list[str], now: datetime, marks: Mapping[str, str]
    ) -> dict[str, Any]:
        address_hash = self._records.ring.address_hash("sms", text.number)
        conversation = derived_id("conversation", "sms", address_hash, clinic_id)
        metadata = {**marks, "media": str(text.media)} if text.media else dict(marks)
        if len(patients) > 1:
            metadata["phone_shared_by"] = str(len(patients))
        return {
            "event_id": derived_id("text", text.message_id, clinic_id),
            "event_type": EVENT_TYPE,
            "occurred_at": now,
            "schema_version": "1.0",
            "source": "twilio",
            "correlation_id": text.message_id,
            "clinic_id": clinic_id,
            "aggregate_id": conversation,
            "aggregate_version": int(now.timestamp() * 1000),
            "metadata": metadata,
            "message_id": text.message_id,
            "conversation_id": conversation,
            "patient_id": patients[0].partition(":")[2] if patients else STRANGER,
            "from": text.number,
            "body": text.body,
            "channel": "sms",
            "received_at": text.said_at or now,
            "urgent": False,
            "patient_name": None,
            "staff_ids": [],
        }

    async def _people(self, connection: psycopg.AsyncConnection, number: str) -> dict[str, list[str]]:
        """Clinic → patients with this number; the system's stand-in clinic, and nobody, where none is known."""
        found = await recipients.find_by_address(connection, self._records, "sms", number)
        cursor = await connection.execute(
            "SELECT clinic_id, recipient FROM recipients WHERE recipient = ANY(%s) ORDER BY clinic_id, recipient",
            ([recipient for recipient in found if recipient.startswith("patient:")],),
        )
        by_clinic: dict[str, list[str]] = {}
        for clinic_id, recipient in await cursor.fetchall():
            by_clinic.setdefault(clinic_id, []).append(recipient)
        return by_clinic or {SYSTEM_CLINIC: []}

    async def _clinics(self, connection: psycopg.AsyncConnection, by_clinic: Mapping[str, list[str]]) -> list[_Clinic]:
        """The clinics as an answer names them; in the language of the one patient there is."""
        cursor = await connection.execute(
            """SELECT clinic_id, content->>'name', content->>'phone', content->>'locale' FROM policies
               WHERE clinic_id = ANY(%s) OR clinic_id = %s ORDER BY clinic_id = %s, clinic_id""",
            (list(by_clinic), SYSTEM_CLINIC, SYSTEM_CLINIC),
        )
        clinics = [_Clinic(*row) for row in await cursor.fetchall()]
        everybody = [patient for patients in by_clinic.values() for patient in patients]
        if len(everybody) == 1:
            person = (await recipients.get_many(connection, self._records, everybody)).get(everybody[0])
            locale = person.content["locale"] if person is not None else None
            clinics = [clinic._replace(locale=locale or clinic.locale) for clinic in clinics]
        return clinics or [_Clinic(SYSTEM_CLINIC, "", None, "en")]

    async def _sender_class(self, connection: psycopg.AsyncConnection, senders: Sequence[str]) -> SenderClass:
        """Which of our senders was written to: the installation's, or a clinic's own for marketing."""
        if self._settings.twilio_care_sender in senders:
            return "care"
        cursor = await connection.execute(
            "SELECT 1 FROM policies WHERE content->>'sms_marketing_sender' = ANY(%s) LIMIT 1", (list(senders),)
        )
        ours = any(sms_sender_class(self._settings, sender) == "marketing" for sender in senders)
        return "marketing" if ours or await cursor.fetchone() is not None else "care"
