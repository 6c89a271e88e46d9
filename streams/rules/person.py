"""A recipient as the rules read them: addresses, consents, preferences; made once for each version of their record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, NamedTuple

from streams.rules.terms import CHANNELS, Channel
from streams.rules.timing import known_zone

# Somebody who was never asked: the specification's defaults. Open for care, closed for marketing, membership and reviews.
NEVER_ASKED: Mapping[str, Any] = {
    "global_opt_out": False,
    "sms_enabled": True,
    "sms_opt_in": {"transactional": True, "clinical": True, "marketing": False, "membership": False, "reviews": False},
    "email_enabled": True,
    "email_opt_in": {
        "transactional": True,
        "clinical": True,
        "marketing": False,
        "membership": False,
        "reviews": False,
    },
    "push_enabled": True,
    "push_opt_in": {
        "appointments": True,
        "waitlist": True,
        "messages": True,
        "marketing": False,
        "system_alerts": True,
    },
    "in_app_enabled": True,
    "category_appointments": True,
    "category_treatments": True,
    "category_financial": True,
    "category_marketing": True,
    "category_educational": True,
    "category_events": True,
    "channel_order": [],
    "digest_categories": [],
    "digest_hour": None,
    "quiet_hours": None,
    "frequency_marketing": "weekly",
    "frequency_reviews": "always",
    "frequency_follow_ups": "all",
    "do_not_disturb": False,
    "do_not_disturb_until": None,
}


class ConsentState(NamedTuple):
    """One consent's latest state. ``expires_ms``: ms since the epoch, None: never."""

    status: str
    expires_ms: int | None
    version: int = 0


class Quiet(NamedTuple):
    """Quiet hours as somebody set them. ``start``, ``end``: HH:MM. ``zone`` None: the recipient's, else the clinic's.

    ``weekdays``: ISO, those on which a period begins; none: every day. ``channels``: those that are quiet.
    """

    start: str
    end: str
    zone: str | None = None
    weekdays: tuple[int, ...] = ()
    channels: tuple[Channel, ...] = CHANNELS
    exceptions: frozenset[str] = frozenset()


# Where quiet hours are not to apply to all channels: those that ring.
RINGING: tuple[Channel, ...] = ("sms", "push")


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """Whom a decision is about. ``version`` 0: there is no record of them, all we have came with the event.

    ``devices``: tokens of all of them, the last registered first. ``unverified``: channels whose address nobody has verified.
    ``undisturbed_until_ms``: the end of do-not-disturb, None: it has none, or is off.
    """

    recipient: str
    version: int
    active: bool = True
    addresses: Mapping[Channel, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    consents: Mapping[str, ConsentState] = field(default_factory=dict)
    preferences: Mapping[str, Any] = field(default_factory=lambda: NEVER_ASKED)
    first_name: str | None = None
    last_name: str | None = None
    time_zone: str | None = None
    locale: str | None = None
    unverified: frozenset[Channel] = frozenset()
    quiet: Quiet | None = None
    undisturbed_until_ms: int | None = None

    def __repr__(self) -> str:
        return f"<Person version={self.version} channels={len(self.addresses)} consents={len(self.consents)}>"

    @property
    def known(self) -> bool:
        """Is there a record of them?"""
        return self.version > 0


def person_of(record: Mapping[str, Any], content: Mapping[str, Any]) -> Person:
    """From the recipient's record and its opened content. Raises ValueError for quiet hours that are no times of day."""
    preferences = content["preferences"] or NEVER_ASKED
    unverified: set[Channel] = set()
    addresses: dict[Channel, str] = {"in_app": record["recipient"]}
    if phone := _best(content["phones"]):
        addresses["sms"] = phone["e164"]
        if not phone["verified"]:
            unverified.add("sms")
    if email := _best(content["emails"]):
        addresses["email"] = email["address"]
        if not email["verified"]:
            unverified.add("email")
    devices = tuple(device["token"] for device in sorted(content["devices"], key=_registered, reverse=True))
    if devices:
        addresses["push"] = devices[0]
    return Person(
        recipient=record["recipient"],
        version=record["version"],
        active=record["active"],
        addresses=addresses,
        devices=devices,
        consents={
            c["consent_type"]: ConsentState(c["status"], _ms(c["expires_at"]), c["version"])
            for c in content["consents"]
        },
        preferences=preferences,
        first_name=content["preferred_name"] or content["first_name"],
        last_name=content["last_name"],
        time_zone=known_zone(content["time_zone"]),
        locale=content["locale"],
        unverified=frozenset(unverified),
        quiet=quiet_of(preferences["quiet_hours"]),
        undisturbed_until_ms=_ms(preferences["do_not_disturb_until"]),
    )


def quiet_of(kept: Mapping[str, Any] | None) -> Quiet | None:
    """Quiet hours that are switched on: a recipient's QuietHours, or a PolicyQuietHours. Raises ValueError."""
    if kept is None or not kept.get("enabled", True):
        return None
    for end in (kept["start"], kept["end"]):
        time.fromisoformat(end)
    channels = CHANNELS if kept.get("apply_to_all_channels", True) else RINGING
    weekdays = tuple(sorted(set(kept.get("weekdays", ()))))
    return Quiet(
        kept["start"], kept["end"], known_zone(kept.get("time_zone")), weekdays, channels, frozenset(kept["exceptions"])
    )


def stranger(recipient: str, event: Mapping[str, Any]) -> Person:
    """Somebody without a record: contact data, and a first name, from the event, if it is about a patient and has some."""
    addresses: dict[Channel, str] = {}
    first_name = None
    if recipient == f"patient:{event.get('patient_id')}":
        if phone := event.get("patient_phone"):
            addresses["sms"] = phone
        if email := event.get("patient_email"):
            addresses["email"] = email
        first_name = (event.get("patient_name") or "").partition(" ")[0] or None
    return Person(recipient, 0, addresses=addresses, first_name=first_name)


def _best(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first verified one, else the first: they are listed best first."""
    return next((entry for entry in entries if entry["verified"]), entries[0] if entries else None)


def _registered(device: Mapping[str, Any]) -> datetime:
    registered: datetime = device["registered_at"]
    return registered


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
