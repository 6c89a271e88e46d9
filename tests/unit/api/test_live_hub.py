"""Who is woken, who is let in, and what is closed: by numbers alone."""

from __future__ import annotations

import pytest

from api.live.hub import GOING_AWAY, SLOW_READER, Connection, Full, Hub, Limits
from connectors.postgres.inbox import Viewer


def connection(recipient: str = "patient:p1", last: int | None = 5) -> Connection:
    return Connection(Viewer(recipient), last)


async def test_only_what_is_new_wakes_and_only_whose_it_is() -> None:
    hub = Hub(Limits(10, 10))
    known, behind, other = connection(last=7), connection(last=5), connection("patient:p2")
    for one in (known, behind, other):
        hub.admit(one)
    hub.wake_all({"patient:p1": 7, "patient:p3": 9})
    assert [await one.woken(0.001) for one in (known, behind, other)] == [False, True, False]
    assert not await behind.woken(0.001)  # once


async def test_bounds_of_a_person_and_of_the_process() -> None:
    hub = Hub(Limits(3, 2))
    first = connection()
    hub.admit(first)
    hub.admit(connection())
    with pytest.raises(Full, match="of one person") as error:
        hub.admit(connection())
    assert error.value.each
    hub.admit(connection("patient:p2"))
    with pytest.raises(Full) as error:
        hub.admit(connection("patient:p3"))
    assert not error.value.each
    hub.leave(first)
    assert (len(hub), hub.is_here("patient:p1")) == (2, True)
    hub.admit(connection("patient:p3"))
    assert sorted(hub.recipients()) == ["patient:p1", "patient:p2", "patient:p3"]


async def test_at_the_end_everybody_is_closed_and_nobody_let_in_and_the_first_reason_stands() -> None:
    hub = Hub(Limits(10, 10))
    one, slow = connection(), connection("patient:p2")
    for each in (one, slow):
        hub.admit(each)
    slow.close(SLOW_READER)
    hub.close_all(GOING_AWAY)
    assert await one.woken(0.001)
    assert (one.closing, slow.closing) == (GOING_AWAY, SLOW_READER)
    with pytest.raises(Full):
        hub.admit(connection("patient:p4"))
