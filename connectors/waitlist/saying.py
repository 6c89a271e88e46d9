"""What is told of a slot's change, as events for the outbox. Pure: the same change makes the same events with the same ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from connectors import alerts
from connectors.waitlist.slot import (
    ClaimedTwice,
    OfferEnded,
    OfferMade,
    Said,
    Slot,
    SlotClaimed,
    SlotDeclined,
    WithdrawnFromHolder,
)
from schemas.ids import derived_id

SOURCE = "luxe-notify"
# What an offer's own events count: made, then ended.
_MADE, _ENDED = 1, 2


@dataclass(frozen=True, slots=True, repr=False)
class Details:
    """What a slot is, as its announcement said. Kept sealed."""

    service: str
    provider: str
    provider_id: str | None
    date: str
    time: str
    duration: int | None
    time_zone: str | None
    claim_url: str | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Details:
        """From a ``waitlist.slot_available``."""
        return cls(
            event["service"],
            event["provider"],
            event["provider_id"],
            event["date"].isoformat(),
            event["time"],
            event["duration"],
            event["time_zone"],
            event["claim_url"],
        )

    @property
    def fields(self) -> dict[str, Any]:
        """What every event about the slot says of it."""
        return {
            "service": self.service,
            "provider": self.provider,
            "provider_id": self.provider_id,
            "date": date.fromisoformat(self.date),
            "time": self.time,
            "time_zone": self.time_zone,
        }


@dataclass(frozen=True, slots=True)
class About:
    """Which slot, and what its events carry on."""

    clinic_id: str
    slot_id: str
    correlation_id: str | None


def offer_id(clinic_id: str, slot_id: str, number: int) -> str:
    """The id of a slot's n-th offer."""
    return derived_id("waitlist-offer", clinic_id, slot_id, number)


def events_of(
    about: About, details: Details | None, slot: Slot, said: Sequence[Said], claim_url: str | None, now: datetime
) -> list[dict[str, Any]]:
    """The events, in their order. ``slot``: as it is after them. ``claim_url``: of our own page, for an offer that is made.

    Raises LookupError for what can only be told of a slot that was announced.
    """
    return [_event(about, details, slot, one, claim_url, now) for one in said]


def _event(
    about: About, details: Details | None, slot: Slot, said: Said, claim_url: str | None, now: datetime
) -> dict[str, Any]:
    if isinstance(said, ClaimedTwice | WithdrawnFromHolder):
        return _alert(about, *_ALARMS[type(said)], now)
    if details is None:
        raise LookupError("a slot that was never announced has nothing to tell")
    own = {"slot_id": about.slot_id, **details.fields}
    match said:
        case OfferMade(patient_id, number, ends_at):
            offer = offer_id(about.clinic_id, about.slot_id, number)
            told = {"offer_id": offer, "offer_number": number, "patient_id": patient_id, "offer_ends_at": ends_at}
            told |= {"duration": details.duration, "claim_url": details.claim_url or claim_url}
            return _envelope(about, "waitlist.offer_made", _MADE, now, offer) | own | told
        case OfferEnded(patient_id, number, outcome):
            offer = offer_id(about.clinic_id, about.slot_id, number)
            told = {"offer_id": offer, "offer_number": number, "patient_id": patient_id, "outcome": outcome}
            return _envelope(about, "waitlist.offer_ended", _ENDED, now, offer) | own | told | {"ended_at": now}
        case SlotClaimed(patient_id):
            told = {"patient_id": patient_id, "other_patients": [], "appointment_id": None}
            told |= {"claimed_at": now, "duration": details.duration}
            return _envelope(about, "waitlist.slot_claimed", slot.version, now, patient_id) | own | told
        case SlotDeclined(patient_id, keep):
            told = {"patient_id": patient_id, "next_patient_id": None, "declined_at": now}
            told |= {"keep_on_waitlist": keep, "reason": None}
            return _envelope(about, "waitlist.slot_declined", slot.version, now, patient_id) | own | told
        case _:
            told = {"cause": said.cause, "offers_made": said.offers_made, "unfilled_at": now}
            # A newer list may run dry as the one before it did: another end, told again.
            cause = f"{said.cause}:{said.offers_made}:{slot.version}:{slot.announced_version}"
            return _envelope(about, "waitlist.slot_unfilled", max(slot.version, 0), now, cause) | own | told


_ALARMS: Mapping[type[ClaimedTwice | WithdrawnFromHolder], tuple[str, str]] = {
    ClaimedTwice: (
        "slot_claimed_twice",
        "The practice system gave a waitlist slot to another patient than the one who has it here. `luxe waitlist show` "
        "says who that is; call the other.",
    ),
    WithdrawnFromHolder: (
        "slot_withdrawn_from_holder",
        "The practice system took back a waitlist slot that a patient has claimed; she was told that it is hers. "
        "`luxe waitlist show` says who that is; call her.",
    ),
}


def _alert(about: About, code: str, summary: str, now: datetime) -> dict[str, Any]:
    return alerts.system_alert(
        about.clinic_id,
        component="waitlist",
        code=code,
        summary=summary,
        now=now,
        severity="critical",
        subject=about.slot_id,
    )


def _envelope(about: About, event_type: str, version: int, now: datetime, cause: str) -> dict[str, Any]:
    return {
        "event_id": derived_id(event_type, about.clinic_id, about.slot_id, cause),
        "event_type": event_type,
        "occurred_at": now,
        "schema_version": "1.0",
        "source": SOURCE,
        "correlation_id": about.correlation_id,
        "clinic_id": about.clinic_id,
        "aggregate_id": about.slot_id,
        "aggregate_version": version,
        "metadata": {},
    }
