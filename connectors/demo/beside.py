"""What happens at a made-up clinic beside appointments: memberships, payments, forms, medication, messages, offers, closures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from connectors.demo.day import ZONE
from connectors.demo.envelopes import Envelopes
from connectors.demo.people import Patient, birthday_of
from connectors.demo.script import Told

_HOME = ZoneInfo(ZONE)
_MEMBERS, _MONTH_DAYS, _AGAIN = 0.15, 30, 0.4
# Of each thing so many a day and hundred patients.
_DAILY = (
    ("payment", 0.6), ("failed", 0.2), ("forms", 0.4), ("medication", 0.3), ("message", 0.5), ("points", 0.6),
    ("package", 0.2), ("result", 0.2),
)  # fmt: skip
_CAMPAIGNS = ("seasonal", "newsletter", "vip", "new_treatment", "educational", "referral", "member_benefits")


class Beside:
    """Tells of them. ``make`` counts versions; ``run`` is in every id."""

    def __init__(self, random: Random, run: str, make: Envelopes, patients: list[Patient]) -> None:
        self._random, self._run, self._make, self._patients = random, run, make, patients
        self._number = 0

    def memberships(self, first: date, days: int) -> Iterator[Told]:
        """Some become members on some day; each month they have credits, which run out, and the membership is renewed."""
        for patient in self._patients:
            if self._random.random() >= _MEMBERS:
                continue
            since = first + timedelta(days=self._random.randrange(days))
            name = self._name("mem")
            about = {"membership_id": name, "patient_id": patient.patient_id, "tier": "gold", "time_zone": ZONE}
            at = self._hour(since)
            yield self._told("membership.enrolled", at, name, about, start_date=since)
            month = 0
            while (day := since + timedelta(days=month * _MONTH_DAYS)) < first + timedelta(days=days):
                ends = day + timedelta(days=60)
                credits: dict[str, Any] = {"expiry_date": ends, "new_balance": Decimal(4), "balance": Decimal(2)}
                at = max(at + timedelta(minutes=1), self._hour(day))
                yield self._told("membership.credits_added", at, name, about | credits, credits_added=Decimal(2))
                if month % 3 == 2:
                    at += timedelta(minutes=5)
                    for left in self._announced():
                        yield self._told(
                            "membership.credits_expiring", at, name, about | credits, credits_expiring=Decimal(left)
                        )
                        at += timedelta(hours=self._random.randint(1, 100))
                if month == 11:
                    at += timedelta(minutes=5)
                    renewed = day + timedelta(days=_MONTH_DAYS)
                    yield self._told("membership.renewal_due", at, name, about, renewal_date=renewed)
                month += 1

    def _announced(self) -> Iterator[int]:
        """Credits that run out, as they are announced: some once more, since one of them was used, or for nothing."""
        yield 2
        if self._random.random() < _AGAIN:
            yield self._random.choice((2, 1))

    def of_day(self, day: date) -> Iterator[Told]:
        """What happens on one day, in no order."""
        for what, per_hundred in _DAILY:
            for _ in range(self._how_many(per_hundred)):
                yield from getattr(self, f"_{what}")(self._random.choice(self._patients), self._hour(day))
        yield from self._birthdays(day)
        if day.day in (3, 17):
            yield self._campaign(day)
        if day.day == 1:
            yield from self._house(day)

    def _how_many(self, per_hundred: float) -> int:
        wanted = per_hundred * len(self._patients) / 100
        return int(wanted) + (self._random.random() < wanted % 1)

    def _payment(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("inv")
        about = {"payment_id": name, "patient_id": patient.patient_id, "amount": self._amount(), "time_zone": ZONE}
        due = at.date() + timedelta(days=self._random.randint(0, 14))
        yield self._told("payment.due", at, name, about, due_date=due, invoice_id=name, days_overdue=0)
        if self._random.random() < 0.8:
            paid = at + timedelta(hours=self._random.randint(1, 400))
            receipt = f"https://portal.luxe.example/r/{name}"
            yield self._told("payment.received", paid, name, about, method="card", receipt_url=receipt)
        else:
            late = at + timedelta(days=20)
            yield self._told("payment.due", late, name, about, due_date=due, days_overdue=(late.date() - due).days)

    def _failed(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("fail")
        about = {"payment_id": name, "patient_id": patient.patient_id, "amount": self._amount(), "time_zone": ZONE}
        for _ in range(self._random.randint(1, 3)):  # tried again every few days
            again = at + timedelta(days=self._random.randint(2, 5))
            yield self._told(
                "payment.failed", at, name, about, failure_reason="card_declined", retryable=True, next_retry_at=again
            )
            if self._random.random() < 0.4:  # paid by hand meanwhile
                at += timedelta(hours=self._random.randint(1, 40))
                receipt = f"https://portal.luxe.example/r/{name}"
                yield self._told("payment.received", at, name, about, method="cash", receipt_url=receipt)
                return
            at = again

    def _forms(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("forms")
        about = {"assignment_id": name, "patient_id": patient.patient_id, "time_zone": ZONE}
        due_in = self._random.choice((None, 7, 14))
        due_date = None if due_in is None else at.date() + timedelta(days=due_in)
        payload: dict[str, Any] = {"form_names": ["Medical history"], "forms_url": "https://portal.luxe.example/forms"}
        yield self._told("forms.due", at, name, about, due_date=due_date, **payload)
        if self._random.random() < 0.4:
            done = at + timedelta(hours=self._random.randint(1, 300))
            yield self._told("forms.completed", done, name, about, completed_at=done, **payload)

    def _medication(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("med")
        about = {"medication_plan_id": name, "patient_id": patient.patient_id, "time_zone": ZONE}
        due = at + timedelta(hours=self._random.randint(1, 30))
        for dose in range(self._random.randint(1, 6)):  # all announced at once, one event each
            due_at = due + timedelta(days=dose)
            yield self._told(
                "medication.reminder_due", at, name, about, medication="ointment", due_at=due_at, occurrence=dose + 1
            )

    def _message(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("msg")
        about = {"conversation_id": f"conv-{patient.patient_id}", "patient_id": patient.patient_id}
        urgent = self._random.random() < 0.1
        yield self._told(
            "message.received",
            at,
            name,
            about,
            message_id=name,
            body="Could I come a little earlier?",
            channel="portal",
            received_at=at,
            urgent=urgent,
            **{"from": patient.phone},
        )
        answer = self._name("msg")
        at += timedelta(minutes=self._random.randint(5, 300))
        yield self._told(
            "message.sent", at, answer, about, message_id=answer, body="Gladly.", channel="portal", sent_at=at
        )

    def _points(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = f"points-{patient.patient_id}"
        about = {"account_id": name, "patient_id": patient.patient_id}
        yield self._told("loyalty.points_updated", at, self._name("points"), about, points_change=50, new_balance=350)

    def _package(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("pack")
        about = {
            "package_id": name,
            "patient_id": patient.patient_id,
            "package_name": "Six sessions",
            "time_zone": ZONE,
        }
        yield self._told("package.purchased", at, name, about, sessions_total=6, amount=self._amount())
        for used in range(1, 7):  # some sooner than the reminder of those that are left, some later
            at += timedelta(days=self._random.randint(4, 45))
            yield self._told("package.session_used", at, name, about, sessions_used=used, sessions_remaining=6 - used)
            if self._random.random() < 0.2:
                return

    def _result(self, patient: Patient, at: datetime) -> Iterator[Told]:
        name = self._name("lab")
        about = {"result_id": name, "patient_id": patient.patient_id, "provider_id": "dr-lee"}
        yield self._told("lab.result_ready", at, name, about, resulted_at=at, released_to_patient=True, urgent=False)

    def _birthdays(self, day: date) -> Iterator[Told]:
        at = datetime.combine(day, time(3), _HOME).astimezone(UTC)
        for number, patient in enumerate(self._patients):
            born = birthday_of(number)
            if (born.month, born.day) == (day.month, day.day):
                name = f"birthday-{patient.patient_id}-{day.year}"
                about = {"patient_id": patient.patient_id, "time_zone": ZONE}
                yield self._told("birthday.due", at, name, about, birthday=day, days_until=0)

    def _campaign(self, day: date) -> Told:
        name = self._name("camp")
        return self._told(
            "campaign.launched",
            self._hour(day),
            name,
            {},
            campaign_id=name,
            name="Winter glow",
            kind=self._random.choice(_CAMPAIGNS),
            patients=[patient.patient_id for patient in self._patients],
            headline="Winter glow",
            message="Glow at winter prices until the end of the month.",
            offer_code="GLOW",
            launched_by="admin-1",
            send_at=datetime.combine(day + timedelta(days=1), time(10), _HOME).astimezone(UTC),
        )

    def _house(self, day: date) -> Iterator[Told]:
        at = self._hour(day)
        call = self._name("help")
        yield self._told(
            "staff.assistance_needed",
            at,
            call,
            {},
            request_id=call,
            requested_by_id="dr-lee",
            requested_by_name="Dr. Marcus Lee",
            room="3",
        )
        stock = self._name("prod")
        yield self._told(
            "inventory.low_stock",
            at,
            stock,
            {},
            product_id=stock,
            product_name="Hyaluronic filler 1 ml",
            current_quantity=3.0,
            reorder_point=10.0,
            unit="syringe",
        )

    def _amount(self) -> Decimal:
        return Decimal(self._random.randint(40, 900))

    def _hour(self, day: date) -> datetime:
        random = self._random
        clock = time(random.randint(8, 18), random.randrange(60), random.randrange(60))
        return datetime.combine(day, clock, _HOME).astimezone(UTC)

    def _name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._run}-{self._number:06d}"

    def _told(self, event_type: str, at: datetime, subject: str, about: dict[str, Any], **payload: Any) -> Told:
        value = self._make.event(event_type, at, subject, about, **payload)
        return Told(round(at.timestamp() * 1000), event_type, value)
