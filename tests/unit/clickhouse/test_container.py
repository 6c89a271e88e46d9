"""Container files made by concatenation are what Avro's own reader reads."""

import io
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.clickhouse.container import (
    Container,
    encode_bytes,
    encode_long,
    pack_position,
    topic_prefix,
    wrapper_schema,
)

RECORD = {
    "type": "record",
    "name": "Thing",
    "namespace": "luxe.test",
    "fields": [{"name": "word", "type": "string"}, {"name": "count", "type": ["null", "long"]}],
}


def body(word: str, count: int | None) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(RECORD), {"word": word, "count": count})
    return out.getvalue()


@given(st.integers(-(2**63), 2**63 - 1))
def test_long_is_avros(value: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    assert encode_long(value) == out.getvalue()


@given(
    st.lists(st.tuples(st.text(max_size=40), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=20),
    st.integers(0, 65535),
    st.integers(0, 2**62),
)
def test_reader_reads_every_record_and_its_position(
    rows: list[tuple[str, int | None]], partition: int, offset: int
) -> None:
    prefix = topic_prefix("events.thing", "topic-id")
    records = [
        prefix + pack_position(partition, offset + i, 1_700_000_000_000 + i) + body(word, count)
        for i, (word, count) in enumerate(rows)
    ]
    file = Container(wrapper_schema(RECORD, sealed=False, read_as={})).file(records)
    read: list[dict[str, Any]] = [dict(row) for row in fastavro.reader(io.BytesIO(file)) if isinstance(row, dict)]
    assert [(row["word"], row["count"]) for row in read] == rows
    assert [struct.unpack("<Hqq", row["_position"]) for row in read] == [
        (partition, offset + i, 1_700_000_000_000 + i) for i in range(len(rows))
    ]
    assert {row["_topic"] for row in read} <= {"events.thing"}


@given(st.integers(1, 7))
def test_a_body_cut_short_fails_the_file_instead_of_shifting_its_neighbours(cut: int) -> None:
    prefix = topic_prefix("t", "i")
    good = prefix + pack_position(0, 1, 2) + body("longer than the cut", 5)
    file = Container(wrapper_schema(RECORD, sealed=False, read_as={})).file([good, good[:-cut], good])
    with pytest.raises((EOFError, ValueError, IndexError, UnicodeDecodeError)):
        list(fastavro.reader(io.BytesIO(file)))


def test_sealed_bytes_lead() -> None:
    record = topic_prefix("t", "i") + pack_position(0, 1, 2) + encode_bytes(b"\x01r") + body("w", None)
    (row,) = fastavro.reader(io.BytesIO(Container(wrapper_schema(RECORD, sealed=True, read_as={})).file([record])))
    assert isinstance(row, dict)
    assert row["_sealed"] == b"\x01r"
