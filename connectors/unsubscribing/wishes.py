"""What a no, or a yes again, changes in a recipient's content (luxe.pipeline.RecipientContent). Pure; it makes new contents.

A no only narrows. What is already so is left as it is, date and source included: the first no is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Content = Mapping[str, Any]
# category: the opt-in that the message fell under, on its channel; channel: nothing by it any more; everything: essentials only.
Scope = Literal["category", "channel", "everything"]
SCOPES: tuple[Scope, ...] = ("category", "channel", "everything")
SenderClass = Literal["care", "marketing"]

# Which of the specification's six consents stand for a whole channel.
_CONSENTS: Mapping[str, tuple[str, ...]] = {
    "sms": ("sms_transactional", "sms_marketing"),
    "email": ("email_transactional", "email_marketing"),
    "push": ("push_notifications",),
}
_MARKETING_CONSENT: Mapping[str, str] = {"sms": "sms_marketing", "email": "email_marketing"}
# The specification's opt-ins, by channel, that one can say no to. Transactional ones end with their channel, or its consent.
OPT_INS: Mapping[str, tuple[str, ...]] = {
    "sms": ("clinical", "marketing", "membership", "reviews"),
    "email": ("clinical", "marketing", "membership", "reviews"),
    "push": ("appointments", "waitlist", "messages", "marketing", "system_alerts"),
}
# Somebody who was never asked gets the schema's defaults, which are the specification's.
_NEVER_ASKED: Mapping[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
# What a STOP's withdrawal is told by: a START takes back those, and no other.
STOP_SOURCE = "text STOP"
START_SOURCE = "text START"
# What was said to a provider, by its name and code.
PROVIDER_SOURCES: Mapping[tuple[str, str], str] = {
    ("twilio", "21610"): "Twilio 21610",
    ("sendgrid", "unsubscribe"): "SendGrid unsubscribe",
    ("sendgrid", "group_unsubscribe"): "SendGrid group_unsubscribe",
}
RESUBSCRIBE_SOURCE = "SendGrid group_resubscribe"
# Whose withdrawals of marketing a yes to the sender, or to the group, takes back.
_TAKEN_BACK: Mapping[str, tuple[str, ...]] = {
    "sms": (STOP_SOURCE, PROVIDER_SOURCES["twilio", "21610"]),
    "email": (PROVIDER_SOURCES["sendgrid", "group_unsubscribe"],),
}


@dataclass(frozen=True, slots=True)
class Said:
    """Who said it (actor), by what way (source), and when. ``text_version``: of the words that were agreed to."""

    by: str
    source: str
    at: datetime
    text_version: str = ""

    def __repr__(self) -> str:
        return f"Said(by {self.source}, {self.at:%Y-%m-%dT%H:%M:%SZ})"


def unsubscribed(content: Content, channel: str, scope: Scope, category: str, said: Said) -> dict[str, Any]:
    """The content after a no to one category of a channel, to a channel, or to all that is not essential.

    Raises ValueError for a channel or category that nobody can say no to.
    """
    taken_back = consents_withdrawn(channel, scope, category)
    preferences = _preferences(content)
    if scope == "everything":
        preferences["global_opt_out"] = True
        for name in _MARKETING_CONSENT:
            _switch_off(preferences, name, "marketing")
    elif scope == "channel":
        preferences[f"{channel}_enabled"] = False
    else:
        _switch_off(preferences, channel, category)
    return _with(content, preferences, [withdrawn(name, said) for name in taken_back], said)


def consents_withdrawn(channel: str, scope: Scope, category: str) -> tuple[str, ...]:
    """Which consents such a no withdraws. Raises ValueError."""
    if channel not in _CONSENTS:
        raise ValueError("channel must be sms, email or push")
    if scope == "everything":
        return tuple(_MARKETING_CONSENT.values())
    if scope == "channel":
        return _CONSENTS[channel]
    if category not in OPT_INS[channel]:
        raise ValueError(f"category must be one of {', '.join(OPT_INS[channel])}")
    return (_MARKETING_CONSENT[channel],) if category == "marketing" and channel in _MARKETING_CONSENT else ()


def stopped(content: Content, said: Said) -> dict[str, Any]:
    """The content after STOP by text, to whichever sender: no marketing texts. That the number is shut is its gate's business."""
    return without_marketing(content, "sms", said)


