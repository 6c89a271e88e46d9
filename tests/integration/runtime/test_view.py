"""Views on the real broker: ready only at the end, tombstones, memory and disk, all partitions or some."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal, TypeAlias

import pytest
from confluent_kafka import murmur2

from connectors.kafka import make_producer
from streams.runtime import View
from streams.runtime.errors import NotReadyError
from tests.integration.runtime.conftest import Bench

pytestmark = pytest.mark.integration

RECORDS = 3000
Kept: TypeAlias = Literal["memory", "disk"]


def fill(bench: Bench) -> None:
    producer = make_producer(bench.stack.settings)
    for number in range(RECORDS):
        producer.produce(bench.topics["state"], b"value%d" % number, b"key%d" % number)
    producer.produce(bench.topics["state"], None, b"key7")
    producer.flush()


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture(params=["memory", "disk"])
def kept(request: pytest.FixtureRequest) -> Kept:
    return "disk" if request.param == "disk" else "memory"


@pytest.fixture
def views() -> Iterator[list[View]]:
    made: list[View] = []
    yield made
    for view in made:
        view.stop()


async def until_ready(view: View, *numbers: int) -> None:
    for number in numbers:
        await asyncio.wait_for(view.wait_ready(number), 90)


async def test_it_answers_only_when_read_to_the_end(bench: Bench, kept: Kept, views: list[View]) -> None:
    fill(bench)
    view = View(bench.topics["state"], kept=kept)
    with pytest.raises(NotReadyError):
        view.get(b"key1")
    views.append(view)
    view.start(bench.plan, fail)
    await until_ready(view, 0)
    assert view.ready
    assert view.get(b"key%d" % (RECORDS - 1)) == b"value%d" % (RECORDS - 1)
    assert view.get(b"key7") is None
    assert view.get(b"nobody") is None


async def test_it_follows_changes_and_says_what_changed(bench: Bench, kept: Kept, views: list[View]) -> None:
    changes: list[tuple[bytes, bytes | None]] = []
    view = View(bench.topics["state"], kept=kept, on_change=lambda key, value: changes.append((key, value)))
    views.append(view)
    view.start(bench.plan, fail)
    await until_ready(view, 0)
    producer = make_producer(bench.stack.settings)
    for value in (b"1", None):
        producer.produce(bench.topics["state"], value, b"key")
        producer.flush()
        for _ in range(6000):
            if changes and changes[-1] == (b"key", value):
                break
            await asyncio.sleep(0.01)
        assert changes[-1] == (b"key", value)
        assert view.get(b"key") == value
    assert bench.plan.metrics.view_lag_records == {bench.topics["state"]: 0}


async def test_of_assigned_partitions_only_those_are_read(bench: Bench, kept: Kept, views: list[View]) -> None:
    fill(bench)
    view = View(bench.topics["state"], partitions="assigned", kept=kept)
    views.append(view)
    view.start(bench.plan, fail)
    keys = {murmur2(b"key%d" % number, 4): b"key%d" % number for number in range(100, 200)}
    view.follow([1])
    await until_ready(view, 1)
    assert view.get(keys[1]) is not None
    with pytest.raises(NotReadyError):
        view.get(keys[2])
    view.follow([1, 2])
    assert view.get(keys[1]) is not None
    await until_ready(view, 2)
    assert view.get(keys[2]) is not None
    view.follow([2])
    for _ in range(6000):
        try:
            view.get(keys[1])
        except NotReadyError:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(NotReadyError):
        view.get(keys[1])


async def test_on_disk_it_goes_on_from_where_it_stood(bench: Bench, views: list[View]) -> None:
    fill(bench)
    first = View(bench.topics["state"], kept="disk")
    first.start(bench.plan, fail)
    await until_ready(first, 0)
    first.stop()
    read: list[bytes] = []
    again = View(bench.topics["state"], kept="disk", on_change=lambda key, _: read.append(key))
    views.append(again)
    producer = make_producer(bench.stack.settings)
    producer.produce(bench.topics["state"], b"new", b"key5")
    producer.flush()
    again.start(bench.plan, fail)
    await until_ready(again, 0)
    assert again.get(b"key5") == b"new"
    assert again.get(b"key6") == b"value6"
    assert read == [b"key5"]


async def test_a_read_error_ends_the_process_and_is_no_answer(bench: Bench) -> None:
    errors: list[BaseException] = []
    producer = make_producer(bench.stack.settings)
    producer.produce(bench.topics["out"], b"value", None, 0)  # a compacted topic would not take it
    producer.flush()
    view = View(bench.topics["out"])
    view.start(bench.plan, errors.append)
    for _ in range(6000):
        if errors:
            break
        await asyncio.sleep(0.01)
    assert "without a key" in str(errors[0])
    with pytest.raises(NotReadyError):
        view.get(b"key")
    view.stop()
