"""Two ways to walk on a whole stack: texts to numbers abroad, to what they cost; and the no of a mail program's own button.

They are tests of test_sent_by_hand.py, which has the stack, and lie here because both are long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import requests

from connectors.clickhouse import sms_prices
from connectors.loopback.segments import segment_count
from connectors.settings import Settings
from tests.integration.desk import WAIT_SECONDS, Desk, Patient, luxe, produced
from tests.integration.hammer.crowd import CLINIC, noon_zone


class Abroad(Patient):
    """A patient with a number of another country, and no email."""

    @property
    def phone(self) -> str:
        return PHONES[self.number]


# Jamaica shares +1 with the United States, and no price of it is shipped.
PHONES = {21: "+4915112345678", 22: "+525512345678", 23: "+18765550123"}
GERMAN, MEXICAN, JAMAICAN = (Abroad(number) for number in PHONES)
READER = Patient(24)
OFFERS = "SELECT outcome, reason FROM decisions WHERE notification_type = 'win_back'"


def texted(patient: Patient) -> dict[str, Any]:
    """Somebody who gets texts."""
    return {
        **{"recipient_id": f"h-{patient.number}", "phone": patient.phone, "phone_verified": True},
        "consent.sms_transactional": "opted_in",
    }


def mailed(patient: Patient) -> dict[str, Any]:
    """Somebody who gets emails, offers too."""
    return {
        **{"recipient_id": f"h-{patient.number}", "email": patient.email, "email_verified": True},
        **{"consent.email_transactional": "opted_in", "consent.email_marketing": "opted_in"},
        "email_opt_in.marketing": True,
    }


def people(settings: Settings, *rows: dict[str, Any]) -> None:
    """Imports them. It is noon where they are, whatever the hour of the run."""
    shared = {
        **{"kind": "patient", "clinic_id": CLINIC, "first_name": "Ada", "last_name": "Example"},
        **{"time_zone": noon_zone(), "locale": "en-US"},
    }
    file = settings.state_dir / "people.jsonl"
    file.write_text("".join(json.dumps(shared | row) + "\n" for row in rows))
    done = luxe(settings, "recipients", "import", str(file))
    assert done.returncode == 0, done.stderr


def booked(settings: Settings, patient: Patient, number: int) -> None:
    """An appointment of hers, a month ahead."""
    day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    visit = {"appointment_id": f"A-{patient.number}-{number}", "service": "Botox", "provider": "Dr. Smith"}
    produced(
        settings,
        patient,
        "appointment.created",
        visit,
        **{"patient_name": "Ada Example", "patient_phone": patient.phone, "patient_email": patient.email},
        **{"provider_id": "d1", "appointment_date": day, "appointment_time": "14:00", "duration": 30},
        **{"status": "scheduled", "sms_opt_in": True, "email_opt_in": True},
    )


def rows_of(settings: Settings, query: str, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """What the analysts' query finds, once that is enough."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        done = luxe(settings, "query", "--format", "json", query)
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        if enough(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def sent(settings: Settings, channel: str, to: str, count: int = 1) -> list[dict[str, Any]]:
    """What the provider took for an address, once there are so many."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        listing = f"{settings.loopback_url}/messages?channel={channel}&to={quote(to)}"
        found: list[dict[str, Any]] = requests.get(listing, timeout=30).json()["messages"]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, len(found)
        time.sleep(0.2)


def texts_abroad(settings: Settings) -> None:
    """From three bookings to three receipts, and what each text cost."""
    abroad = {GERMAN: "DE", MEXICAN: "MX", JAMAICAN: "JM"}
    people(settings, *map(texted, abroad))
    for patient in abroad:
        booked(settings, patient, 1)
    log = rows_of(
        settings,
        "SELECT recipient, country, status, segments FROM delivery_log WHERE country NOT IN ('', 'US') ORDER BY recipient",
        lambda found: len(found) == len(abroad) and all(one["status"] == "delivered" for one in found),
    )
    assert {one["recipient"]: one["country"] for one in log} == {
        patient.recipient: country for patient, country in abroad.items()
    }
    for patient, one in zip(abroad, log, strict=True):
        (text,) = sent(settings, "sms", patient.phone)
        assert (
            segment_count(text["payload"]["form"]["Body"]) == one["segments"]
        )  # as the provider counts, who bills them
    costs = rows_of(
        settings,
        "SELECT country, messages, segments, toString(cost) AS cost, currency FROM sms_costs WHERE country != 'US'",
        lambda found: len(found) == len(abroad),
    )
    prices = sms_prices.load().listed
    by_country = {one["country"]: one for one in costs}
    for country in ("DE", "MX"):
        told, price = by_country[country], prices[country].segment
        assert price is not None
        assert (Decimal(told["cost"]), told["currency"]) == (told["segments"] * price, "USD")
    assert (by_country["JM"]["messages"], by_country["JM"]["cost"], by_country["JM"]["currency"]) == (1, None, "")
    stored = luxe(settings, "query", "--format", "json", "SELECT * FROM raw_channel_message").stdout
    assert not any(phone.removeprefix("+") in stored for phone in PHONES.values())


def one_click(settings: Settings) -> None:
    """The header of an offer that arrived is posted back; the next offer does not come, and what is about a visit does."""
    people(settings, mailed(READER))
    desk, inactive = Desk(settings), {"last_visit_date": "2026-01-05", "days_inactive": 300, "time_zone": noon_zone()}
    produced(settings, READER, "patient.inactive", {"aggregate_id": "first", **inactive})
    (offer,) = sent(settings, "email", READER.email)
    headers = offer["payload"]["mail"]["headers"]
    link, form = headers["List-Unsubscribe"].strip("<>"), headers["List-Unsubscribe-Post"]
    as_form = {"Content-Type": "application/x-www-form-urlencoded"}
    # As a mailbox provider does (RFC 8058): no cookies, nobody signed in, and no redirect followed.
    assert requests.post(link, form, headers=as_form, allow_redirects=False, timeout=60).status_code == 200

    _, told = desk("GET", f"/v1/recipients/{READER.recipient}/consents")
    status = {one["consentType"]: one["status"] for one in told["consents"]}
    assert (status["email_marketing"], status["email_transactional"]) == ("opted_out", "opted_in")
    _, history = desk("GET", f"/v1/recipients/{READER.recipient}/consents/history")
    said = [one["status"] for one in history["entries"] if one["consentType"] == "email_marketing"]
    assert said == ["opted_out", "opted_in"]

    produced(settings, READER, "patient.inactive", {"aggregate_id": "second", **inactive})
    decisions = rows_of(
        settings,
        f"{OFFERS} AND recipient = '{READER.recipient}' ORDER BY decided_at",
        lambda found: len(found) >= 2,
    )
    found = [(one["outcome"], one["reason"]) for one in decisions]
    assert found == [("deliver", "deliver"), ("suppress", "opted_out")], found
    booked(settings, READER, 2)
    care, mail = sorted(sent(settings, "email", READER.email, 2), key=lambda one: one["id"] == offer["id"])
    assert mail["id"] == offer["id"]
    assert "List-Unsubscribe" not in care["payload"]["mail"].get("headers", {})
