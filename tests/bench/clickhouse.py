"""ClickHouse ingest by container concatenation against decode-and-insert, over the same records of one topic.

Both read the topic from Kafka, both write the same table of the embedded engine, each in a process and a data directory of its
own. Ours keeps each record exactly once; the reference does not.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from connectors.kafka import make_producer
from connectors.kafka_admin import topic_ids
from connectors.postgres.migrate import migrate
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import STATUS
from tests.bench.report import Figure, rate
from tests.bench.stack import ask_worker
from tests.conftest import Stack

RECORDS = 2_000_000
# Decoding is slower by so much that a tenth of the records keeps it busy long enough.
REFERENCE_RECORDS = 200_000
ROUNDS = 3
GOAL_EVENTS_PER_SECOND = 200_000
GOAL_RATIO = 4.0
RECIPIENTS = 5_000
_POLL_EVERY = 10_000
_STATUSES = ("queued", "sending", "sent", "delivered")


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About two minutes."""
    settings = stack.settings
    migrate(settings, say=lambda _: None)
    ensure_key_ring(settings)
    topic = stack.new_topics([STATUS])[STATUS]
    ids = topic_ids(settings, [topic])
    say(f"writing {RECORDS:,} delivery statuses to the log")
    _fill(settings, topic)
    ours: list[float] = []
    reference: list[float] = []
    for number in range(1, ROUNDS + 1):
        ours.append(_ours(settings, ids, number))
        say(f"round {number}: the ingester {ours[-1]:,.0f} events/s")
        reference.append(_reference(settings, ids, topic, number))
        say(f"round {number}: decode and insert {reference[-1]:,.0f} events/s")
    wanted = [float(GOAL_EVENTS_PER_SECOND)]
    return [
        rate("ClickHouse ingest ÷ decode and insert", ours, reference, "events/s", GOAL_RATIO),
        rate("ClickHouse ingest ÷ the rate that is wanted", [median(ours)], wanted, "events/s", 1.0),
    ]


def _ours(settings: Settings, ids: dict[str, str], number: int) -> float:
    own = settings.model_copy(
        update={"state_dir": settings.state_dir / f"bench-ingest-{number}", "kek_file": settings.kek_path}
    )
    result = ask_worker(
        "tests.bench.yardsticks.ingest", own, topics=ids, rows=RECORDS, sink=f"bench-{uuid.uuid4().hex[:8]}"
    )
    if result["rows"] != RECORDS:
        raise RuntimeError(f"{result['rows']} rows of {RECORDS} records: the ingester does not keep its promise")
    return float(RECORDS / result["seconds"])


def _reference(settings: Settings, ids: dict[str, str], topic: str, number: int) -> float:
    own = settings.model_copy(
        update={"state_dir": settings.state_dir / f"bench-decode-{number}", "kek_file": settings.kek_path}
    )
    result = ask_worker(
        "tests.bench.yardsticks.decode_and_insert",
        own,
        topic=topic,
        topic_id=ids[topic],
        subject_topic=STATUS,
        rows=REFERENCE_RECORDS,
        group=f"bench-{uuid.uuid4().hex[:8]}",
    )
    return float(result["rows"] / result["seconds"])


def _fill(settings: Settings, topic: str) -> None:
    encode = Codec(FileRegistry()).encoder(STATUS, "luxe.pipeline.DeliveryStatus")
    producer = make_producer(settings, linger_ms=20, queue_buffering_max_messages=RECORDS + 1)
    value = _status()
    began: datetime = value["status_at"]
    for number in range(RECORDS):
        digits = f"{number:012d}"
        value["status_id"] = f"5ca1ab1e-0000-4000-8000-{digits}"
        value["delivery_id"] = f"de11be7e-0000-4000-8000-{digits}"
        value["notification_id"] = f"0071f1ca-0000-4000-8000-{digits}"
        value["recipient"] = recipient = f"patient:{number % RECIPIENTS}"
        value["status"] = _STATUSES[number % len(_STATUSES)]
        value["provider_message_id"] = f"SM{number:032x}"
        value["status_at"] = value["recorded_at"] = began + timedelta(milliseconds=number)
        producer.produce(topic, encode(value), recipient)
        if number % _POLL_EVERY == 0:
            producer.poll(0)
    producer.flush()


def _status() -> dict[str, Any]:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return {
        "notification_type": "appointment_confirmation",
        "clinic_id": "clinic-demo",
        "category": "transactional",
        "lane": "high",
        "channel": "sms",
        "step": 0,
        "attempt": 1,
        "reason": "",
        "provider": "twilio",
        "provider_status": "delivered",
        "provider_event_id": None,
        "error_class": None,
        "error_code": None,
        "retry_at": None,
        "template_id": "appointment_confirmation",
        "template_version": 1,
        "segments": 1,
        "occurred_at": now,
        "status_at": now,
        "recorded_at": now,
        "correlation_id": None,
        "sealed": None,
    }
