"""The calendar of one appointment: everything that was asked for about it, in the order in which it goes out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.explaining.calendar import calendar, moment_of
from connectors.explaining.listed import About
from tests.unit.explaining.test_sentences import AT, decision, delivery, story

HOUR = timedelta(hours=1)


def test_when_it_went_out_counts_before_when_it_was_due() -> None:
    made = decision("deliver", "deliver", channels=("sms",), decided_at=AT + HOUR)
    sent = story("sent", made, delivery("sms", "sent"), due_at=AT + 9 * HOUR)
    assert moment_of(sent) == sent.deliveries[0].at("sent")


def test_what_waits_stands_where_it_will_be_decided_again() -> None:
    waits = decision("defer", "quiet_hours", until=AT + 2 * HOUR)
    assert moment_of(story("waiting", waits, due_at=AT)) == AT + 2 * HOUR


def test_what_was_withdrawn_stands_where_it_would_have_been() -> None:
    withdrawn = decision("suppress", "superseded", decided_at=AT)
    assert moment_of(story("suppressed", withdrawn, due_at=AT + 5 * HOUR)) == AT + 5 * HOUR
    assert moment_of(story("suppressed", withdrawn, due_at=None)) == AT


def test_what_nobody_decided_yet_stands_where_it_was_asked_for() -> None:
    asked = story("undecided", None, due_at=None, requested_at=AT + HOUR)
    assert moment_of(asked) == AT + HOUR
    assert moment_of(story("undecided", None, due_at=None, requested_at=None)) == asked.occurred_at


def test_earliest_first_and_older_versions_before_newer() -> None:
    days = [
        story("waiting", None, due_at=AT + hours * HOUR, aggregate_version=version)
        for hours, version in ((3, 1), (2, 2), (2, 1))
    ]
    found = [(moment, one.aggregate_version) for moment, one in calendar(days)]
    assert found == [(AT + 2 * HOUR, 1), (AT + 2 * HOUR, 2), (AT + 3 * HOUR, 1)]


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("appointment:A-7", About("appointment", "A-7")),
        ("waitlist:s:1", About("waitlist", "s:1")),
        ("appointment:", None),
        ("appointment", None),
        ("A-7", None),
        ("Appointment:A-7", None),
        ("", None),
    ],
)
def test_what_it_is_about_is_written_with_its_kind(text: str, about: About | None) -> None:
    assert About.read(text) == about
