"""What a reply by text is about: found where there is one thing it can be about, and never guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.answering.replying import BY_INBOX, BY_TEXT, UNKNOWN, Via, chosen, event_of, filled
from connectors.postgres.text_questions import Meant, Open, Question
from schemas.events import EVENT_TYPES
from schemas.validation import check_event

NOW = datetime(2026, 11, 24, 15, tzinfo=UTC)
SID = f"SM{'0' * 32}"
FACTS: dict[str, Any] = {
    "appointment_date": date(2026, 11, 26),
    "appointment_time": "14:00",
    "starts_at": NOW + timedelta(days=2),
    "service": "Botox Injection",
    "provider": "Dr. Smith",
    "provider_id": "prov-1",
    "duration": 45,
    "time_zone": "America/New_York",
}


def asked(
    appointment: str = "A-1", version: int = 1, *, patient: str = "p-1", minutes_ago: int = 60, confirmed: bool = False
) -> Open:
    question = Question(
        delivery_id=f"d-{patient}-{appointment}-{version}-{minutes_ago}",
        address_hash="hash",
        sender_class="care",
        recipient=f"patient:{patient}",
        clinic_id="c1",
        aggregate_type="appointment",
        aggregate_id=appointment,
        aggregate_version=version,
        correlation_id=None,
        starts_at=NOW + timedelta(days=2),
        sealed=b"",
    )
    return Open(question, NOW - timedelta(minutes=minutes_ago), confirmed)


def stands(_: Question) -> bool:
    return False


@pytest.mark.parametrize(
    ("meant", "questions", "found", "possible"),
    [
        ("confirm", [], None, 0),
        ("confirm", [asked()], "A-1", 1),
        ("reschedule", [asked()], "A-1", 1),
        # Two reminders of one appointment ask about one thing; a moved one is asked about at its new time.
        ("confirm", [asked(minutes_ago=90), asked(minutes_ago=5)], "A-1", 1),
        ("confirm", [asked(version=1), asked(version=2, minutes_ago=5)], "A-1", 1),
        # Two appointments, or two who share the phone: nobody knows which.
        ("confirm", [asked("A-1"), asked("A-2", minutes_ago=5)], None, 2),
        ("confirm", [asked(patient="p-1"), asked("A-2", patient="p-2")], None, 2),
        # One of them is confirmed already, so it is the other; but either may be the one to move.
        ("confirm", [asked("A-1", confirmed=True), asked("A-2")], "A-2", 1),
        ("reschedule", [asked("A-1", confirmed=True), asked("A-2")], None, 2),
        # She says it twice.
        ("confirm", [asked(confirmed=True)], "A-1", 1),
        ("confirm", [asked("A-1", confirmed=True), asked("A-2", confirmed=True)], None, 2),
    ],
)
def test_what_a_reply_is_about(meant: Meant, questions: list[Open], found: str | None, possible: int) -> None:
    for order in (questions, questions[::-1]):
        reply = chosen(meant, order, stands)
        assert (None if reply.question is None else reply.question.aggregate_id, reply.possible) == (found, possible)


def test_the_latest_of_its_texts_is_the_one_that_is_answered() -> None:
    newest = asked(version=2, minutes_ago=5)
    reply = chosen("confirm", [asked(version=1, minutes_ago=1), newest, asked(version=2, minutes_ago=90)], stands)
    assert reply.question == newest.question


questions = st.lists(
    st.builds(
        asked,
        st.sampled_from(["A-1", "A-2", "A-3"]),
        st.integers(1, 3),
        patient=st.sampled_from(["p-1", "p-2"]),
        minutes_ago=st.integers(0, 300),
        confirmed=st.booleans(),
    ),
    max_size=6,
)


@given(
    st.sampled_from(["confirm", "reschedule"]),
    questions,
    st.dictionaries(st.sampled_from(["A-1", "A-2"]), st.integers(1, 4)),
)
def test_nothing_is_guessed_and_nothing_withdrawn_is_meant(
    meant: Meant, asked_before: list[Open], moved_to: dict[str, int]
) -> None:
    def overtook(question: Question) -> bool:
        return question.aggregate_version < moved_to.get(question.aggregate_id, 0)

    reply = chosen(meant, asked_before, overtook)
    standing = {
        (one.question.recipient, one.question.aggregate_id) for one in asked_before if not overtook(one.question)
    }
    assert reply.possible <= len(standing)
    assert (reply.question is not None) == (reply.possible == 1)
    if reply.question is not None:
        assert not overtook(reply.question)
        same = [one for one in asked_before if one.question[3:7] == reply.question[3:7]]
        assert reply.question.aggregate_version == max(one.question.aggregate_version for one in same)
    if meant == "reschedule":
        assert reply.possible == len(standing)


@pytest.mark.parametrize("meant", ["confirm", "reschedule"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "moved without its service"])
@pytest.mark.parametrize("via", [BY_TEXT, BY_INBOX], ids=lambda via: via.channel)
def test_the_event_is_one_that_intake_takes(meant: Meant, known: bool, via: Via) -> None:
    question = asked(version=7).question
    facts = FACTS if known else FACTS | dict.fromkeys(("service", "provider", "provider_id", "duration", "time_zone"))
    event = event_of(meant, question, facts, via=via, message_id=SID, at=NOW, generic_service="visit")
    assert check_event(EVENT_TYPES[event["event_type"]].record, event, NOW) == []
    again = event_of(meant, question, facts, via=via, message_id=SID, at=NOW, generic_service="visit")
    assert event == again
    assert (event["source"], event.get("confirmed_via", event.get("channel"))) == (via.source, via.channel)
    # Of the version that was asked about: a move that nobody had heard of yet is newer.
    assert event["aggregate_version"] == 7
    assert event.get("confirmed_version") == (7 if meant == "confirm" else None)
    if meant == "confirm" and not known:
        assert (event["service"], event["provider"]) == ("visit", UNKNOWN)


def test_what_a_move_does_not_say_is_known_from_before() -> None:
    moved = FACTS | {"appointment_time": "16:00", "service": None, "provider": None, "duration": 30}
    assert filled([moved, FACTS]) == FACTS | {"appointment_time": "16:00", "duration": 30}
