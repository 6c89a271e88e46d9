"""Appointments of a made-up clinic over many days: booked ahead, moved, called off, restored, kept or not. By the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from connectors.demo.day import SERVICES
from connectors.demo.envelopes import Envelopes
from connectors.demo.papers import Papers
from connectors.demo.people import PROVIDERS, Patient
from connectors.demo.script import Told

# The clinic's houses: most patients come to the first; the others' clocks change on other days, or never.
HOUSES = ("America/New_York",) * 7 + ("America/Los_Angeles", "Europe/Lisbon", "America/Phoenix")
# How long ahead is booked: (share of a hundred, days from, days to). The first of them on the day itself.
LEAD_DAYS = ((15, 0, 0), (20, 1, 2), (25, 3, 7), (25, 8, 28), (15, 29, 90))
SUNDAY = 7
_OPENS, _CLOSES = 9, 17
_MOVED, _CANCELLED, _RESTORED, _CONFIRMED, _COMES = 0.14, 0.09, 0.25, 0.45, 0.88
# Of a hundred cancellations so many are heard before anything else of their visit; of all events so many twice.
_OVERTAKEN, _TWICE = 0.15, 0.01
_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class _Booked:
    """An appointment as it stands while its story is told. ``now``: when the last thing happened to it."""

    about: dict[str, Any]
    patient: Patient
    zone: ZoneInfo
    now: datetime

    @property
    def starts(self) -> datetime:
        clock = time.fromisoformat(self.about["appointment_time"])
        day: date = self.about["appointment_date"]
        return datetime.combine(day, clock, self.zone).astimezone(UTC)


class Bookings:
    """Tells the stories of appointments. ``make`` counts versions; ``run`` is in every id."""

    def __init__(self, random: Random, run: str, make: Envelopes, patients: list[Patient]) -> None:
        self._random, self._run, self._make, self._patients = random, run, make, patients
        self._papers = Papers(random, make)
        self._number = 0

    def of_day(self, day: date, count: int) -> Iterator[Told]:
        """What becomes of ``count`` appointments that are booked on this day; each story in its own order."""
        for _ in range(count):
            booked = self._booked_on(day)
            if booked is not None:
                yield from self._heard(list(self._papers.beside(self._story(booked))))

    def _heard(self, story: list[Told]) -> Iterator[Told]:
        """The story as it is heard: now and then its end comes first, or something twice."""
        random = self._random
        off = next((number for number, one in enumerate(story) if one.event_type == "appointment.cancelled"), 0)
        late_ms = random.randint(60_000, 86_400_000) if off and random.random() < _OVERTAKEN else 0
        for number, one in enumerate(story):
            heard = replace(one, at_ms=story[off].at_ms + late_ms) if late_ms and number < off else one
            yield heard
            if random.random() < _TWICE:
                yield replace(heard, at_ms=heard.at_ms + random.randint(0, 7_200_000))

    def _booked_on(self, day: date) -> _Booked | None:
        random = self._random
        patient, zone = random.choice(self._patients), ZoneInfo(random.choice(HOUSES))
        _, first, last = random.choices(LEAD_DAYS, [share for share, _, _ in LEAD_DAYS])[0]
        at = datetime.combine(day, time(random.randint(7, 20), random.randrange(60), random.randrange(60)), zone)
        date_of, clock = self._free_slot(day + timedelta(days=random.randint(first, last)))
        provider_id, provider = random.choice(PROVIDERS)
        self._number += 1
        about: dict[str, Any] = {
            "appointment_id": f"apt-{self._run}-{self._number:06d}",
            "patient_id": patient.patient_id,
            "patient_name": patient.name,
            "service": random.choice(SERVICES),
            "provider": provider,
            "provider_id": provider_id,
            "appointment_date": date_of,
            "appointment_time": clock,
            "time_zone": zone.key,
        }
        booked = _Booked(about, patient, zone, at.astimezone(UTC))
        return booked if booked.starts > booked.now else None  # the day's last slots are gone

    def _free_slot(self, day: date) -> tuple[date, str]:
        random = self._random
        while day.isoweekday() == SUNDAY:  # closed
            day += timedelta(days=1)
        return day, f"{random.randint(_OPENS, _CLOSES):02d}:{random.choice(('00', '20', '40'))}"

    def _story(self, booked: _Booked) -> Iterator[Told]:
        random = self._random
        yield self._event(
            booked,
            "appointment.created",
            patient_phone=booked.patient.phone,
            patient_email=booked.patient.email,
            duration=random.choice((30, 45, 60)),
            status="scheduled",
            sms_opt_in=random.random() >= 0.03,
            email_opt_in=random.random() >= 0.1,
        )
        while random.random() < _MOVED and self._later(booked):
            yield self._moved(booked)
        if random.random() < _CANCELLED and self._later(booked):
            yield self._event(booked, "appointment.cancelled", cancelled_by="patient", refund_issued=False)
            if random.random() >= _RESTORED or not self._later(booked):
                return
            yield self._event(booked, "appointment.restored", restored_by="front-1")
        if random.random() < _CONFIRMED and self._later(booked):
            yield self._event(booked, "appointment.confirmed", confirmed_via="sms", confirmed_by="patient")
        yield from self._visit(booked)

    def _later(self, booked: _Booked) -> bool:
        """Goes on to some time before the appointment, more likely near it; False: there is none left."""
        left = (booked.starts - booked.now).total_seconds() - 600
        if left <= 0:
            return False
        booked.now += timedelta(seconds=60 + int(left * self._random.random() ** 0.5))
        return booked.now < booked.starts

    def _moved(self, booked: _Booked) -> Told:
        about = booked.about
        old_date, old_time = about["appointment_date"], about["appointment_time"]
        local = booked.now.astimezone(booked.zone).date()
        day, clock = self._free_slot(max(old_date, local) + timedelta(days=self._random.randint(1, 21)))
        about |= {"appointment_date": day, "appointment_time": clock}
        return self._event(
            booked,
            "appointment.rescheduled",
            old_date=old_date,
            old_time=old_time,
            new_date=day,
            new_time=clock,
            rescheduled_by="patient",
        )

    def _visit(self, booked: _Booked) -> Iterator[Told]:
        random, about = self._random, booked.about
        if random.random() >= _COMES:
            booked.now = booked.starts + 30 * _MINUTE
            yield self._event(
                booked,
                "appointment.no_show",
                scheduled_date=about["appointment_date"],
                scheduled_time=about["appointment_time"],
                no_show_fee_charged=False,
            )
            return
        booked.now = max(booked.now + timedelta(seconds=1), booked.starts - random.randint(1, 20) * _MINUTE)
        yield self._event(booked, "appointment.checked_in", checked_in_at=booked.now, estimated_wait_minutes=10)
        duration = random.choice((30, 45, 60))
        booked.now = booked.starts + duration * _MINUTE
        yield self._event(
            booked,
            "appointment.completed",
            treatment_type="injectable",
            completed_at=booked.now,
            duration=duration,
            charting_complete=True,
            follow_up_days=random.choice((None, None, 14, 90)),
        )
        treatment = about["appointment_id"].replace("apt-", "trt-", 1)
        booked.now += 2 * _MINUTE
        yield self._event(
            booked,
            "treatment.completed",
            treatment,
            treatment_id=treatment,
            treatment_type="injectable",
            products_used=["saline"],
            completed_at=booked.now,
        )
        payment = about["appointment_id"].replace("apt-", "pay-", 1)
        booked.now += 8 * _MINUTE
        yield self._event(
            booked,
            "payment.received",
            payment,
            payment_id=payment,
            amount=Decimal(random.randint(90, 900)),
            method="card",
            receipt_url=f"https://portal.luxe.example/r/{payment}",
        )

    def _event(self, booked: _Booked, event_type: str, subject: str | None = None, **payload: Any) -> Told:
        subject = subject or booked.about["appointment_id"]
        value = self._make.event(event_type, booked.now, subject, booked.about, **payload)
        return Told(round(booked.now.timestamp() * 1000), event_type, value)
