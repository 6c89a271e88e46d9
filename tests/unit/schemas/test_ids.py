"""Derived ids: the same cause, the same id, for good."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from schemas import ids

EVENT_ID = "0b0e7a9e-6b52-4f0e-9a51-0c5f3f0b7a01"


def test_ids_never_change_between_releases() -> None:
    # What is written here lies in topics and tables. A change of these lines is a change of every identity.
    notification = ids.notification_id(EVENT_ID, "appointment_confirmation", "patient:1", 0)
    delivery = ids.delivery_id(notification, "sms", 0)
    assert notification == "fff322fa-5c99-5fa3-aca6-42a5a85d8263"
    assert delivery == "5aed9934-5345-5b0c-8969-961ed2367c5a"
    assert ids.decision_id(notification, 0) == "82f4ec5f-70c0-505b-9bae-e5580071020c"
    assert ids.status_id(delivery, 1, "sent", None) == "8932e051-1f76-5f2b-8f0c-ed4dd2b80643"
    assert ids.dead_letter_id("events.appointment", 3, 42, "intake") == "3791b061-b0c3-5a57-a979-23fe33ae82dc"


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=3, max_size=3))
def test_parts_do_not_run_into_each_other(parts: list[str]) -> None:
    first, second, third = parts
    joined = ids.derived_id("kind", first + second, third)
    if second:
        assert joined != ids.derived_id("kind", first, second + third)


def test_each_part_matters() -> None:
    one = ids.notification_id(EVENT_ID, "type", "patient:1", 0)
    others = [
        ids.notification_id(EVENT_ID, "type", "patient:1", 1),
        ids.notification_id(EVENT_ID, "type", "staff:1", 0),
        ids.notification_id(EVENT_ID, "other", "patient:1", 0),
    ]
    assert len({one, *others}) == 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_derived_ids_are_uuid5(parts: list[str]) -> None:
    assert ids.derived_id("kind", *parts) == str(uuid.uuid5(ids.NAMESPACE, "\0".join(["kind", *parts])))
