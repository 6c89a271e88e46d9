"""Services as data: their order, their identity, their way through a file."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.stack.service import Probe, ServiceSpec, in_start_order
from connectors.stack.stopping import in_stop_waves


def service(name: str, *needs: str, **changes: Any) -> ServiceSpec:
    spec = ServiceSpec(
        name, ("true",), Probe("file", f"/ready/{name}"), f"/logs/{name}.log", depends_on=needs, stop_signal=15
    )
    return dataclasses.replace(spec, **changes)


def test_a_service_starts_after_all_it_needs() -> None:
    ordered = in_start_order([service("sms", "kafka", "postgres"), service("kafka"), service("postgres")])
    assert [spec.name for spec in ordered] == ["kafka", "postgres", "sms"]


def test_what_is_not_among_them_is_not_waited_for() -> None:
    assert [spec.name for spec in in_start_order([service("sms", "kafka")])] == ["sms"]


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match="a > b > a"):
        in_start_order([service("a", "b"), service("b", "a")])


@given(st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(0, 9))), unique_by=lambda pair: pair[0]))
def test_any_graph_without_circles_is_ordered(graph: list[tuple[int, set[int]]]) -> None:
    # A service only needs ones with a lower number: no circle can be drawn.
    specs = [service(str(number), *(str(n) for n in needs if n < number)) for number, needs in graph]
    ordered = in_start_order(specs)
    place = {spec.name: index for index, spec in enumerate(ordered)}
    assert place.keys() == {spec.name for spec in specs}
    assert all(place[need] < place[spec.name] for spec in specs for need in spec.depends_on if need in place)


def test_stopping_goes_in_waves_from_what_nobody_needs() -> None:
    specs = [service("sms", "kafka", "postgres"), service("kafka"), service("relay", "postgres"), service("postgres")]
    waves = [{spec.name for spec in wave} for wave in in_stop_waves(specs)]
    assert waves == [{"sms", "relay"}, {"kafka", "postgres"}]


def test_a_specification_survives_its_file() -> None:
    spec = service("kafka", env={"A": "1"}, user_id=7, address="127.0.0.1:9")
    assert ServiceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("change", [{"argv": ("false",)}, {"env": {"LUXE_X": "1"}}, {"user_id": 5}])
def test_what_runs_changes_the_digest(change: dict[str, Any]) -> None:
    assert service("a").digest() != service("a", **change).digest()


def test_patience_does_not_change_the_digest() -> None:
    assert service("a").digest() == service("a", ready_seconds=1.0, grace_seconds=1.0).digest()
