"""The registry's read protocol, with confluent's own client and deserialiser."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from connectors.postgres.records import Records
from schemas.registry import FileRegistry
from schemas.topics import GATES
from tests.integration.api.conftest import Api

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


async def test_what_is_not_there_is_said_as_a_registry_says_it(api: Api) -> None:
    ask = api.stranger()
    assert (await ask("GET", "/subjects/none/versions")).json["error_code"] == 40401
    subject = FileRegistry().subjects()[0]
    assert (await ask("GET", f"/subjects/{subject}/versions/999")).json["error_code"] == 40402
    assert (await ask("GET", f"/subjects/{subject}/versions/x")).json["error_code"] == 42202
    assert (await ask("GET", "/schemas/ids/999999")).json["error_code"] == 40403
    assert (await ask("GET", "/config")).json == {"compatibilityLevel": "FULL_TRANSITIVE"}
