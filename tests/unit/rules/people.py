"""Types and people that tests of decisions begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from streams.catalog import Catalog
from streams.rules.decision import Deliver, Outcome
from streams.rules.person import NEVER_ASKED, ConsentState, Person
from streams.rules.terms import Channel, Terms

TYPES = {name: Terms.of(kind) for name, kind in Catalog.load().types.items()}
ADDRESSES: Mapping[Channel, str] = {
    "sms": "+12125550123",
    "email": "a@b.example",
    "push": "token",
    "in_app": "patient:1",
}
AGREED = {name: ConsentState("opted_in", None) for name in ("sms_marketing", "email_marketing")}
WANTS_ALL = {
    **NEVER_ASKED,
    "sms_opt_in": dict.fromkeys(NEVER_ASKED["sms_opt_in"], True),
    "email_opt_in": dict.fromkeys(NEVER_ASKED["email_opt_in"], True),
    "push_opt_in": dict.fromkeys(NEVER_ASKED["push_opt_in"], True),
}
SARAH = Person("patient:1", 3, addresses=ADDRESSES, consents=AGREED, preferences=WANTS_ALL)


def preferring(person: Person = SARAH, **changes: Any) -> Person:
    return replace(person, preferences={**person.preferences, **changes})


def at(text: str) -> int:
    """ISO 8601, UTC where it names no zone, in ms since the epoch."""
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def channels_of(outcome: Outcome) -> list[str]:
    return [step.channel for step in outcome.steps] if isinstance(outcome, Deliver) else []
