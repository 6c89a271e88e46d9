"""Every record's golden example: our bytes hold still, and Confluent's own Avro (de)serialisers agree with ours, both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.codec import CONTENT_MARK, MAGIC, Codec
from schemas.definitions import definition, definitions, topics_of
from schemas.registry import FileRegistry
from schemas.validation import violations
from tests.contract.golden import FOLDER, golden_bytes, golden_value, older_bytes
from tests.contract.loopback_registry import running_registry

CODEC = Codec(FileRegistry())
NAMES = sorted(definitions())
# What is sealed within others.
CONTENTS = [name for name in NAMES if name.endswith("Content")]


@pytest.fixture(scope="module")
def client() -> Iterator[SchemaRegistryClient]:
    with running_registry() as registry:
        registry.load_committed()
        yield SchemaRegistryClient({"url": registry.url})


def test_every_record_has_an_example_and_every_example_a_record() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {path.stem for path in FOLDER.glob("*.bin")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_possible(name: str) -> None:
    assert violations(name, golden_value(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_our_bytes_hold_still(name: str) -> None:
    value, wire = golden_value(name), golden_bytes(name)
    topics = topics_of(name)
    if topics:
        assert CODEC.encode(topics[0], name, value) == wire
        assert CODEC.decode(wire).value == value
    elif name in CONTENTS:
        assert CODEC.encode_content(name, value) == wire
        assert CODEC.decode_content(name, wire) == value
    else:
        assert CODEC.encode_bare(name, value) == wire
        assert CODEC.decode_bare(name, wire) == value


@pytest.mark.parametrize("name", CONTENTS)
def test_what_was_sealed_before_it_named_its_schema_is_read(name: str) -> None:
    older, now = CODEC.decode_content(name, older_bytes()[name]), golden_value(name)
    if name == "luxe.pipeline.RecipientContent":
        now["preferences"] |= {"digest_categories": [], "digest_hour": None}
    if name == "luxe.pipeline.MessageContent":
        now["links"], now["asks"], now["forms"] = [], None, []
    assert older == now


@pytest.mark.parametrize("name", NAMES)
def test_confluent_reads_what_we_write_and_we_read_what_it_writes(name: str, client: SchemaRegistryClient) -> None:
    topic = next(iter(topics_of(name)), "")
    value = golden_value(name)
    # A record without a topic stands under its own name; Confluent's strategies do not know that one.
    strategy = topic_record_subject_name_strategy if topic else (lambda _context, record: record)
    serialize = AvroSerializer(
        client,
        json.dumps(definition(name)),
        conf={
            "auto.register.schemas": False,
            "subject.name.strategy": strategy,
            "validate.strict.allow.default": True,
        },
    )
    context = SerializationContext(topic, MessageField.VALUE)
    theirs = serialize(value, context)
    assert theirs is not None
    assert CODEC.decode(theirs).value == value
    ours = golden_bytes(name)
    if name in CONTENTS:
        ours = MAGIC + ours[len(CONTENT_MARK) :]
    elif not topic:
        ours = MAGIC + FileRegistry().id_of("", name).to_bytes(4, "big") + ours
    assert theirs == ours
    assert AvroDeserializer(client)(ours, context) == value
