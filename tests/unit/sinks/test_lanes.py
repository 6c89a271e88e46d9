"""Slots: what may be in flight, what steps aside, and a lane that is told to take nothing."""

from __future__ import annotations

from sinks.runtime.in_flight import Assignment, Slots


def test_a_lane_that_is_held_takes_nothing_until_it_is_let_go() -> None:
    slots = Slots(8)
    assert slots.free == 8
    slots.hold(True)
    assert slots.free == 0
    slots.hold(False)
    assert slots.free == 8


def test_what_steps_aside_leaves_its_slot_and_so_many_at_most() -> None:
    slots = Slots(2, aside=2)
    assignment = Assignment(slots)
    for offset in (0, 1):
        assignment.take(offset)
    assert slots.free == 0
    assert [slots.step_aside(), slots.step_aside(), slots.step_aside()] == [True, True, False]
    assert slots.free == 2
    assignment.take(2)
    slots.step_back()
    slots.step_back()
    assert slots.free == 0  # one too many, until one ends
    assignment.finish(2)
    assert (slots.free, assignment.in_flight) == (0, 2)
    assignment.finish(0)
    assert (slots.free, assignment.in_flight) == (1, 1)
    assignment.abandon(1)
    assert (slots.free, assignment.in_flight, assignment.uncommitted()) == (2, 0, 1)
    assert assignment.pinned == 2  # what ended behind the abandoned one is read again with it
