"""Compiled readers read what fastavro reads, and decline what is not plain: whatever they accept, fastavro reads the same."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.definitions import Schema, definition, definitions
from schemas.faults import REFUSALS
from schemas.hardening import hardened
from schemas.reader import compile_reader, number_at
from schemas.straight_line import UnsupportedSchemaError
from schemas.writer import zigzag
from tests.contract.golden import golden_value
from tests.contract.strategies import records

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MANY = settings(FEW, max_examples=60)


def compiled_names() -> list[str]:
    """Records whose schemas are compiled."""
    names = []
    for name, schema in definitions().items():
        try:
            compile_reader(schema)
        except UnsupportedSchemaError:
            continue
        names.append(name)
    return names


def written(schema: Schema, value: dict[str, Any]) -> bytes:
    body = BytesIO()
    schemaless_writer(body, parse_schema(schema), value)
    return body.getvalue()


def by_fastavro(schema: Schema, body: bytes) -> Any:
    """None: it refuses, or something is left."""
    reading = BytesIO(body)
    try:
        value = schemaless_reader(reading, hardened(schema), None)
    except REFUSALS:
        return None
    return value if reading.tell() == len(body) else None


def same(found: Any, wanted: Any) -> bool:
    """Equal, in the same order and of the same types: 1 is not True."""
    return repr(found) == repr(wanted)


def has_large_number(value: Any) -> bool:
    """One of more bytes than anybody sends: those are left to fastavro."""
    if isinstance(value, dict | list):
        return any(has_large_number(one) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**55) <= value < 2**55


@pytest.mark.parametrize("name", compiled_names())
@FEW
@given(data=st.data())
def test_the_same_as_fastavro(name: str, data: st.DataObject) -> None:
    schema = definition(name)
    value = data.draw(records(name))
    body = written(schema, value)
    found = compile_reader(schema)(b"head!" + body, 5)
    assert same(found, by_fastavro(schema, body)) or (found is None and has_large_number(value))


def test_every_record_of_the_pipeline_is_compiled() -> None:
    assert {name for name in definitions() if ".pipeline." in name} <= set(compiled_names())


@pytest.mark.parametrize("name", ["luxe.events.AppointmentCreated", "luxe.pipeline.Decision", "luxe.pipeline.Gate"])
@MANY
@given(data=st.data())
def test_of_damaged_bytes_only_what_fastavro_reads_is_read(name: str, data: st.DataObject) -> None:
    schema = definition(name)
    body = bytearray(written(schema, golden_value(name)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert"))):
            case "change":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at + 1 :]
            case "insert":
                body[at:at] = data.draw(st.binary(min_size=1, max_size=10))
    found = compile_reader(schema)(bytes(body), 0)
    assert found is None or same(found, by_fastavro(schema, bytes(body)))


def test_every_byte_of_a_plain_record_matters() -> None:
    schema = definition("luxe.pipeline.Decision")
    read, body = compile_reader(schema), written(schema, golden_value("luxe.pipeline.Decision"))
    assert read(body, 0) == golden_value("luxe.pipeline.Decision")
    assert [end for end in range(len(body)) if read(body[:end], 0) is not None] == []
    assert read(body + b"\0", 0) is None


@given(st.integers(-(2**55), 2**55 - 1), st.binary(max_size=3))
def test_numbers(number: int, rest: bytes) -> None:
    wire = zigzag(number)
    assert number_at(b"!" + wire + rest, 1) == (number, 1 + len(wire))


def test_longer_numbers_are_not_plain() -> None:
    with pytest.raises(IndexError):
        number_at(zigzag(2**62), 0)


def of(kind: Any, **named: Any) -> Schema:
    return {"type": "record", "namespace": "t", "name": "T", "fields": [{"name": "x", "type": kind}], **named}


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        {"type": "array", "items": "null"},
        {"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}},
        ["null", "string", "int"],
        ["string", "int"],
        {"type": "fixed", "name": "F", "size": 4},
    ],
)
def test_what_is_not_compiled(kind: Any) -> None:
    with pytest.raises(UnsupportedSchemaError):
        compile_reader(of(kind))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ({"type": "array", "items": "int"}, b"\x01\x02\x02\x00"),  # a block that says its size
        ({"type": "array", "items": "int"}, b"\x02\x02\x02\x04\x00"),  # two blocks
        ({"type": "map", "values": "int"}, b"\x01\x06\x02a\x02\x00"),
    ],
)
def test_what_is_rare_is_left_to_fastavro(kind: Any, body: bytes) -> None:
    schema = of(kind)
    assert by_fastavro(schema, body) is not None
    assert compile_reader(schema)(body, 0) is None


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("boolean", b"\x02"),
        ("string", b"\x01"),  # a negative length
        ("string", b"\x02\xff"),
        ("string", b"\x80\x01"),
        (["null", "string"], b"\x04"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x01"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x04"),
        ({"type": "array", "items": "int"}, b"\xfe\xff\xff\xff\xff\xff\x7f"),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\xfe\xff\xff\xff\xff\xff\xff\x7f"),
        ({"type": "int", "logicalType": "date"}, b"\xfe\xff\xff\xff\x7f"),
    ],
)
def test_what_is_wrong_is_declined(kind: Any, body: bytes) -> None:
    assert compile_reader(of(kind))(body, 0) is None
