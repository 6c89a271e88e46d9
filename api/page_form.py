"""The page's form and the preference document: what is shown, and what a sent form means. Pure.

What a switch shows is what is sent: marketing is on where preference and consent say so; switching it on is a fresh opt-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

from api.preference_model import DigestCategory, document, get, put
from connectors.postgres.recipients import Recipient
from connectors.unsubscribing.wishes import OPT_INS, Said, agreed, channel_consent, marketing_consent, withdrawn

# The words of texts.yaml that a switch of marketing stands next to; changed with them.
TEXT_VERSION = "preferences-page-1"
SOURCE = "preferences page"

CHANNELS = ("sms", "email", "push")
SWITCHES: tuple[str, ...] = (
    "globalOptOut",
    *(f"channels.{channel}.enabled" for channel in CHANNELS),
    *(
        f"channels.{channel}.optIn.{'systemAlerts' if name == 'system_alerts' else name}"
        for channel in CHANNELS
        for name in OPT_INS[channel]
    ),
    *(
        f"categories.{name}"
        for name in ("appointments", "treatments", "financial", "marketing", "educational", "events")
    ),
    "quietHours.enabled",
    "doNotDisturb.enabled",
)
CHOICES: Mapping[str, tuple[str, ...]] = {
    "frequency.marketing": ("daily", "weekly", "monthly", "never"),
    "frequency.reviews": ("always", "occasionally", "never"),
    "frequency.followUps": ("all", "important_only", "none"),
}
TIMES = ("quietHours.start", "quietHours.end")
# The last day of do-not-disturb, by the clocks of whoever reads the page; "": it has none.
LAST_DAY = "doNotDisturb.until"
# Categories that are told once a day, and when; "": when the clinic does.
DIGESTS: Mapping[str, str] = {f"ours.digest.{name}": name for name in get_args(DigestCategory)}
DIGEST_HOUR = "ours.digest.hour"
HOURS = ("", *(str(hour) for hour in range(24)))
BOXES = (*SWITCHES, *DIGESTS)
TYPED = (*CHOICES, *TIMES, LAST_DAY, DIGEST_HOUR, "language")
# "": as the clinic writes. A locale that is stored and not one of these is kept as an option.
LANGUAGES: Mapping[str, str] = {"en-US": "English", "es-US": "Español"}


class FormError(Exception):
    """A form that is not the page's: a field is missing, or none that was offered. Names the field."""


def shown(recipient: Recipient, now: datetime) -> dict[str, Any]:
    """The document as the page shows it: closed where a consent closes, whatever the preference says."""
    found = deepcopy(document(recipient))
    consents = {one["consent_type"]: one for one in recipient.content.get("consents", ())}
    for channel in CHANNELS:
        part = found["channels"][channel]
        whole = consents.get(channel_consent(channel))
        part["enabled"] = part["enabled"] and (whole is None or whole["status"] != "opted_out")
        consent_type = marketing_consent(channel)
        if consent_type is not None:
            part["optIn"]["marketing"] = part["optIn"]["marketing"] and _given(consents.get(consent_type), now)
    return found


def fields(found: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    """A document's fields by their names in the form. ``zone``: of whoever reads it."""
    values = {path: get(found, path) for path in (*SWITCHES, *CHOICES, *TIMES)}
    digest = found["ours"]["digest"]
    values |= {path: name in digest["categories"] for path, name in DIGESTS.items()}
    values[DIGEST_HOUR] = "" if digest["hour"] is None else str(digest["hour"])
    return {**values, LAST_DAY: _last_day(found, zone), "language": found["language"] or ""}


def unclear(form: Mapping[str, str], found: Mapping[str, Any], zone: ZoneInfo) -> list[str]:
    """Fields of a sent form that are no choice at all: a last day that is no day, or of a do-not-disturb that is off."""
    text = form.get(LAST_DAY, "")
    if text in ("", _last_day(found, zone)):
        return []
    return [] if "doNotDisturb.enabled" in form and _end_of(text, zone) is not None else [LAST_DAY]


def meant(form: Mapping[str, str], found: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    """The document that a sent form asks for; what the page does not show stays. Raises FormError."""
    wanted = deepcopy(dict(found))
    for path in SWITCHES:
        put(wanted, path, path in form)
    for path, options in CHOICES.items():
        if form.get(path) not in options:
            raise FormError(path)
        put(wanted, path, form[path])
    for path in TIMES:
        put(wanted, path, form.get(path, "")[:5])  # browsers may send seconds
    if form.get(DIGEST_HOUR) not in HOURS:
        raise FormError(DIGEST_HOUR)
    hour = form[DIGEST_HOUR]
    # In their stored order: sent back as it was shown, a form changes nothing.
    chosen = [name for path, name in DIGESTS.items() if path in form]
    stored = found["ours"]["digest"]["categories"]
    categories = stored if set(stored) == set(chosen) else chosen
    wanted["ours"]["digest"] = {"categories": list(categories), "hour": int(hour) if hour else None}
    language = form.get("language", "")
    if language not in ("", *LANGUAGES, found["language"]):
        raise FormError("language")
    wanted["language"] = language or None
    if not wanted["doNotDisturb"]["enabled"]:
        wanted["doNotDisturb"]["until"] = None
    elif (text := form.get(LAST_DAY, "")) != _last_day(found, zone):
        wanted["doNotDisturb"]["until"] = _end_of(text, zone)
    return wanted


def consents_of(before: Mapping[str, Any], wanted: Mapping[str, Any], said: Said) -> list[dict[str, Any]]:
    """The consents that a form gives and takes back, from what its switches showed and what they were set to."""
    changed: list[dict[str, Any]] = []
    for channel in CHANNELS:
        was, now = before["channels"][channel], wanted["channels"][channel]
        if now["enabled"] and not was["enabled"]:
            changed.append(agreed(channel_consent(channel), said))
        consent_type = marketing_consent(channel)
        if consent_type is not None and now["optIn"]["marketing"] != was["optIn"]["marketing"]:
            fresh = agreed if now["optIn"]["marketing"] else withdrawn
            changed.append(fresh(consent_type, said))
    return changed


def narrowed(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a form says no to anything that was a yes."""
    off = any(get(before, path) and not get(wanted, path) for path in SWITCHES[1:])
    return off or (wanted["globalOptOut"] and not before["globalOptOut"])


def _last_day(found: Mapping[str, Any], zone: ZoneInfo) -> str:
    until = found["doNotDisturb"]["until"]
    return "" if until is None else (until - timedelta(milliseconds=1)).astimezone(zone).date().isoformat()


def _end_of(text: str, zone: ZoneInfo) -> datetime | None:
    """The end of that day there; None: it is no day."""
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _given(consent: Mapping[str, Any] | None, now: datetime) -> bool:
    if consent is None or consent["status"] != "opted_in":
        return False
    expires_at = consent["expires_at"]
    return expires_at is None or expires_at > now
