"""Which receipts say something of our own account and senders."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.postgres.deliveries import Delivery
from connectors.postgres.sender_refusals import Arrived, Refused, SenderRefusal, Subject
from connectors.providers.outcome import error_class
from connectors.settings import Settings
from connectors.webhooks import sender_news
from connectors.webhooks.receipts import Receipt

NOW = datetime(2026, 11, 29, tzinfo=UTC)
CARE, MARKETING, OTHER = "+15005550006", "MG00000000000000000000000000000001", "+15005550009"
DELIVERY = Delivery(
    *("delivery", "notification", "patient:1", "c1", "appointment_reminder_24h", "transactional", "normal", "sms"),
    step=0,
    attempt=1,
    provider="twilio",
    template_id="t",
    template_version=1,
    occurred_at=NOW,
    correlation_id=None,
    provider_message_id="SM1",
    state="accepted",
)


def settings(marketing: str = MARKETING) -> Settings:
    return Settings(state_dir=Path("none"), twilio_care_sender=CARE, twilio_marketing_sender=marketing)


def receipt(status: str, sender: str = CARE, code: str | None = None, provider: str = "twilio") -> Receipt:
    return Receipt(
        provider=provider,
        provider_message_id="SM1",
        provider_event_id=f"SM1:{status}",
        status=status,
        provider_status=status,
        status_at=NOW,
        delivery_id=None,
        address="+15550001111",
        sender=sender,
        error_class=error_class("twilio", code),
        error_code=code,
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (receipt("undelivered", CARE, "30034"), ["care"]),
        (receipt("failed", MARKETING, "30032"), ["marketing"]),
        (receipt("undelivered", OTHER, "30034"), []),  # a number that was ours once
        (receipt("failed", CARE, "30002"), ["account"]),
        (receipt("failed", OTHER, "30002"), ["account"]),
        (receipt("failed", CARE, "30010"), []),  # the price of this one
        (receipt("undelivered", CARE, "30005"), []),
        (receipt("undelivered", CARE, "30007"), []),
        (receipt("delivered", CARE), []),
        (receipt("undelivered", "", "5.7.26", provider="sendgrid"), []),
    ],
)
def test_whom_a_receipt_refuses(said: Receipt, expected: list[Subject]) -> None:
    refused = sender_news.refused(settings(), [(said, DELIVERY)])
    assert refused == [
        Refused(SenderRefusal(subject, said.error_code or "", "c1"), "delivery", 1) for subject in expected
    ]
    assert sorted(sender_news.subjects(settings(), said)) == expected


def test_a_number_that_both_share_is_refused_for_both() -> None:
    said = receipt("undelivered", CARE, "30034")
    assert [one.refusal.subject for one in sender_news.refused(settings(CARE), [(said, DELIVERY)])] == [
        "care",
        "marketing",
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (receipt("delivered", CARE), [{"account", "care"}]),
        (receipt("read", MARKETING), [{"account", "marketing"}]),
        (receipt("sent", CARE), []),  # taken by the carrier, which may refuse it yet
        (receipt("delivered", OTHER), []),
        (receipt("undelivered", CARE, "30034"), []),
    ],
)
def test_what_arrived_shows_who_may_send(said: Receipt, expected: list[set[Subject]]) -> None:
    found = sender_news.arrived(settings(), [(said, DELIVERY)])
    assert found == [Arrived(frozenset(subjects), "delivery", 1) for subjects in expected]
