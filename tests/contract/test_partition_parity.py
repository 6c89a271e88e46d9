"""One key, one partition, whoever writes: librdkafka's murmur2_random, aiokafka's default and Java's own algorithm agree."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2
from confluent_kafka import KafkaError, Message, Producer

from tests.conftest import Stack

KEYS = 50_000
FLUSH_SECONDS = 60.0


def keys(count: int = KEYS) -> list[bytes]:
    """Recipient keys as they are, ids of events, names beyond ASCII, and every short length, as murmur2 reads by fours."""
    chosen = random.Random(2026)
    made = [bytes(chosen.randrange(256) for _ in range(length)) for length in range(1, 40) for _ in range(25)]
    for number in range(count - len(made)):
        match number % 5:
            case 0:
                key = f"patient:{number}"
            case 1:
                key = f"staff:{number}"
            case 2:
                key = f"patient:{uuid.UUID(int=chosen.getrandbits(128))}"
            case 3:
                key = f"clinic-{number % 97}"
            case _:
                key = f"patient:Zoë-{chosen.choice('åßç漢字')}-{number}"
        made.append(key.encode())
    return made


def java_murmur2(data: bytes) -> int:
    """`org.apache.kafka.common.utils.Utils.murmur2`, line by line."""
    mask = 0xFFFFFFFF
    multiplier, length = 0x5BD1E995, len(data)
    found = (0x9747B28C ^ length) & mask
    for index in range(length // 4):
        word = int.from_bytes(data[index * 4 : index * 4 + 4], "little")
        word = word * multiplier & mask
        word ^= word >> 24
        word = word * multiplier & mask
        found = (found * multiplier & mask) ^ word
    rest = data[length // 4 * 4 :]
    if rest:
        found ^= int.from_bytes(rest, "little")
        found = found * multiplier & mask
    found ^= found >> 13
    found = found * multiplier & mask
    return found ^ (found >> 15)


def by_librdkafka(settings: dict[str, str | int], topic: str, chosen: Sequence[bytes]) -> list[int]:
    """Where librdkafka put each key, as its delivery reports say."""
    landed: dict[bytes, int] = {}
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, message: Message) -> None:
        key, partition = message.key(), message.partition()
        if error is not None or key is None or partition is None:
            failures.append(error or KafkaError(KafkaError._FAIL))
        else:
            landed[bytes(key) if isinstance(key, bytes) else key.encode()] = partition

    producer = Producer({"partitioner": "murmur2_random", "linger.ms": 5, **settings})
    for number, key in enumerate(chosen):
        producer.produce(topic, b"", key, on_delivery=report)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(FLUSH_SECONDS) == 0
    assert failures == []
    return [landed[key] for key in chosen]


def by_aiokafka(chosen: Sequence[bytes], partitions: int) -> list[int]:
    everywhere = list(range(partitions))
    partitioner = DefaultPartitioner()
    return [partitioner(key, everywhere, everywhere) for key in chosen]


def by_java(chosen: Sequence[bytes], partitions: int) -> list[int]:
    return [(java_murmur2(key) & 0x7FFFFFFF) % partitions for key in chosen]


def test_java_s_own_examples() -> None:
    # From Kafka's UtilsTest.testMurmur2.
    expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for text, signed in expected.items():
        assert java_murmur2(text) == signed & 0xFFFFFFFF
        assert murmur2(text) & 0xFFFFFFFF == signed & 0xFFFFFFFF


@pytest.mark.parametrize("partitions", [4, 12])
def test_aiokafka_and_java_agree(partitions: int) -> None:
    chosen = keys()
    landed = by_aiokafka(chosen, partitions)
    assert landed == by_java(chosen, partitions)
    assert set(landed) == set(range(partitions))


def test_librdkafka_agrees_over_four_partitions() -> None:
    # librdkafka's own stand-in for a broker makes every topic with four.
    chosen = keys()
    assert by_librdkafka({"test.mock.num.brokers": 1}, "parity", chosen) == by_aiokafka(chosen, 4)


@pytest.mark.integration
@pytest.mark.parametrize("partitions", [4, 12])
def test_librdkafka_agrees_on_a_real_broker(stack: Stack, partitions: int) -> None:
    topic = stack.new_topics(["parity"], partitions=partitions)["parity"]
    chosen = keys()
    landed = by_librdkafka({"bootstrap.servers": stack.kafka_bootstrap}, topic, chosen)
    assert landed == by_aiokafka(chosen, partitions)
