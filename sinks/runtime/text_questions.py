"""What a text or an in-app message asks, stored before it is sent: its answer may come the moment somebody sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.gathering import Gathered
from connectors.postgres import text_questions
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.postgres.text_questions import Question
from connectors.sealing import seal
from sinks.runtime.keys import ASKED, KeyGone, Keys
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning

# What the sealed bytes are bound to, with the delivery's id; whoever opens them says the same.
SEALED_AS = "AskedAppointment"


class QuestionStore:
    """Stores questions, many messages' in one commit. Waits while Postgres is away, as the ledger does."""

    def __init__(self, pool: Pool, records: Records, keys: Keys, tuning: Tuning) -> None:
        self._pool, self._records, self._keys = pool, records, keys
        self._retry_seconds = tuning.postgres_retry_seconds
        self._gathered: Gathered[Question, None] = Gathered(
            self._keep, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def keep(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Return once it is stored; most messages ask nothing. Raises PoisonError, KeyRingError."""
        asks = content["asks"]
        if asks is None:
            return
        try:
            key = await self._keys.key_of(message)
        except KeyGone:
            return  # erased this moment: her gate stops the text, and nobody could read what it asked
        await self._gathered.submit(
            Question(
                delivery_id=message["delivery_id"],
                address_hash=self._records.ring.address_hash(message["channel"], content["to"]),
                sender_class=message["sender_class"],
                recipient=message["recipient"],
                clinic_id=message["clinic_id"],
                aggregate_type=message["aggregate_type"],
                aggregate_id=message["aggregate_id"],
                aggregate_version=message["aggregate_version"],
                correlation_id=message["correlation_id"],
                starts_at=self._records.codec.decode_content(ASKED, asks)["starts_at"],
                sealed=seal(key, SEALED_AS, message["delivery_id"], asks),
            )
        )

    async def _keep(self, batch: Sequence[Question]) -> list[None]:
        await patiently(lambda: text_questions.keep(self._pool, batch), retry_seconds=self._retry_seconds)
        return [None] * len(batch)
