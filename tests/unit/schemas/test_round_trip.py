"""Whatever a schema can say is written and read again unchanged; what its constraints allow is found possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.definitions import definitions, topics_of
from schemas.events import EVENT_RECORDS
from schemas.models import model_of
from schemas.registry import FileRegistry
from schemas.validation import violations
from tests.contract.strategies import records

CODEC = Codec(FileRegistry())
NAMES = sorted(definitions())

# An example costs microseconds to encode and milliseconds to make: few, spread over all records.
FEW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@FEW
@given(name=st.sampled_from(NAMES), data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    value = data.draw(records(name))
    assert CODEC.decode_bare(name, CODEC.encode_bare(name, value)) == value
    for topic in topics_of(name)[:1]:
        decoded = CODEC.decode(CODEC.encode(topic, name, value))
        assert (decoded.name, decoded.value) == (name, value)


@FEW
@given(name=st.sampled_from(NAMES), data=st.data())
def test_what_the_constraints_allow_is_possible(name: str, data: st.DataObject) -> None:
    value = data.draw(records(name, possible=True))
    assert violations(name, value) == []
    if name in EVENT_RECORDS:
        assert as_model_takes_it(name, value) == value


def as_model_takes_it(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """The record that the event's model makes of a value."""
    return model_of(EVENT_RECORDS[name]).model_validate(value).record()
