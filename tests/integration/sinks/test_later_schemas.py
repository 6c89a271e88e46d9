"""A sink that is older than who writes to it, as in a rolling upgrade in the wrong order: it buries nothing and skips nothing."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from connectors.sealing import seal
from schemas.definitions import subject, versions
from schemas.registry import FileRegistry
from schemas.topics import GATES, LANES
from tests.contract.loopback_registry import running_registry
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for
from tests.integration.sinks.test_conformance import gate
from tests.integration.sinks.test_metrics import value

pytestmark = pytest.mark.integration

MESSAGE, CONTENT, GATE = "luxe.pipeline.ChannelMessage", "luxe.pipeline.MessageContent", "luxe.pipeline.Gate"


def body(schema: Any, record: dict[str, Any]) -> bytes:
    written = BytesIO()
    schemaless_writer(written, parse_schema(schema), record)
    return written.getvalue()


def waiting(rig: Rig) -> float:
    return value(rig.settings, "sms", "luxe_deliveries_later_schema")


def test_what_a_later_release_wrote_waits_in_its_place_and_is_sent_once_it_can_be_read(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    later, earlier = outbox.outgoing("sms", patient), outbox.outgoing("sms", patient)
    committed = FileRegistry().lines(subject(later.topic, MESSAGE))
    message_id, content_id = committed[-1].id, FileRegistry().lines(subject("", CONTENT))[-1].id

    def write_as_before(one: Outgoing) -> None:
        """As the release before would."""
        first = body(versions(CONTENT)[0], one.content)
        one.message["sealed"] = seal(outbox.keys[patient], "ChannelMessage", one.id, first)
        wire = b"\0" + committed[-2].id.to_bytes(4, "big") + body(versions(MESSAGE)[-2], one.message)
        outbox.send_raw(one.topic, patient.encode(), wire)

    rig.ensure("sms")
    # What others left would wait too.
    wait_for(lambda: all(sum(rig.committed("sms", lane).values()) == 0 for lane in LANES))
    with running_registry() as registry:
        registry.load_committed()
        text = registry.texts.pop(message_id)
        del registry.texts[content_id]
        if "sms" in rig.running:
            rig.end("sms")
        before = len(rig.eye.dead_letters)
        rig.start("sms", {"LUXE_SCHEMA_REGISTRY_URL": registry.url})
        try:
            outbox.send([later])
            wait_for(lambda: waiting(rig) == 1)
            write_as_before(earlier)  # the same partition
            assert rig.eye.end(earlier.id)["status"] == "sent"
            assert not rig.eye.words(later.id)
            registry.texts[message_id] = text
            rig.eye.status(later.id, "queued")  # the registry was asked again; what is sealed in it cannot be read yet
            wait_for(lambda: waiting(rig) == 1)
        finally:
            assert rig.end("sms") == 0
    assert (rig.eye.words(later.id), rig.taken(later), len(rig.eye.dead_letters)) == (["queued"], [], before)
    assert sum(rig.committed("sms").values()) > 0  # its place is kept
    rig.start("sms")  # of the later release
    assert rig.eye.end(later.id)["status"] == "sent"
    wait_for(lambda: sum(rig.committed("sms").values()) == 0)
    assert [len(rig.taken(one)) for one in (later, earlier)] == [1, 1]
    assert len(rig.eye.dead_letters) == before


def test_who_a_gate_of_a_later_release_is_about_waits_and_nobody_else(rig: Rig, outbox: Outbox, patient: str) -> None:
    about, other = outbox.outgoing("sms", patient), outbox.outgoing("sms", patient)
    gate_key = f"notification:{about.message['notification_id']}"
    outbox.send_raw(GATES, gate_key.encode(), outbox.records.codec.encode(GATES, GATE, gate(gate_key, "cancelled")))
    with running_registry() as registry:
        registry.load_committed()
        registry.not_yet.add(FileRegistry().lines(subject(GATES, GATE))[-1].id)
        if "sms" in rig.running:
            rig.end("sms")
        rig.start("sms", {"LUXE_SCHEMA_REGISTRY_URL": registry.url})
        try:
            outbox.send([about, other])  # one partition, in this order
            assert rig.eye.end(other.id)["status"] == "sent"
            wait_for(lambda: waiting(rig) > 1)  # the message, and the gates
            assert rig.eye.words(about.id) == ["queued"]
            registry.not_yet.clear()
            assert rig.eye.end(about.id)["status"] == "cancelled"
            wait_for(lambda: waiting(rig) == 0)
        finally:
            assert rig.end("sms") == 0
    assert rig.taken(about) == []
