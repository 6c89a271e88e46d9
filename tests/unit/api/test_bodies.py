"""JSON merge patch, by the examples of RFC 7396; and which versions a header names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.bodies import merged, versions_named
from api.preference_model import DoNotDisturb


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


def test_versions_in_headers() -> None:
    assert versions_named("*") is None
    assert versions_named('"1", W/"2"') == frozenset({"1", "2"})
    assert versions_named("1") == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-10:00",
        "0001-01-01T00:00:00+14:00",
        "1899-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01",
    ],
)
def test_a_time_that_no_store_takes_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        DoNotDisturb.model_validate({"until": text})


def test_a_time_is_kept_in_utc() -> None:
    """Postgres refuses zones of more than 15 h 59 min, which ISO 8601 can write: found by fuzzing."""
    until = DoNotDisturb.model_validate({"until": "2036-03-26T06:13:42.123456+21:42"}).until
    assert str(until) == "2036-03-25 08:31:42.123000+00:00"
