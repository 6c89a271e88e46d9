"""Takes replies by text: finds what they are about, remembers it, and tells the practice system by an event.

Everything may be repeated: what a text was about is remembered, and the same text is the same event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg

from connectors.postgres import data_keys, text_questions
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records, clinic_subject
from connectors.postgres.text_questions import Meant, Question
from connectors.sealing import SealError, header_of, open_sealed
from connectors.webhooks.event_log import EventLog
from connectors.webhooks.replying import chosen, event_of, filled
from connectors.webhooks.withdrawals import Withdrawals

log = logging.getLogger(__name__)

ASKED = "luxe.pipeline.AskedAppointment"
# One number's texts that can still be answered; who has more gets no answer by guess anyway.
MOST_QUESTIONS = 200
# Gates are read within moments of the start; until then Twilio is to post again.
READ_SECONDS = 5.0
_GENERIC_SERVICE = "appointment"


class Replies:
    """See the module."""

    def __init__(self, pool: Pool, records: Records, withdrawals: Withdrawals, events: EventLog) -> None:
        self._pool, self._records, self._withdrawals, self._events = pool, records, withdrawals, events

    async def take(self, message_id: str, number: str, sender_class: str, meant: Meant, now: datetime) -> int | None:
        """None once its event is in Kafka; else of how many appointments it could be: it is a message for people.

        Raises TimeoutError, psycopg.Error, KafkaException, BufferError: post it again.
        """
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._withdrawals.read_whole)), READ_SECONDS)
        address_hash = self._records.ring.address_hash("sms", number)
        async with self._pool.connection() as connection:
            answer = await text_questions.answered(connection, message_id)
            if answer is None:
                asked = await text_questions.asked_of(connection, address_hash, sender_class, now, MOST_QUESTIONS)
                found = chosen(meant, asked, self._overtook)
                answer = await text_questions.answer(connection, message_id, now, meant, found.possible, found.question)
            event = None
            if answer.delivery_id is not None:
                event = await self._event(connection, answer.delivery_id, answer.meant, message_id, answer.at)
        log.info("a text said %s: of %d appointments it could be about", meant, answer.possible)
        if event is None:
            return answer.possible
        await self._events.publish(event)
        return None

    def _overtook(self, question: Question) -> bool:
        return self._withdrawals.overtook(
            question.clinic_id, question.aggregate_type, question.aggregate_id, question.aggregate_version
        )

    async def _event(
        self, connection: psycopg.AsyncConnection, delivery_id: str, meant: Meant, message_id: str, at: datetime
    ) -> dict[str, Any] | None:
        """None: its patient was erased since, and nobody can read any more what was asked."""
        history = await text_questions.history_of(connection, delivery_id)
        opened = [facts for question in history if (facts := await self._opened(connection, question)) is not None]
        if not history or not opened or history[0].delivery_id != delivery_id:
            return None
        generic = await self._generic_service(connection, history[0].clinic_id)
        return event_of(meant, history[0], filled(opened), message_id=message_id, at=at, generic_service=generic)

    async def _opened(self, connection: psycopg.AsyncConnection, question: Question) -> Mapping[str, Any] | None:
        try:
            header = header_of(question.sealed)
            subjects = [question.recipient]
            if header.scope != "r":
                subjects = [clinic_subject(question.clinic_id), clinic_subject(SYSTEM_CLINIC)]
            for wrapped in (await data_keys.find(connection, subjects)).values():
                key = self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
                if key.key_id == header.key_id:
                    asked = open_sealed(key, "AskedAppointment", question.delivery_id, question.sealed)
                    return self._records.codec.decode_content(ASKED, asked)
        except SealError as error:
            log.error("what delivery %s asked cannot be opened (%s)", question.delivery_id, error.code)  # noqa: TRY400
        return None

    @staticmethod
    async def _generic_service(connection: psycopg.AsyncConnection, clinic_id: str) -> str:
        cursor = await connection.execute(
            """SELECT content->>'generic_service_name' FROM policies
               WHERE clinic_id = %s OR clinic_id = %s ORDER BY clinic_id = %s LIMIT 1""",
            (clinic_id, SYSTEM_CLINIC, SYSTEM_CLINIC),
        )
        row = await cursor.fetchone()
        return (row[0] if row is not None else None) or _GENERIC_SERVICE