def without_marketing(content: Content, channel: str, said: Said) -> dict[str, Any]:
    """The content after a no to marketing on a channel that was said of an address, not by one person."""
    preferences = _preferences(content)
    _switch_off(preferences, channel, "marketing")
    return _with(content, preferences, [withdrawn(_MARKETING_CONSENT[channel], said)], said)


def agreed_since(content: Content, channel: str, moment: datetime) -> bool:
    """Whether marketing on a channel was agreed to after that."""
    stood = _consent(content, _MARKETING_CONSENT[channel])
    return stood is not None and stood["status"] == "opted_in" and bool(stood["consent_date"] >= moment)


def agreed_by_email_since(content: Content, moment: datetime) -> bool:
    """Whether anything by email, marketing or not, was agreed to after that."""
    found = (_consent(content, name) for name in _CONSENTS["email"])
    return any(
        stood is not None and stood["status"] == "opted_in" and stood["consent_date"] >= moment for stood in found
    )


def started(content: Content, before: str | None, said: Said, channel: str = "sms") -> dict[str, Any]:
    """The content after START to the marketing sender. ``before``: the status of the marketing consent before the STOP, if any.

    So by email, after what SendGrid calls resubscribing to a group. Only a STOP is taken back, said to us or to the provider:
    somebody who said no by another way must say yes by that way. Who had agreed before has agreed again; who never had is
    noted as pending, since a START is no written agreement to marketing (47 CFR 64.1200(f)(9)).
    """
    consent_type = _MARKETING_CONSENT[channel]
    stood = _consent(content, consent_type)
    if stood is None or stood["status"] != "opted_out" or stood["source"] not in _TAKEN_BACK[channel]:
        return dict(content)
    again = before == "opted_in"
    preferences = _preferences(content)
    if again:
        preferences[f"{channel}_opt_in"] = {**preferences[f"{channel}_opt_in"], "marketing": True}
    fresh = {**withdrawn(consent_type, said), "status": "opted_in" if again else "pending"}
    return _with(content, preferences, [fresh], said)


def agreed(consent_type: str, said: Said) -> dict[str, Any]:
    """A consent given now."""
    return {**withdrawn(consent_type, said), "status": "opted_in"}


def with_preferences(
    content: Content, preferences: Mapping[str, Any], consents: list[dict[str, Any]], said: Said
) -> dict[str, Any]:
    """The content with these preferences, and with those of these consents that change something."""
    return _with(content, preferences, consents, said)


def channel_consent(channel: str) -> str:
    """The consent without which nothing at all goes by a channel."""
    return _CONSENTS[channel][0]


def withdrawn(consent_type: str, said: Said) -> dict[str, Any]:
    """A consent taken back now."""
    return {
        "consent_type": consent_type,
        "status": "opted_out",
        "consent_date": said.at,
        "method": "electronic",
        "source": said.source,
        "expires_at": None,
        "text_version": said.text_version,
    }


def marketing_consent(channel: str) -> str | None:
    """The consent that marketing on a channel needs; None: the channel has none of its own."""
    return _MARKETING_CONSENT.get(channel)


def _preferences(content: Content) -> dict[str, Any]:
    return deepcopy(dict(content.get("preferences") or _NEVER_ASKED))


def _switch_off(preferences: dict[str, Any], channel: str, category: str) -> None:
    preferences[f"{channel}_opt_in"][category] = False


def _consent(content: Content, consent_type: str) -> Mapping[str, Any] | None:
    return next((one for one in content.get("consents", ()) if one["consent_type"] == consent_type), None)


def _with(
    content: Content, preferences: Mapping[str, Any], consents: list[dict[str, Any]], said: Said
) -> dict[str, Any]:
    """Preferences and consents put in; who and when only where something changed."""
    changed = dict(content)
    if preferences != _preferences(content):
        changed["preferences"] = {**preferences, "updated_at": said.at, "updated_by": said.by}
    latest = {one["consent_type"]: one for one in content.get("consents", ())}
    for fresh in consents:
        known = latest.get(fresh["consent_type"])
        over = known is not None and known["expires_at"] is not None and known["expires_at"] <= said.at
        if known is None or known["status"] != fresh["status"] or (over and fresh["status"] == "opted_in"):
            latest[fresh["consent_type"]] = fresh
    changed["consents"] = list(latest.values())
    return changed
