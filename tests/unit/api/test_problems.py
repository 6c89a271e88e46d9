"""Problem details: field, shape and mend, never a value."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import orjson
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.problems import TITLES, Problem, answer, wrong_fields
from schemas.shapes import Violation

SECRET = "Jane Roe"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    word: Literal["a", "b"] = "a"
    count: int = Field(1, le=3)
    when: datetime | None = None
    text: str = Field("x", max_length=3, pattern="^[a-z]+$")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inner"),
        ({"inner": SECRET}, "inner"),
        ({"inner": {"word": SECRET}}, "inner.word"),
        ({"inner": {"count": 9}}, "inner.count"),
        ({"inner": {"count": SECRET}}, "inner.count"),
        ({"inner": {"when": SECRET}}, "inner.when"),
        ({"inner": {"text": SECRET}}, "inner.text"),
        ({"inner": {"text": "A1"}}, "inner.text"),
        ({"inner": {"extra": SECRET}}, "inner.extra"),
    ],
)
def test_a_wrong_field_is_named_with_its_mend_and_never_its_value(body: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(orjson.dumps(body))
    response = answer(wrong_fields(caught.value), "r1")
    assert (response.status, response.content_type) == (422, "application/problem+json")
    assert isinstance(response.body, bytes)
    assert SECRET.encode() not in response.body
    told = orjson.loads(response.body)
    assert told["errors"][0]["field"] == field
    assert told["errors"][0]["mend"]


def test_every_status_has_a_title_and_its_headers() -> None:
    for status in TITLES:
        response = answer(Problem(status, headers={"Retry-After": "5"}), "r1")
        assert response.headers["Retry-After"] == "5"


def test_violations_are_bounded() -> None:
    problem = Problem(422, violations=[Violation(f"f{n}", "null", "send it") for n in range(1000)])
    assert len(problem.violations) == 50
