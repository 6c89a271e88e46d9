"""The events of one made-up day at a clinic. Same seed and day, same events; ids carry the run: a second run is another day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from connectors.demo.envelopes import Envelopes
from connectors.demo.people import PROVIDERS, Patient

SERVICES = ("Botox", "Hydrafacial", "Laser hair removal", "Chemical peel", "Dermal filler", "Microneedling")
ZONE = "America/New_York"


@dataclass(frozen=True, slots=True)
class DayEvent:
    """An event with its type and Kafka key; the value holds PHI and is not printed."""

    event_type: str
    key: str
    value: dict[str, Any] = field(repr=False)


class ClinicDay:
    """Writes the day. ``now`` stamps the events; appointments lie on ``today`` and the four weeks after it."""

    def __init__(self, seed: int, run: str, now: datetime, patients: list[Patient]) -> None:
        self._random = Random(seed)  # noqa: S311 — a made-up day, not a secret
        self._run = run
        self._now = now.astimezone(UTC).replace(microsecond=0)
        self._today = self._now.date()
        self._patients = patients
        self._envelopes = Envelopes(run)

    def events(self, appointments: int) -> Iterator[DayEvent]:
        """``appointments`` bookings and what happens around them, in the order of the day."""
        booked = [self._book(number) for number in range(appointments)]
        yield from (event for event, _ in booked)
        for number, (_, appointment) in enumerate(booked):
            yield from self._story(number, appointment)
        yield from self._house()

    def _book(self, number: int) -> tuple[DayEvent, dict[str, Any]]:
        patient = self._random.choice(self._patients)
        provider_id, provider = self._random.choice(PROVIDERS)
        appointment: dict[str, Any] = {
            "appointment_id": f"apt-{self._run}-{number:04d}",
            "patient_id": patient.patient_id,
            "patient_name": patient.name,
            "service": self._random.choice(SERVICES),
            "provider": provider,
            "provider_id": provider_id,
            "appointment_date": self._today + timedelta(days=self._random.randint(1, 28)),
            "appointment_time": f"{self._random.randint(9, 17):02d}:{self._random.choice(('00', '20', '40'))}",
            "time_zone": ZONE,
        }
        return (
            self._event(
                "appointment.created",
                appointment["appointment_id"],
                appointment,
                patient_phone=patient.phone,
                patient_email=patient.email,
                duration=self._random.choice((30, 45, 60)),
                status="scheduled",
                sms_opt_in=True,
                email_opt_in=number % 9 != 4,
            ),
            appointment,
        )

    def _story(self, number: int, appointment: dict[str, Any]) -> Iterator[DayEvent]:
        """What becomes of one appointment; most just stand."""
        apt = appointment["appointment_id"]
        old_date, old_time = appointment["appointment_date"], appointment["appointment_time"]
        match number % 8:
            case 1:
                appointment |= {"appointment_date": old_date + timedelta(days=2), "appointment_time": "11:20"}
                yield self._event(
                    "appointment.rescheduled",
                    apt,
                    appointment,
                    old_date=old_date,
                    old_time=old_time,
                    new_date=appointment["appointment_date"],
                    new_time="11:20",
                    rescheduled_by="patient",
                )
            case 2:
                yield self._event(
                    "appointment.cancelled", apt, appointment, cancelled_by="patient", refund_issued=number % 16 == 2
                )
                yield self._slot(number, appointment)
            case 3:
                yield self._event(
                    "appointment.confirmed", apt, appointment, confirmed_via="sms", confirmed_by="patient"
                )
            case 4:
                yield from self._visit(number, appointment)
            case 5:
                yield self._event(
                    "appointment.no_show",
                    apt,
                    appointment,
                    scheduled_date=self._today,
                    scheduled_time=old_time,
                    no_show_fee_charged=False,
                )
            case _:
                return

    def _visit(self, number: int, appointment: dict[str, Any]) -> Iterator[DayEvent]:
        apt, treatment = appointment["appointment_id"], f"trt-{self._run}-{number:04d}"
        at = self._now
        yield self._event("appointment.checked_in", apt, appointment, checked_in_at=at, estimated_wait_minutes=10)
        yield self._event("treatment.room_ready", treatment, appointment, treatment_id=treatment, room="3", ready_at=at)
        yield self._event(
            "appointment.completed",
            apt,
            appointment,
            treatment_type="injectable",
            completed_at=at,
            duration=45,
            charting_complete=True,
        )
        yield self._event(
            "treatment.completed",
            treatment,
            appointment,
            treatment_id=treatment,
            treatment_type="injectable",
            products_used=["saline"],
            completed_at=at,
        )
        payment, amount = f"pay-{self._run}-{number:04d}", Decimal(self._random.randint(90, 900))
        receipt = f"https://portal.luxe.example/r/{payment}"
        yield self._event(
            "payment.received",
            payment,
            appointment,
            payment_id=payment,
            amount=amount,
            method="card",
            receipt_url=receipt,
        )

    def _slot(self, number: int, appointment: dict[str, Any]) -> DayEvent:
        slot = f"slot-{self._run}-{number:04d}"
        waiting = self._random.sample(self._patients, 3)
        return self._event(
            "waitlist.slot_available",
            slot,
            appointment,
            slot_id=slot,
            waitlist_patients=[patient.patient_id for patient in waiting],
            date=appointment["appointment_date"],
            time=appointment["appointment_time"],
            expires_at=self._now + timedelta(minutes=30),
        )

    def _house(self) -> Iterator[DayEvent]:
        """What does not hang on an appointment."""
        run, at = self._run, self._now
        for number, patient in enumerate(self._random.sample(self._patients, 12)):
            who: dict[str, Any] = {"patient_id": patient.patient_id, "time_zone": ZONE}
            ident = f"{run}-{number}"
            match number % 4:
                case 0:
                    yield self._event(
                        "payment.failed",
                        f"pay-f-{ident}",
                        who,
                        payment_id=f"pay-f-{ident}",
                        amount=Decimal("120.00"),
                        failure_reason="card_declined",
                        retryable=True,
                    )
                case 1:
                    yield self._event(
                        "membership.credits_added",
                        f"mem-{ident}",
                        who,
                        membership_id=f"mem-{ident}",
                        credits_added=Decimal("2"),
                        new_balance=Decimal("5"),
                        expiry_date=self._today + timedelta(days=90),
                    )
                case 2:
                    yield self._event(
                        "message.received",
                        f"msg-{ident}",
                        who,
                        message_id=f"msg-{ident}",
                        conversation_id=f"conv-{patient.patient_id}",
                        body="Could I come a little earlier?",
                        channel="portal",
                        received_at=at,
                        urgent=False,
                        **{"from": patient.phone},
                    )
                case _:
                    yield self._event(
                        "forms.due",
                        f"forms-{ident}",
                        who,
                        assignment_id=f"forms-{ident}",
                        form_names=["Medical history"],
                        due_date=self._today + timedelta(days=5),
                        forms_url="https://portal.luxe.example/forms",
                    )
        yield self._event(
            "inventory.low_stock",
            f"prod-{run}",
            {},
            product_id=f"prod-{run}",
            product_name="Hyaluronic filler 1 ml",
            current_quantity=3.0,
            reorder_point=10.0,
            unit="syringe",
        )
        yield self._event(
            "campaign.launched",
            f"camp-{run}",
            {},
            campaign_id=f"camp-{run}",
            name="Winter glow",
            kind="seasonal",
            patients=[patient.patient_id for patient in self._patients[:30]],
            headline="Winter glow",
            message="Hydrafacials at winter prices until the end of the month.",
            offer_code="GLOW",
            image_url="https://luxe.example/winter-glow.jpg",
            image_in_texts=True,
            launched_by="admin-1",
        )

    def _event(self, event_type: str, subject: str, about: dict[str, Any], **payload: Any) -> DayEvent:
        """An event with every field of its schema: given, taken from ``about``, the default, or null."""
        value = self._envelopes.event(event_type, self._now, subject, about, **payload)
        return DayEvent(event_type, subject, value)


def bad_records(day: date) -> list[tuple[str, bytes | None, bytes | None]]:
    """(topic, key, value) of what no producer should send and one day does: each must end in dead letters."""
    stamp = day.isoformat().encode()
    return [
        ("events.appointment", b"bad-json-" + stamp, b'{"event_type": "appointment.created"}'),
        ("events.payment", b"bad-schema-" + stamp, b"\0\x00\x0f\x42\x3f" + b"body"),
        ("events.treatment", b"bad-empty-" + stamp, None),
    ]
