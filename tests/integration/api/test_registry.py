"""The registry's read protocol, with confluent's own client and deserialiser, and with Node's client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from connectors.postgres.records import Records
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry
from schemas.topics import GATES
from tests.contract.golden import golden_value
from tests.integration.api.conftest import Api
from tests.node import PINNED, run_node

pytestmark = pytest.mark.integration


async def test_confluents_client_reads_our_schemas_and_records(api: Api, records: Records) -> None:
    registry = FileRegistry()
    gate = {
        "gate_key": "recipient:patient:p1",
        "kind": "recipient",
        "reason": "manual",
        "source": "test",
        "aggregate_version": None,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "expires_at": None,
    }
    value = records.encode_gate(gate)

    def read() -> None:
        client = SchemaRegistryClient({"url": api.url.rstrip("/")})
        assert sorted(client.get_subjects()) == registry.subjects()
        for subject in registry.subjects()[:5]:
            assert client.get_versions(subject) == [line.version for line in registry.lines(subject)]
            latest = client.get_latest_version(subject)
            assert latest.schema_id == registry.lines(subject)[-1].id
            assert client.get_version(subject, 1).version == 1
        with pytest.raises(SchemaRegistryError):
            client.get_latest_version("no-such-subject")
        with pytest.raises(SchemaRegistryError):
            client.get_schema(999_999)
        decode = AvroDeserializer(client)
        decoded = decode(value, SerializationContext(GATES, MessageField.VALUE))
        assert isinstance(decoded, dict)
        assert decoded["gate_key"] == gate["gate_key"]

    await asyncio.to_thread(read)


async def test_a_node_client_reads_what_we_wrote_and_we_read_what_it_wrote(api: Api, records: Records) -> None:
    topic, record = EVENT_TYPES["appointment.created"].topic, EVENT_TYPES["appointment.created"].record
    event = golden_value(record)
    ours = records.codec.encode(topic, record, event)
    asked = {
        "registry": api.url.rstrip("/"),
        "subject": f"{topic}-{record}",
        "wire": base64.b64encode(ours).decode(),
        "value": as_node_holds_it(event),
    }
    said = await asyncio.to_thread(run_node, (PINNED / "round_trip.js").read_text(), said=json.dumps(asked))
    answer = json.loads(said)
    assert answer["decoded"] == asked["value"]
    theirs = base64.b64decode(answer["encoded"])
    assert theirs == ours
    assert records.codec.decode(theirs).value == event


def as_node_holds_it(event: Mapping[str, Any]) -> dict[str, Any]:
    """Avro's own numbers: milliseconds and days since 1970."""
    return {name: _number(value) for name, value in event.items()}


def _number(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    return value


async def test_what_is_not_there_is_said_as_a_registry_says_it(api: Api) -> None:
    ask = api.stranger()
    assert (await ask("GET", "/subjects/none/versions")).json["error_code"] == 40401
    subject = FileRegistry().subjects()[0]
    assert (await ask("GET", f"/subjects/{subject}/versions/999")).json["error_code"] == 40402
    assert (await ask("GET", f"/subjects/{subject}/versions/x")).json["error_code"] == 42202
    assert (await ask("GET", "/schemas/ids/999999")).json["error_code"] == 40403
    assert (await ask("GET", "/config")).json == {"compatibilityLevel": "FULL_TRANSITIVE"}
