"""Waiting until committed readers can read what was committed.

`commit_transaction` returns when the coordinator has decided; the markers that let committed readers past come after that, and a
coordinator that starts cold may miss one (streams/runtime/settle.py). And behind another producer's open transaction nothing of a
partition can be read, committed or not, until that one ends. Whoever is told that a record is in force must be told after that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from connectors.kafka import make_admin
from connectors.settings import Settings

# An owner that died in its transaction leaves it open for half a minute at most (LUXE_STREAMS_TRANSACTION_TIMEOUT_SECONDS).
VISIBLE_SECONDS = 40.0
ANSWER_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.002
LAST_PAUSE_SECONDS = 0.25


class Visible:
    """Asks the partitions' leaders; its connection is its own. Not for an event loop: it blocks."""

    def __init__(self, settings: Settings) -> None:
        self._admin = make_admin(settings)

    def wait(self, written: Mapping[tuple[str, int], int], stop: Event) -> bool:
        """Until everything up to these offsets, by topic and partition, can be read; False: stopped before.

        Raises KafkaException after VISIBLE_SECONDS.
        """
        left = {TopicPartition(topic, number): offset for (topic, number), offset in written.items()}
        deadline, pause_seconds = time.monotonic() + VISIBLE_SECONDS, FIRST_PAUSE_SECONDS
        while left:
            asked = self._admin.list_offsets(
                {one: OffsetSpec.latest() for one in left},  # type: ignore[no-untyped-call]
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=ANSWER_SECONDS,
            )
            for one, answer in asked.items():
                # Whoever leads it next is asked again.
                if answer.exception() is None and answer.result().offset > left[one]:
                    del left[one]
            if not left:
                break
            if time.monotonic() > deadline:
                where = ", ".join(sorted(f"{one.topic}[{one.partition}]" for one in left))
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"what was committed to {where} cannot be read by anybody yet")
                )
            if stop.wait(pause_seconds):
                return False
            pause_seconds = min(2 * pause_seconds, LAST_PAUSE_SECONDS)
        return True
