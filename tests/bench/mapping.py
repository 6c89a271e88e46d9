"""What intake costs an event without Kafka: `python -m tests.bench.mapping [events]`.

Decode, check, map, seal and encode on the data plane's batches, the store in memory; CPU µs of the quickest of ten rounds. The
bookings have eight requests each, the payments two; the reference only decodes the event and encodes and seals as many requests.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.sealing import seal
from schemas.ids import notification_id
from schemas.topics import REQUESTED
from streams.runtime import Record
from tests.intake_world import IntakeWorld
from tests.unit.rules.events import event

PATIENTS = 500
BATCH = 500
ROUNDS = 10
REQUEST = "luxe.pipeline.NotificationRequest"


def _quickest(work: Callable[[list[Record]], None], rounds: list[list[Record]]) -> float:
    """CPU µs an event."""
    found = []
    for records in rounds:
        began = time.process_time()
        work(records)
        found.append((time.process_time() - began) / len(records))
    return min(found) * 1e6


def _reference(world: IntakeWorld, requests: int) -> Callable[[list[Record]], None]:
    encode = world.codec.encoder(REQUESTED, REQUEST)
    sample = world.requests(world.ask(event("payment.received", aggregate_id="sample")))[0]
    key = world.keys["patient:0"]

    def work(records: list[Record]) -> None:
        for record in records:
            found: dict[str, Any] = world.codec.decode(record.value).value
            recipient = f"patient:{found['patient_id']}"
            for number in range(requests):
                identity = notification_id(found["event_id"], "type", recipient, number)
                sealed = seal(key, "NotificationRequest", identity, record.value or b"")
                encode({**sample, "notification_id": identity, "recipient": recipient, "sealed": sealed})

    return work


def main(events: int) -> None:
    """Prints a line for each kind of event."""
    world = IntakeWorld(Path(tempfile.mkdtemp()))
    for number in range(PATIENTS):
        world.add_recipient(f"patient:{number}")
    for event_type in ("appointment.created", "payment.received"):
        rounds = [
            [
                world.record(
                    event(event_type, aggregate_id=f"{round_number}-{number}", patient_id=str(number % PATIENTS))
                )
                for number in range(events)
            ]
            for round_number in range(ROUNDS)
        ]

        def ours(records: list[Record]) -> None:
            for start in range(0, len(records), BATCH):
                world.work(*records[start : start + BATCH])

        requests = len(world.requests(world.work(rounds[0][0])))
        mine = _quickest(ours, rounds)
        bare = _quickest(_reference(world, requests), rounds)
        rate = f"{mine:.0f} µs ({1e6 / mine:,.0f} events/s)"
        print(f"{event_type}: {requests} requests; {rate}, reference {bare:.0f} µs: {mine / bare:.2f}×")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
