"""A recipient as the rules read them: addresses, consents, preferences; made once for each version of their record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from streams.rules.terms import Channel

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
}


class ConsentState(NamedTuple):
    """One consent's latest state. ``expires_ms``: ms since the epoch, None: never."""

    status: str
    expires_ms: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """Whom a decision is about. ``version`` 0: there is no record of them, all we have came with the event."""

    recipient: str
    version: int
    active: bool = True
    addresses: Mapping[Channel, str] = field(default_factory=dict)
    consents: Mapping[str, ConsentState] = field(default_factory=dict)
    preferences: Mapping[str, Any] = field(default_factory=lambda: NEVER_ASKED)
    first_name: str | None = None
    last_name: str | None = None
    time_zone: str | None = None
    locale: str | None = None

    def __repr__(self) -> str:
        return f"<Person version={self.version} channels={len(self.addresses)} consents={len(self.consents)}>"

    @property
    def known(self) -> bool:
        """Is there a record of them?"""
        return self.version > 0


def person_of(record: Mapping[str, Any], content: Mapping[str, Any]) -> Person:
    """From the recipient's record and its opened content."""
    addresses: dict[Channel, str] = {"in_app": record["recipient"]}
    if phone := _best(content["phones"]):
        addresses["sms"] = phone["e164"]
    if email := _best(content["emails"]):
        addresses["email"] = email["address"]
    if content["devices"]:
        addresses["push"] = max(content["devices"], key=_registered)["token"]
    return Person(
        recipient=record["recipient"],
        version=record["version"],
        active=record["active"],
        addresses=addresses,
        consents={c["consent_type"]: ConsentState(c["status"], _ms(c["expires_at"])) for c in content["consents"]},
        preferences=content["preferences"] or NEVER_ASKED,
        first_name=content["preferred_name"] or content["first_name"],
        last_name=content["last_name"],
        time_zone=content["time_zone"],
        locale=content["locale"],
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
