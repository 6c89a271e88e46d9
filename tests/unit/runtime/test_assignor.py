"""Partitions are shared out whole, or not at all."""

from __future__ import annotations

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import UnknownTopicOrPartitionError

from streams.runtime.consumer import WholeRangeAssignor

MEMBERS = {name: ConsumerProtocolMemberMetadata(0, ["left", "right"], b"") for name in ("w0", "w1")}


class Cluster(ClusterMetadata):  # type: ignore[misc]  # aiokafka has no types
    """What a broker has told: the numbers of partitions by topic."""

    def __init__(self, told: dict[str, set[int]]) -> None:
        super().__init__()
        self._told = told

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return self._told.get(topic)


def test_each_member_has_the_same_numbers_of_every_topic() -> None:
    shared = WholeRangeAssignor.assign(Cluster({"left": {0, 1, 2, 3}, "right": {0, 1, 2, 3}}), MEMBERS)
    numbers = {name: [sorted(numbers) for _, numbers in one.assignment] for name, one in shared.items()}
    assert numbers == {"w0": [[0, 1], [0, 1]], "w1": [[2, 3], [2, 3]]}


@pytest.mark.parametrize("told", [{}, {"left": {0, 1}}, {"left": {0, 1}, "right": set()}])
def test_a_broker_that_does_not_name_them_yet_ends_the_leader_s_membership(told: dict[str, set[int]]) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        WholeRangeAssignor.assign(Cluster(told), MEMBERS)
