"""A notification from beginning to end: every step a sentence, in the order in which they came about."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, get_args

import pytest

from connectors.explaining.facts import Delivery, Receipt
from connectors.explaining.phrases import STATUSES
from connectors.explaining.timeline import Entry, timeline
from schemas.records import Status
from streams.rules.reasons import Reason
from tests.unit.explaining.test_sentences import AT, CLOCK, decision, delivery, story

LATER = AT + timedelta(hours=10)


def steps(*args: Any, **more: Any) -> list[Entry]:
    about: dict[str, Any] = {"event_type": "appointment.created", "requested_at": AT}
    return timeline(story(*args, **(about | more)), CLOCK)


def test_every_status_has_a_phrase() -> None:
    assert set(STATUSES) == set(get_args(Status))


def test_from_its_request_to_its_receipt() -> None:
    waited = decision("defer", "quiet_hours", until=LATER)
    sent = decision("deliver", "deliver", channels=("sms",), sequence=1, decided_at=LATER)
    text = Delivery("d0", "sms", 0, "delivered", "t", 1, "en", LATER, tuple(
        Receipt(status, LATER + timedelta(seconds=n), attempt, "", "twilio", None, error, None)
        for n, (status, attempt, error) in enumerate((
            ("sending", 1, None), ("failed", 1, "transient"), ("sending", 2, None), ("sent", 2, None), ("delivered", 2, None),
        ))
    ))  # fmt: skip
    found = steps("delivered", None, text, decisions=(waited, sent), due_at=None)
    assert [entry.sentence for entry in found] == [
        "The appointment reminder message (24 h before) was asked for (appointment.created).",
        "It waits until 19:02 on 4 March, because those are the patient's quiet hours.",
        "It was decided to be sent by text.",
        "A text was made.",
        "The text was being handed over.",
        "The text did not go out, because the provider did not take it in time.",
        "The text was being handed over (attempt 2).",
        "The provider took the text (attempt 2).",
        "The text arrived (attempt 2).",
    ]
    assert [entry.kind for entry in found] == ["asked", "decided", "decided", "message", *["status"] * 5]
    assert [entry.at for entry in found] == sorted(entry.at for entry in found)


def test_a_providers_clock_of_whole_seconds_turns_nothing_round() -> None:
    made = decision("deliver", "deliver", channels=("sms",), decided_at=AT)
    early = Receipt("delivered", AT - timedelta(milliseconds=700), 1, "", "twilio", None, None, None)
    text = Delivery("d0", "sms", 0, "delivered", "t", 1, "en", AT, (*delivery("sms", "sent").receipts, early))
    found = steps("delivered", made, text)
    assert [entry.code for entry in found if entry.kind == "status"] == ["sent", "delivered"]
    assert found[0].kind == "asked"


@pytest.mark.parametrize("outcome", ["defer", "suppress"])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_decision_is_told_in_plain_words(reason: Reason, outcome: str) -> None:
    (told,) = [one for one in steps("waiting", decision(outcome, reason.value, until=LATER)) if one.kind == "decided"]
    assert not re.search(r"[{}_]|secret|None", told.sentence)


def test_a_plan_names_what_stands_behind() -> None:
    made = decision("deliver", "deliver", channels=("sms", "email"))
    made = decision("deliver", "deliver", steps=(made.steps[0], made.steps[1]._replace(parallel=False)), decided_at=AT)
    assert steps("waiting", made)[-1].sentence == "It was decided to be sent by text; by email if that does not arrive."


def test_a_dead_letter_comes_last() -> None:
    found = steps("dead_letter", None, dead_letter="template_error")
    assert (found[-1].kind, found[-1].code, found[-1].at) == ("dead_letter", "template_error", AT)


def test_what_nobody_asked_for_begins_with_its_decision() -> None:
    """A digest is made by notify itself."""
    nobody: datetime | None = None
    found = steps("waiting", decision("deliver", "deliver", channels=("email",)), requested_at=nobody)
    assert [entry.kind for entry in found] == ["decided"]


def test_a_plan_taken_further_says_by_what_and_why() -> None:
    told = steps("sent", decision("deliver", "next_channel", channels=("in_app",)))
    assert told[-1].code == "next_channel"
    assert told[-1].sentence.startswith(
        "It was handed over as portal message, because the patient could not be reached"
    )
