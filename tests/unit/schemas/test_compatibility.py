"""Versions stand beside each other by Avro's own rules, and logical types by ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.compatibility import incompatibilities, level_for
from schemas.definitions import definition, definitions, versions


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "luxe.events.Made", "fields": list(fields)}


FIRST: dict[str, Any] = {"name": "first", "type": "string"}
WITH_DEFAULT: dict[str, Any] = {"name": "second", "type": ["null", "string"], "default": None}
WITHOUT_DEFAULT: dict[str, Any] = {"name": "second", "type": "string"}


@pytest.mark.parametrize("name", definitions())
def test_every_committed_version_is_compatible(name: str) -> None:
    assert incompatibilities(versions(name), level_for(name)) == []


def test_levels() -> None:
    assert level_for("luxe.events.AppointmentCreated") == "FULL_TRANSITIVE"
    assert level_for("luxe.pipeline.Gate") == "BACKWARD_TRANSITIVE"


def test_a_field_with_a_default_may_come_and_go() -> None:
    texts = [record(FIRST), record(FIRST, WITH_DEFAULT), record(FIRST)]
    assert incompatibilities(texts, "FULL_TRANSITIVE") == []


def test_a_field_without_a_default_may_not_come() -> None:
    (problem,) = incompatibilities([record(FIRST), record(FIRST, WITHOUT_DEFAULT)], "BACKWARD_TRANSITIVE")
    assert problem.startswith("version 2 cannot read version 1: second")


def test_a_field_without_a_default_may_go_within_the_pipeline_only() -> None:
    texts = [record(FIRST, WITHOUT_DEFAULT), record(FIRST)]
    assert incompatibilities(texts, "BACKWARD_TRANSITIVE") == []
    assert incompatibilities(texts, "FULL_TRANSITIVE") != []


def test_versions_are_compared_with_all_before_not_only_the_last() -> None:
    texts = [
        record(FIRST),
        record(FIRST, {**WITHOUT_DEFAULT, "default": ""}),
        record(FIRST, WITHOUT_DEFAULT),
    ]
    assert incompatibilities(texts[1:], "BACKWARD_TRANSITIVE") == []
    assert incompatibilities(texts, "BACKWARD_TRANSITIVE") != []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "int", "logicalType": "date"}, "int"),
        ({"type": "long", "logicalType": "timestamp-millis"}, {"type": "long", "logicalType": "timestamp-micros"}),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4},
        ),
        ({"type": "array", "items": {"type": "int", "logicalType": "date"}}, {"type": "array", "items": "int"}),
    ],
)
def test_a_logical_type_may_not_change(old: Any, new: Any) -> None:
    texts = [record({"name": "first", "type": old}), record({"name": "first", "type": new})]
    assert incompatibilities(texts, "BACKWARD_TRANSITIVE") != []
    nullable = [record({"name": "first", "type": ["null", node]}) for node in (old, new)]
    assert incompatibilities(nullable, "BACKWARD_TRANSITIVE") != []


def test_a_symbol_may_come_where_the_enum_has_a_default() -> None:
    def kind(*symbols: str, **more: str) -> dict[str, Any]:
        return record(
            {"name": "kind", "type": {"type": "enum", "name": "luxe.events.Kind", "symbols": symbols, **more}}
        )

    assert incompatibilities([kind("a", "other"), kind("a", "b", "other")], "FULL_TRANSITIVE") != []
    with_default = [kind("a", "other", default="other"), kind("a", "b", "other", default="other")]
    assert incompatibilities(with_default, "FULL_TRANSITIVE") == []


def test_older_versions_are_read_from_the_history(tmp_path: Path) -> None:
    name = "luxe.pipeline.Gate"
    (tmp_path / name).mkdir()
    older = {**definition(name), "fields": definition(name)["fields"][:-1]}
    (tmp_path / name / "1.avsc").write_bytes(orjson.dumps(older))
    assert versions(name, tmp_path) == [older, definition(name)]
    assert incompatibilities(versions(name, tmp_path), level_for(name)) == []
    (tmp_path / name / "3.avsc").write_bytes(orjson.dumps(older))
    with pytest.raises(ValueError, match="without a gap"):
        versions(name, tmp_path)
