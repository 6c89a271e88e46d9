"""What was asked, opened, and the event that an answer to it is: for answers by text and by a button of the inbox alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg

from connectors.answering.replying import Via, event_of, filled
from connectors.postgres import data_keys, text_questions
from connectors.postgres.records import SYSTEM_CLINIC, Records, clinic_subject
from connectors.postgres.text_questions import Meant, Question
from connectors.sealing import SealError, header_of, open_sealed

log = logging.getLogger(__name__)

ASKED = "luxe.pipeline.AskedAppointment"
_GENERIC_SERVICE = "appointment"


class AskedAppointments:
    """Opens questions with their recipients' keys."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def event(
        self,
        connection: psycopg.AsyncConnection,
        delivery_id: str,
        meant: Meant,
        *,
        via: Via,
        message_id: str,
        at: datetime,
    ) -> dict[str, Any] | None:
        """The event that an answer to a delivery's question is. ``message_id``: the answer's own id.

        None: its patient was erased since, and nobody can read any more what was asked.
        """
        history = await text_questions.history_of(connection, delivery_id)
        opened = [facts for question in history if (facts := await self._opened(connection, question)) is not None]
        if not history or not opened or history[0].delivery_id != delivery_id:
            return None
        generic = await self._generic_service(connection, history[0].clinic_id)
        facts = filled(opened)
        return event_of(meant, history[0], facts, via=via, message_id=message_id, at=at, generic_service=generic)

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
