"""Compiled writers write what fastavro writes, and decline what does not fit exactly."""

from __future__ import annotations

import datetime as dt
import uuid
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.definitions import definition, definitions
from schemas.ids import NAMESPACE, derived_id
from schemas.straight_line import UnsupportedSchemaError
from schemas.writer import Encoded, compile_array_writer, compile_writer, zigzag
from tests.contract.strategies import records

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def compiled_names() -> list[str]:
    """Records whose schemas are compiled."""
    names = []
    for name, schema in definitions().items():
        try:
            compile_writer(schema)
        except UnsupportedSchemaError:
            continue
        names.append(name)
    return names


def by_fastavro(name: str, value: dict[str, Any]) -> bytes:
    body = BytesIO()
    schemaless_writer(body, parse_schema(definition(name)), value)
    return body.getvalue()


@pytest.mark.parametrize("name", compiled_names())
@FEW
@given(data=st.data())
def test_the_same_bytes_as_fastavro(name: str, data: st.DataObject) -> None:
    value = data.draw(records(name))
    assert compile_writer(definition(name))(value, b"head") == b"head" + by_fastavro(name, value)


def test_every_record_of_the_pipeline_is_compiled() -> None:
    assert {name for name in definitions() if ".pipeline." in name} <= set(compiled_names())


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers(number: int) -> None:
    body = BytesIO()
    schemaless_writer(body, parse_schema("long"), number)
    assert zigzag(number) == body.getvalue()


GATE: dict[str, Any] = {
    "gate_key": "notification:1",
    "kind": "notification",
    "reason": "manual",
    "source": "operator",
    "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
}


def test_what_is_left_out_has_its_default() -> None:
    write = compile_writer(definition("luxe.pipeline.Gate"))
    assert write(GATE, b"") == by_fastavro("luxe.pipeline.Gate", GATE)


def test_the_hour_that_autumn_repeats_is_written_as_two() -> None:
    write = compile_writer(definition("luxe.pipeline.Gate"))
    first = dt.datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    for moment in (first, first.replace(fold=1)):
        value = GATE | {"created_at": moment}
        assert write(value, b"") == by_fastavro("luxe.pipeline.Gate", value)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "no such kind"},
        {"kind": None},
        {"gate_key": b"bytes"},
        {"gate_key": "\ud800"},
        {"created_at": dt.datetime(2026, 1, 1)},  # noqa: DTZ001 - a time without a zone is what must not pass
        {"created_at": 1},
        {"aggregate_version": "1"},
        {"aggregate_version": True},
        {"aggregate_version": 2**63},
    ],
)
def test_what_does_not_fit_is_declined(change: dict[str, Any]) -> None:
    assert compile_writer(definition("luxe.pipeline.Gate"))(GATE | change, b"") is None


def test_a_missing_field_without_default_is_declined() -> None:
    value = {name: GATE[name] for name in GATE if name != "reason"}
    assert compile_writer(definition("luxe.pipeline.Gate"))(value, b"") is None


@FEW
@given(data=st.data())
def test_an_array_encoded_before_is_written_as_it_stands(data: st.DataObject) -> None:
    schema = definition("luxe.pipeline.Decision")
    value = data.draw(records("luxe.pipeline.Decision"))
    kept = compile_array_writer(schema, "rules")(value["rules"])
    assert isinstance(kept, Encoded)
    write = compile_writer(schema)
    assert write(value | {"rules": kept}, b"") == write(value, b"")


@given(st.text(), st.lists(st.text() | st.integers(), max_size=4))
def test_derived_ids_are_uuid5(kind: str, parts: list[str | int]) -> None:
    name = "\0".join((kind, *map(str, parts)))
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert derived_id(kind, *parts) == str(uuid.uuid5(NAMESPACE, name))
