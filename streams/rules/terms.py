"""A notification type as the rules read it: the catalogue's row with everything looked up once that a decision needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from streams.catalog_model import NotificationType

Channel = Literal["sms", "email", "push", "in_app"]
CHANNELS: tuple[Channel, ...] = ("sms", "email", "push", "in_app")

# What a channel may show at all, by architecture §6: email's is its body's; in-app's is its detail, behind the log-in.
CHANNEL_CEILINGS: Mapping[Channel, int] = {"sms": 1, "email": 2, "push": 1, "in_app": 3}


# The hours in a reminder's name: quiet hours' exceptions speak of appointment_reminders, whichever they are.
_HOURS = re.compile(r"_\d+h$")


class LaterStep(NamedTuple):
    """A step taken when those before it did not succeed. ``wait_seconds`` 0: only when they failed for good."""

    channel: Channel
    awaited: str
    wait_seconds: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rules need to know of one type. ``consents`` and ``opt_ins`` lack the channels that need none.

    ``answers``: the recipient asked for it a moment ago (a code to verify an address, the answer to STOP or HELP). ``words``: by
    which quiet hours' exceptions may name it. ``cap``: drop, defer or digest.
    ``dedupe_ms``: its window, 0: none; ``dedupe_by``: content or subject. ``awaits_acceptance``: some step of its plan is content
    with the provider's word. ``accompanies``: it only brings a file by email, of which a critical notice tells.
    ``rest``: what is left of a plan that was begun, whose steps are all ``later`` (see rest_of).
    """

    name: str
    category: str
    essential: bool
    of_patients: bool
    channels: tuple[Channel, ...]
    send_first: bool
    later: tuple[LaterStep, ...]
    all_channels: tuple[Channel, ...]
    marketing_consent: bool
    consents: tuple[tuple[Channel, str], ...]
    opt_ins: tuple[tuple[Channel, str, str], ...]
    preference_category: str | None
    phi_level: int
    above_ceiling: tuple[Channel, ...]
    critical: bool = False
    answers: bool = False
    words: frozenset[str] = frozenset()
    cap: str = "defer"
    frequency_class: str = "none"
    important: bool = False
    dedupe_ms: int = 0
    dedupe_by: str = "content"
    awaits_acceptance: bool = False
    accompanies: bool = False
    rest: bool = False

    @classmethod
    def of(cls, kind: NotificationType) -> Terms:
        """From the catalogue's row."""
        channels = kind.all_channels
        consents = ((channel, kind.consent_type(channel)) for channel in channels)
        opt_ins = ((channel, kind.opt_in_name(channel)) for channel in channels)
        category = kind.preference_category
        return cls(
            name=kind.name,
            category=kind.category,
            essential=kind.essential,
            of_patients=kind.recipient_kind == "patient",
            channels=kind.channels,
            send_first=kind.send == "first",
            later=tuple(LaterStep(s.channel, s.success, s.timeout_seconds or 0) for s in kind.fallback),
            all_channels=channels,
            marketing_consent=kind.consent_scope == "marketing",
            consents=tuple((channel, consent) for channel, consent in consents if consent is not None),
            opt_ins=tuple((channel, f"{channel}_opt_in", name) for channel, name in opt_ins if name is not None),
            preference_category=None if category is None else f"category_{category}",
            phi_level=kind.phi_level,
            above_ceiling=tuple(c for c in channels if kind.phi_level > CHANNEL_CEILINGS[c]),
            critical=kind.lane == "critical",
            answers=kind.answers,
            words=frozenset(filter(None, (kind.name, _plural(kind.name), kind.category, category, kind.lane))),
            cap=kind.cap,
            frequency_class=kind.frequency_class,
            important=kind.important,
            dedupe_ms=kind.dedupe_seconds * 1000,
            dedupe_by=kind.dedupe_by,
            awaits_acceptance=any(step.success == "accepted" for step in kind.fallback),
            accompanies=kind.accompanies is not None,
        )


@lru_cache(maxsize=4096)  # types × what may be left of their plans
def rest_of(terms: Terms, later: tuple[LaterStep, ...]) -> Terms:
    """The terms of these steps alone: by them the rest of a plan is decided, each channel by every rule there is."""
    return replace(terms, channels=(), later=later, all_channels=tuple(step.channel for step in later), rest=True)


def _plural(name: str) -> str:
    return f"{_HOURS.sub('', name)}s"
