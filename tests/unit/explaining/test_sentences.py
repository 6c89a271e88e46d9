"""What can be said at the front desk, for every reason there is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from connectors.explaining.facts import (
    NOTHING_SAID,
    Blocked,
    ConsentSaid,
    Decision,
    Delivery,
    OptOutSaid,
    Receipt,
    RuleVerdict,
    Said,
    Step,
    Story,
)
from connectors.explaining.phrases import CLOSED, ENDED, WAYS, WHOLE
from connectors.explaining.sentence import Clock, foretold, sentence
from connectors.postgres.gates import Reason as GateReason
from connectors.providers.outcome import ERROR_CLASSES
from connectors.unsubscribing.carrying_out import LINK_SOURCES
from connectors.unsubscribing.history import Path
from connectors.unsubscribing.wishes import PROVIDER_SOURCES, STOP_SOURCE
from sinks.runtime.gates import LATE, WITHDRAWN
from streams.rules.decision import RULES
from streams.rules.reasons import Reason

NOW = datetime(2026, 3, 10, 15, tzinfo=UTC)
AT = datetime(2026, 3, 4, 14, 2, tzinfo=UTC)  # 09:02 in New York
CLOCK = Clock("America/New_York", NOW)
STOPPED = datetime(2026, 3, 3, 20, tzinfo=UTC)


def decision(outcome: str, reason: str, *rules: tuple[str, str | None, str, str], **more: Any) -> Decision:
    channels = more.pop("channels", ())
    steps = tuple(Step(n, channel, f"d{n}", "delivered", 0, n > 0, 1) for n, channel in enumerate(channels))
    made = Decision(
        0, outcome, reason, None, AT, steps, tuple(RuleVerdict(*rule) for rule in rules), 3, 2, "c", {}, "t", ""
    )
    return replace(made, **more)


def delivery(channel: str, *statuses: str, why: str = "") -> Delivery:
    receipts = tuple(
        Receipt(status, AT + timedelta(minutes=n), 1, why, "twilio", None, None, None)
        for n, status in enumerate(statuses)
    )
    return Delivery("d0", channel, 0, statuses[-1] if statuses else "waiting", "t", 1, "en", AT, receipts)


def story(state: str, made: Decision | None, *deliveries: Delivery, **more: Any) -> Story:
    fields: dict[str, Any] = {
        **dict.fromkeys(Story.__slots__),
        **{"notification_id": "n", "notification_type": "appointment_reminder_24h", "recipient": "patient:p-secret"},
        **{"clinic_id": "c", "occurred_at": AT, "state": state, "reason": ""},
        **{"decisions": () if made is None else (made,), "deliveries": deliveries},
    }
    return Story(**(fields | more))


def say(made: Story, said: Said = NOTHING_SAID) -> str:
    return sentence(made, said, CLOCK)


# Nothing is left without words


def test_every_reason_of_a_decision_has_a_phrase_and_no_phrase_a_code_that_is_none() -> None:
    assert set(WHOLE) == {reason.value for reason in Reason}
    assert set(CLOSED) <= set(WHOLE)


def test_every_way_gate_and_error_has_a_phrase() -> None:
    assert set(get_args(Path)) | {STOP_SOURCE, *LINK_SOURCES.values(), *PROVIDER_SOURCES.values()} == set(WAYS)
    assert set(get_args(GateReason)) | set(ERROR_CLASSES) | {WITHDRAWN, *LATE} <= set(ENDED)


@pytest.mark.parametrize("outcome", ["defer", "suppress"])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_makes_a_sentence_in_plain_words(reason: Reason, outcome: str) -> None:
    made = decision(outcome, reason.value, until=AT + timedelta(hours=10))
    for text in (
        say(story("suppressed", made)),
        foretold(made, "patient:p-secret", "appointment_reminder_24h", NOTHING_SAID, CLOCK),
    ):
        assert text[0].isupper()
        assert text.endswith(".")
        assert not re.search(r"[{}_]|secret|None", text)
        assert "appointment reminder message (24 h before)" in text


@pytest.mark.parametrize("reason", sorted(CLOSED))
def test_every_reason_that_closes_a_channel_can_be_said(reason: str) -> None:
    made = decision("suppress", reason, ("a_rule", "sms", "narrow", reason), ("a_rule", "email", "narrow", reason))
    text = say(story("suppressed", made))
    assert not re.search(r"[{}_]", text)
    assert text.endswith("so the appointment reminder message (24 h before) was not sent.")


def test_rules_are_named_as_the_decision_names_them() -> None:
    """The view and this table speak of the same things."""
    assert {"consent", "suppression", "quiet_hours", "caps"} <= {name for name, _rule in RULES}


# The sentences themselves


def test_she_said_stop_and_got_the_email() -> None:
    made = decision(
        "deliver",
        "deliver",
        ("consent", None, "pass", ""),
        ("suppression", "sms", "narrow", "address_suppressed"),
        channels=["email"],
    )
    said = Said(blocked=[Blocked("sms", "opted_out", STOPPED)])
    assert say(story("delivered", made, delivery("email", "sent", "delivered")), said) == (
        "The patient texted STOP on 3 March, so texts are off; "
        "the appointment reminder message (24 h before) arrived by email at 09:03 on 4 March."
    )


def test_a_withdrawn_consent_is_told_with_its_way_and_day() -> None:
    made = decision(
        "suppress", "opted_out", ("consent", "sms", "narrow", "opted_out"), consent_versions={"sms_marketing": 2}
    )
    consents = [
        ConsentSaid("sms_marketing", 3, "opted_in", AT + timedelta(days=1), "electronic", "portal", "patient:p-secret"),
        ConsentSaid(
            "sms_marketing", 2, "opted_out", STOPPED, "electronic", "one-click unsubscribe", "patient:p-secret"
        ),
    ]
    assert say(story("suppressed", made), Said(consents)).startswith(
        "The patient unsubscribed in the mail program on 3 March, so texts are off; no other way was left"
    )


@pytest.mark.parametrize(
    ("by", "begins"),
    [
        ("patient:p-secret", "The patient withdrew the consent to emails on 3 March;"),
        ("staff:x", "The patient's consent to emails was entered as withdrawn on 3 March;"),
    ],
)
def test_who_entered_a_withdrawal_is_told_by_kind_only(by: str, begins: str) -> None:
    made = decision(
        "suppress",
        "opted_out",
        ("consent", "email", "narrow", "opted_out"),
        consent_versions={"email_transactional": 1},
    )
    said = Said([ConsentSaid("email_transactional", 1, "opted_out", STOPPED, "verbal", "form 12", by)])
    text = say(story("suppressed", made), said)
    assert text.startswith(begins)
    assert "staff:x" not in text


def test_what_was_said_after_the_decision_explains_nothing() -> None:
    made = decision("suppress", "address_suppressed", ("suppression", "sms", "narrow", "address_suppressed"))
    later = Said(blocked=[Blocked("sms", "opted_out", AT + timedelta(days=1))])
    assert "STOP" not in say(story("suppressed", made), later)


def test_channels_with_one_cause_are_told_together() -> None:
    made = decision(
        "suppress",
        "channel_off",
        *[("channel_enabled", channel, "narrow", "channel_off") for channel in ("sms", "email", "push")],
    )
    assert say(story("suppressed", made)).startswith("The patient switched texts, emails and push messages off; ")


def test_a_link_that_was_clicked_is_told_with_its_day() -> None:
    made = decision("deliver", "deliver", ("category_opt_in", "email", "narrow", "category_opt_out"), channels=["sms"])
    said = Said(opt_outs=[OptOutSaid(STOPPED, "link", "email", "category:reviews")])
    assert say(story("sent", made, delivery("sms", "sent")), said) == (
        "The patient unsubscribed by an email's link on 3 March, so emails are off; "
        "the appointment reminder message (24 h before) went out by text at 09:02 on 4 March, "
        "and the provider has not yet said that it arrived."
    )


def test_who_unsubscribed_at_the_provider_of_emails_texted_nothing() -> None:
    made = decision("deliver", "deliver", ("suppression", "email", "narrow", "address_suppressed"), channels=["sms"])
    said = Said(blocked=[Blocked("email", "opted_out", STOPPED)])
    assert say(story("sent", made, delivery("sms", "sent")), said).startswith(
        "The patient said so to the provider on 3 March, so emails are off; "
    )


def test_what_was_switched_off_names_the_page_that_was_saved_last() -> None:
    made = decision("deliver", "deliver", ("channel_enabled", "email", "narrow", "channel_off"), channels=["sms"])
    said = Said(opt_outs=[OptOutSaid(STOPPED, "page", "all", "preferences")])
    assert say(story("sent", made, delivery("sms", "sent")), said).startswith(
        "The patient switched emails off (changed last on the preference page, on 3 March); "
    )


def test_somebody_without_an_email_is_not_told_so_every_time() -> None:
    made = decision("deliver", "deliver", ("reachable", "email", "narrow", "unreachable"), channels=["sms"])
    text = say(story("delivered", made, delivery("sms", "sent", "delivered")))
    assert text == "The appointment reminder message (24 h before) arrived by text at 09:03 on 4 March."


def test_that_no_device_is_known_is_told_only_where_nothing_else_is() -> None:
    push = ("reachable", "push", "narrow", "unreachable")
    both = decision("suppress", "unreachable", ("channel_enabled", "sms", "narrow", "channel_off"), push)
    assert "push" not in say(story("suppressed", both))
    assert "push messages" in say(story("suppressed", decision("suppress", "unreachable", push)))


def test_it_waits_for_the_morning() -> None:
    made = decision("defer", "quiet_hours", until=datetime(2026, 3, 5, 13, tzinfo=UTC))
    assert say(story("waiting", made)) == (
        "The appointment reminder message (24 h before) waits until 08:00 on 5 March, "
        "because those are the patient's quiet hours."
    )


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (("sent", "delivered"), "arrived by text at 09:03 on 4 March."),
        (("sent", "read"), "arrived by text at 09:03 on 4 March."),
        (("sent",), "went out by text at 09:02 on 4 March, and the provider has not yet said that it arrived."),
        (("sent", "undelivered"), "waits until 20:02 on 4 March, because those are the patient's quiet hours."),
    ],
)
def test_a_late_receipt_counts_though_the_next_channel_was_put_off(statuses: tuple[str, ...], told: str) -> None:
    """The last decision on record stays the one that put it off."""
    night = decision("defer", "quiet_hours", until=AT + timedelta(hours=11))
    text = say(story("delivered", night, delivery("sms", *statuses)))
    assert told in text


def test_a_year_is_told_where_it_is_not_this_one() -> None:
    made = decision("defer", "not_due", until=datetime(2027, 1, 5, 14, tzinfo=UTC))
    assert "until 09:00 on 5 January 2027" in say(story("waiting", made))


def test_failures_and_gates_are_told_apart() -> None:
    made = decision("deliver", "deliver", channels=["sms"])
    failed = say(story("failed", made, delivery("sms", "sending", "failed", why="permanent_recipient")))
    assert failed.endswith("did not arrive by text, because the number or address cannot be reached.")
    stopped = say(story("suppressed", made, delivery("sms", "suppressed", why="opted_out")))
    assert stopped.endswith("was stopped before it went out by text, because the patient had said no meanwhile.")
    withdrawn = say(story("suppressed", made, delivery("sms", "suppressed", why="consent_withdrawn")))
    assert withdrawn.endswith("by text, because the patient had withdrawn the consent meanwhile.")
    late = say(story("suppressed", made, delivery("sms", "expired", why="expires_at")))
    assert late.endswith("by text, because its time had passed before it could be sent.")
    assert say(story("failed", made, delivery("sms", "sent", "undelivered"))).endswith("did not arrive by text.")


def test_what_is_not_decided_or_could_not_be_handled() -> None:
    assert "not decided yet" in say(story("undecided", None))
    assert "(unknown_zone)" in say(story("dead_letter", None, dead_letter="unknown_zone"))


def test_a_channel_that_nothing_serves_is_no_delivery() -> None:
    made = decision("deliver", "deliver", channels=["in_app"])
    assert say(story("waiting", made, delivery("in_app"))).endswith(
        "is ready as a portal message, and nothing has taken it yet."
    )


def test_what_its_sink_holds_waits_and_what_is_in_doubt_is_said_to_be() -> None:
    made = decision("deliver", "deliver", channels=["sms"])
    assert say(story("waiting", made, delivery("sms", "queued"))).endswith(
        "is ready as a text, and waits for its turn."
    )
    assert say(story("waiting", made, delivery("sms", "queued", "sending"))).endswith("is on its way.")
    doubted = delivery("sms", "queued", "sending", "unknown", why="no_answer")
    assert say(story("unknown", made, delivery("email", "failed"), doubted)).endswith(
        "may have gone out by text, and nobody knows: the provider did not say whether it took it."
    )


def test_what_its_sink_has_goes_out_though_no_other_channel_follows() -> None:
    closed = decision("suppress", "channel_off", ("channel_enabled", "email", "narrow", "channel_off"))
    assert "waits for its turn" in say(story("waiting", closed, delivery("push", "queued")))
    assert "was not sent" in say(story("suppressed", closed, delivery("push", "queued", "failed")))


def test_a_colleague_is_no_patient() -> None:
    made = decision("suppress", "inactive")
    assert "because the colleague has left the clinic" in say(story("suppressed", made, recipient="staff:s"))


# What-if


def test_yes_no_and_not_then() -> None:
    def told(made: Decision) -> str:
        return foretold(made, "patient:p-secret", "appointment_reminder_24h", NOTHING_SAID, CLOCK)

    yes = told(decision("deliver", "deliver", channels=["sms", "email"]))
    assert (
        yes == "Yes: the appointment reminder message (24 h before) would go out by text and email at 09:02 on 4 March."
    )
    not_then = told(decision("defer", "quiet_hours", until=datetime(2026, 3, 5, 13, tzinfo=UTC)))
    assert not_then.startswith(
        "Not then: the appointment reminder message (24 h before) would wait until 08:00 on 5 March"
    )
    no = told(decision("suppress", "type_disabled"))
    assert no.startswith(
        "No: the appointment reminder message (24 h before) would not be sent, because the clinic does not"
    )


def test_a_story_prints_without_its_patient() -> None:
    assert "secret" not in repr(story("undecided", None))
