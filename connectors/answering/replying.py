"""What a reply by text is about, and the event that says so. Pure.

A reply names no appointment. It is about the one that a text to this number asked about and that still can be answered; where
there are two of those, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from connectors.postgres.text_questions import Meant, Open, Question
from schemas.ids import derived_id

CONFIRMED = "appointment.confirmed"
RESCHEDULE_REQUESTED = "appointment.reschedule_requested"
# What the practice system is told where no event of the appointment ever said it.
UNKNOWN = "unknown"


class Via(NamedTuple):
    """How somebody answered. ``source``: of the event; ``channel``: a symbol of ConfirmationChannel and RequestChannel alike;
    ``ids``: what event ids are made from, with the answer's own."""

    source: str
    channel: str
    ids: str


BY_TEXT = Via("twilio", "sms", "text")
BY_INBOX = Via("luxe-inbox", "portal", "inbox")


class Chosen(NamedTuple):
    """What a reply is about; None: of so many ``possible`` ones it cannot be told which, or there is none."""

    question: Question | None
    possible: int


def chosen(meant: Meant, asked: Sequence[Open], overtook: Callable[[Question], bool]) -> Chosen:
    """What a reply is about. ``asked``: in any order; ``overtook``: was this version of it withdrawn?

    A confirmation is about what is not confirmed yet, where there is such a thing; else she only says it twice.
    """
    newest: dict[tuple[str, str, str, str], Open] = {}
    for one in sorted(asked, key=lambda one: (one.question.aggregate_version, one.asked_at)):
        question = one.question
        key = (question.recipient, question.clinic_id, question.aggregate_type, question.aggregate_id)
        newest[key] = one
    possible = [one for one in newest.values() if not overtook(one.question)]
    if meant == "confirm":
        possible = [one for one in possible if not one.confirmed] or possible
    return Chosen(possible[0].question if len(possible) == 1 else None, len(possible))


def filled(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The newest AskedAppointment of one appointment, with what it leaves open taken from those before it. Newest first."""
    whole = dict(facts[0])
    for earlier in facts[1:]:
        for name in ("service", "provider", "provider_id", "duration"):
            if whole[name] is None:
                whole[name] = earlier[name]
    return whole


def event_of(
    meant: Meant,
    question: Question,
    facts: Mapping[str, Any],
    *,
    via: Via,
    message_id: str,
    at: datetime,
    generic_service: str,
) -> dict[str, Any]:
    """The event that an answer is: of the very version that was asked about, so that it never overtakes a later one.

    The same answer gives the same event. ``message_id``: the text's at its provider, or the answer's own; ``facts``: an
    AskedAppointment, filled;    ``generic_service``: the clinic's word where no service is known.
    """
    event_type = CONFIRMED if meant == "confirm" else RESCHEDULE_REQUESTED
    envelope = {
        "event_id": derived_id(via.ids, message_id, event_type),
        "event_type": event_type,
        "occurred_at": at,
        "schema_version": "1.0",
        "source": via.source,
        "correlation_id": question.correlation_id or message_id,
        "clinic_id": question.clinic_id,
        "aggregate_id": question.aggregate_id,
        "aggregate_version": question.aggregate_version,
        "metadata": {"message_id": message_id, "answers_delivery": question.delivery_id},
        "appointment_id": question.aggregate_id,
        "patient_id": question.recipient.partition(":")[2],
        "time_zone": facts["time_zone"],
    }
    if meant == "reschedule":
        return envelope | {
            "old_date": facts["appointment_date"],
            "old_time": facts["appointment_time"],
            "new_date": None,
            "new_time": None,
            "reason": None,
            "channel": via.channel,
            "service": facts["service"],
            "provider": facts["provider"],
            "provider_id": facts["provider_id"],
            "staff_ids": [],
        }
    return envelope | {
        "appointment_date": facts["appointment_date"],
        "appointment_time": facts["appointment_time"],
        "service": facts["service"] or generic_service,
        "provider": facts["provider"] or UNKNOWN,
        "provider_id": facts["provider_id"] or UNKNOWN,
        "confirmed_via": via.channel,
        "confirmed_by": "patient",
        "duration": facts["duration"],
        "confirmed_version": question.aggregate_version,
    }
