"""Takes replies by text: finds what they are about, remembers it, and tells the practice system by an event.

Everything may be repeated: what a text was about is remembered, and the same text is the same event.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from connectors.answering.asked import AskedAppointments
from connectors.answering.replying import BY_TEXT, chosen
from connectors.answering.withdrawals import Withdrawals
from connectors.postgres import text_questions
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.postgres.text_questions import Meant, Question
from connectors.webhooks.event_log import EventLog

log = logging.getLogger(__name__)

# One number's texts that can still be answered; who has more gets no answer by guess anyway.
MOST_QUESTIONS = 200
# Gates are read within moments of the start; what is answered 503 until then, the sweep takes.
READ_SECONDS = 5.0
# Twilio tells whole seconds, by a clock of its own.
TWILIO_S_CLOCK = timedelta(seconds=2)


class Replies:
    """See the module."""

    def __init__(self, pool: Pool, records: Records, withdrawals: Withdrawals, events: EventLog) -> None:
        self._pool, self._records, self._withdrawals, self._events = pool, records, withdrawals, events
        self._asked = AskedAppointments(records)

    async def take(
        self,
        message_id: str,
        number: str,
        sender_class: str,
        meant: Meant,
        now: datetime,
        said_at: datetime | None = None,
    ) -> int | None:
        """None once its event is in Kafka; else of how many appointments it could be: it is a message for people.

        ``said_at``: of a text that comes late; what was asked after it, it does not answer. Raises TimeoutError, psycopg.Error,
        KafkaException, BufferError: take it again.
        """
        await self._withdrawals.wait_until_current(READ_SECONDS)
        address_hash = self._records.ring.address_hash("sms", number)
        async with self._pool.connection() as connection:
            answer = await text_questions.answered(connection, message_id)
            if answer is None:
                asked = await text_questions.asked_of(connection, address_hash, sender_class, now, MOST_QUESTIONS)
                if said_at is not None:
                    asked = [question for question in asked if question.asked_at <= said_at + TWILIO_S_CLOCK]
                found = chosen(meant, asked, self._overtook)
                answer = await text_questions.answer(connection, message_id, now, meant, found.possible, found.question)
            event = None
            if answer.delivery_id is not None:
                event = await self._asked.event(
                    connection, answer.delivery_id, answer.meant, via=BY_TEXT, message_id=message_id, at=answer.at
                )
        log.info("a text said %s: of %d appointments it could be about", meant, answer.possible)
        if event is None:
            return answer.possible
        await self._events.publish(event)
        return None

    def _overtook(self, question: Question) -> bool:
        return self._withdrawals.overtook(
            question.clinic_id, question.aggregate_type, question.aggregate_id, question.aggregate_version
        )
