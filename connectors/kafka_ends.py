"""Where a topic's partitions end, asked of their leaders now and then, beside whoever reads them: nobody waits for the answer.

Whoever must not miss what somebody is just writing asks for ends with open transactions' records: what waits behind such a one is
there, though nobody can read it yet. Whoever must not miss what was acknowledged asks for committed ends: no write in an open
transaction has been acknowledged to anybody.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from connectors.kafka import make_admin
from connectors.settings import Settings

# One request a second and process, of all partitions; the age that is told of them is no finer.
ASK_SECONDS = 1.0
# A leader that is away leaves a question open; the next one goes to whoever leads then.
ANSWER_SECONDS = 5.0


class Ends:
    """See the module. ``committed``: open transactions' records, and what lies behind them, do not count."""

    def __init__(self, settings: Settings, topic: str, partitions: Iterable[int], *, committed: bool = False) -> None:
        self._admin = make_admin(settings)
        self._isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        self._question = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}  # type: ignore[no-untyped-call]
        self._asked_at = float("-inf")
        self._answers: dict[TopicPartition, Future[Any]] = {}

    def heard(self) -> tuple[float, dict[int, int]] | None:
        """What came since: when it was asked for (``time.monotonic``), and the ends by partition, but those that were not told.

        To be called often: it asks, too, when it is time.
        """
        if self._answers:
            if not all(answer.done() for answer in self._answers.values()):
                return None
            answers, self._answers = self._answers, {}
            told = {
                one.partition: int(answer.result().offset)
                for one, answer in answers.items()
                if answer.exception() is None
            }
            return self._asked_at, told
        if time.monotonic() - self._asked_at >= ASK_SECONDS:
            self._asked_at = time.monotonic()
            self._answers = self._admin.list_offsets(
                self._question, isolation_level=self._isolation, request_timeout=ANSWER_SECONDS
            )
        return None
