"""Tables follow the schemas: PHI has no column, keys are never stored, unsupported types are named."""

import pytest

from connectors.clickhouse.tables import TableError, raw_table, table_name
from schemas.definitions import definitions, topics_of

ON_TOPICS = [name for name in definitions() if topics_of(name)]


@pytest.mark.parametrize("name", [name for name in ON_TOPICS if name.startswith("luxe.events.")])
def test_of_events_only_fields_without_phi_have_a_column(name: str) -> None:
    schema = definitions()[name]
    columns = {column for column, _, _ in raw_table(schema).columns}
    assert columns == {field["name"] for field in schema["fields"] if field["phi"] == "none"}
    assert raw_table(schema).sealed


@pytest.mark.parametrize("name", ON_TOPICS)
def test_no_table_holds_a_key(name: str) -> None:
    assert "wrapped_key" not in raw_table(definitions()[name]).create()


def test_names() -> None:
    assert table_name("luxe.events.AppointmentNoShow") == "raw_event_appointment_no_show"
    assert table_name("luxe.pipeline.DeliveryStatus") == "raw_delivery_status"
    assert len({table_name(name) for name in ON_TOPICS}) == len(ON_TOPICS)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("string", "String"),
        (["null", "long"], "Nullable(Int64)"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "DateTime64(3, 'UTC')"),
        ({"type": "int", "logicalType": "date"}, "Date32"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}, "Decimal(12, 2)"),
        ({"type": "map", "values": "string"}, "Map(String, String)"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, "LowCardinality(String)"),
        (["null", {"type": "enum", "name": "E", "symbols": ["a"]}], "LowCardinality(Nullable(String))"),
        (
            {"type": "array", "items": {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}},
            "Array(Tuple(a Int32))",
        ),
    ],
)
def test_column_types(type_: object, expected: str) -> None:
    schema = {"namespace": "luxe.pipeline", "name": "X", "fields": [{"name": "x", "type": type_, "phi": "none"}]}
    assert raw_table(schema).columns == (("x", expected, ""),)


def test_a_type_without_a_column_type_is_named() -> None:
    schema = {
        "namespace": "luxe.pipeline",
        "name": "X",
        "fields": [{"name": "x", "type": ["int", "string"], "phi": "none"}],
    }
    with pytest.raises(TableError, match="x: a union of 2 types"):
        raw_table(schema)
