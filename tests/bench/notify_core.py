"""What notify costs an event without Kafka: `python -m tests.bench.notify_core [events]`.

Two channels, 2,000 patients in turn. Measured twice: every recipient decoded already (``warm``), and every one decoded anew
(``cold``). The reference does the prototype's work with the same records: decode, look up, two renders, two encodings.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment

from connectors.sealing import open_sealed
from schemas.ids import delivery_id
from schemas.topics import deliver_topic
from streams.runtime import Record
from tests.notify_world import EMAIL_BODY, NOW, SMS, World

PATIENTS = 2000
BATCH = 500
ROUNDS = 10


def prepared(events: int) -> tuple[World, list[Record], list[bytes]]:
    """A world, its requests, and the bare events."""
    world = World(Path(tempfile.mkdtemp()))
    world.add_confirmation()
    for number in range(PATIENTS):
        world.add_recipient(f"patient:{number}")
    records, wires = [], []
    for number in range(events):
        event = world.created(number, patient=str(number % PATIENTS))
        records.append(world.record_of(world.request(event)))
        wires.append(world.codec.encode("events.appointment", "luxe.events.AppointmentCreated", event))
    return world, records, wires


def ours(world: World, records: list[Record]) -> float:
    """CPU seconds of notify's work on all records."""
    before = world.worked_seconds
    for start in range(0, len(records), BATCH):
        world.work(*records[start : start + BATCH])
    return world.worked_seconds - before


def reference(world: World, wires: list[bytes]) -> float:
    """Seconds for the bare work on all events."""
    environment = Environment(autoescape=True)
    texts = [("sms", environment.from_string(SMS)), ("email", environment.from_string(EMAIL_BODY))]
    people = {str(number): {"locale": "en-US", "sms": True, "email": True} for number in range(PATIENTS)}
    encoders = {
        channel: world.codec.encoder(deliver_topic(channel, "high"), "luxe.pipeline.ChannelMessage")
        for channel, _ in texts
    }
    began = time.process_time()
    for wire in wires:
        event = world.codec.decode(wire).value
        person: dict[str, Any] = people[event["patient_id"]]
        values = {
            "first_name": event["patient_name"].split()[0],
            "appointment_date": event["appointment_date"].strftime("%b %d, %Y"),
            "appointment_time": event["appointment_time"],
            "service_generic": event["service"],
            "provider": event["provider"],
            "clinic_name": "Luxe",
            "portal_url": "https://x",
        }
        for step, (channel, text) in enumerate(texts):
            if person[channel]:
                identity = delivery_id(event["event_id"], channel, step)
                encoders[channel](_bare_message(event, channel, step, identity, person, text.render(values)))
    return time.process_time() - began


def _bare_message(
    event: dict[str, Any], channel: str, step: int, identity: str, person: dict[str, Any], body: str
) -> dict[str, Any]:
    return {
        "delivery_id": identity,
        "notification_id": event["event_id"],
        "event_id": event["event_id"],
        "notification_type": "appointment_confirmation",
        "recipient": event["patient_id"],
        "clinic_id": event["clinic_id"],
        "aggregate_type": "appointment",
        "aggregate_id": event["aggregate_id"],
        "aggregate_version": 1,
        "category": "transactional",
        "lane": "high",
        "channel": channel,
        "step": step,
        "sender_class": "care",
        "essential": True,
        "template_id": "appointment_confirmation",
        "template_version": 1,
        "locale": person["locale"],
        "occurred_at": event["occurred_at"],
        "created_at": NOW,
        "sealed": body.encode(),
    }


def main(events: int) -> None:
    """Prints µs of CPU an event: of the quickest round, since the machine may be busy with other things."""
    world, records, wires = prepared(PATIENTS + ROUNDS * events)
    cold = ours(world, records[:PATIENTS]) / PATIENTS
    warm, bare = [], []
    for round_number in range(ROUNDS):
        start = PATIENTS + round_number * events
        warm.append(ours(world, records[start : start + events]) / events)
        bare.append(reference(world, wires[start : start + events]) / events)
    message = world.messages(world.work(world.record_of(world.request(world.created(10**9, patient="1")))))[1]
    html = len(open_sealed(world.keys["patient:1"], "ChannelMessage", message["delivery_id"], message["sealed"]))
    ratio = min(warm) / min(bare)
    print(
        f"cold {cold * 1e6:.1f} µs; warm {min(warm) * 1e6:.1f} µs, "
        f"reference {min(bare) * 1e6:.1f} µs: {ratio:.2f}×; email {html} bytes"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
