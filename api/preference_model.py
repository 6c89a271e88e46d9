"""The specification's preference document, field for field, and what we add under ``ours``; to and from what is stored.

What somebody else decides stands in the document to be read: addresses (their own endpoints verify them), consents, and who
changed it last. It may be sent back as it was read, or left out. Pure: ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from connectors.postgres.recipient_columns import EXCEPTION, MAX_EXCEPTIONS
from connectors.postgres.recipients import Recipient

# Times outside are mistakes, and no store of ours takes all that ISO 8601 can write.
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> datetime:
    """As our records keep times."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def _kept(moment: datetime) -> datetime:
    if not EARLIEST <= moment < LATEST:
        raise ValueError("send a time between the years 1900 and 2200")
    return milliseconds(moment)


# A time with its zone, in UTC as our records keep it.
Instant = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_kept)]

Channel = Literal["sms", "email", "push", "in_app"]
# A type, a category, or `critical`: names of the catalogue.
ExceptionName = Annotated[str, Field(pattern=f"^{EXCEPTION.pattern}$")]
DigestCategory = Literal["appointments", "treatments", "financial"]
Weekday = Annotated[int, Field(ge=1, le=7)]


class Strict(BaseModel):
    """A part of a document: camelCase, nothing unknown, nothing coerced."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", populate_by_name=True, strict=True)


class ChannelOptIns(Strict):
    """Five of SMS and of email."""

    transactional: bool = Field(
        True, description="Cannot be opted out of; turn the channel off, or revoke its consent."
    )
    clinical: bool = True
    marketing: bool = False
    membership: bool = False
    reviews: bool = False


class PushOptIns(Strict):
    """Push has its own five."""

    appointments: bool = True
    waitlist: bool = True
    messages: bool = True
    marketing: bool = False
    system_alerts: bool = True


class SmsPreferences(Strict):
    """Texts."""

    enabled: bool = True
    phone_number: str | None = Field(None, description="Read only: see the addresses.")
    verified: bool = Field(False, description="Read only: see the addresses.")
    opt_in: ChannelOptIns = ChannelOptIns()


class EmailPreferences(Strict):
    """Email."""

    enabled: bool = True
    email_address: str | None = Field(None, description="Read only: see the addresses.")
    verified: bool = Field(False, description="Read only: see the addresses.")
    opt_in: ChannelOptIns = ChannelOptIns()


class PushPreferences(Strict):
    """Push."""

    enabled: bool = True
    opt_in: PushOptIns = PushOptIns()


class InAppPreferences(Strict):
    """The portal's inbox."""

    enabled: bool = True
    desktop: bool = True
    sound: bool = True


class Channels(BaseModel):
    """By channel; named as the specification names them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sms: SmsPreferences = SmsPreferences()
    email: EmailPreferences = EmailPreferences()
    push: PushPreferences = PushPreferences()
    in_app: InAppPreferences = InAppPreferences()


class QuietHours(Strict):
    """When not to be disturbed: half-open, over midnight where the end is before the start."""

    enabled: bool = False
    start: str = Field("22:00", description="HH:MM", json_schema_extra={"pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9]$"})
    end: str = Field("08:00", description="HH:MM", json_schema_extra={"pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9]$"})
    timezone: str | None = Field(None, description="IANA; null: the recipient's, else the clinic's.")
    apply_to_all_channels: bool = True
    exceptions: list[ExceptionName] = Field(
        [],
        max_length=MAX_EXCEPTIONS,
        description="Notification types, categories, or `critical`: not held by these hours.",
    )


class Frequency(Strict):
    """How often."""

    marketing: Literal["daily", "weekly", "monthly", "never"] = "weekly"
    reviews: Literal["always", "occasionally", "never"] = "always"
    follow_ups: Literal["all", "important_only", "none"] = "all"


class Categories(Strict):
    """What about."""

    appointments: bool = True
    treatments: bool = True
    financial: bool = True
    marketing: bool = True
    educational: bool = True
    events: bool = True


class DoNotDisturb(Strict):
    """Only what is critical; everything else waits for its end."""

    enabled: bool = False
    until: Instant | None = Field(None, description="Null: until it is turned off.")


class Digest(Strict):
    """What is told once a day, in one message, instead of at once; essential notifications come at once in any case."""

    categories: list[DigestCategory] = Field(
        [],
        max_length=3,
        description="Of these; empty: none. The other categories hold marketing, which no digest carries.",
    )
    hour: int | None = Field(None, ge=0, le=23, description="Of the recipient's day; null: the clinic's.")


class Ours(Strict):
    """What the specification lacks."""

    channel_order: list[Channel] = Field([], max_length=4, description="Best first; empty: as the catalogue says.")
    quiet_weekdays: list[Weekday] = Field(
        [], max_length=7, description="ISO weekdays on which quiet hours begin; empty: all."
    )
    digest: Digest = Digest()
    asked: bool = Field(False, description="Read only: false where nobody ever stated a wish.")


class Preferences(Strict):
    """PatientNotificationPreferences of the specification."""

    patient_id: str = Field("", max_length=200, description="Read only.")
    global_opt_out: bool = Field(False, description="Out of everything that is not essential.")
    channels: Channels = Channels()
    quiet_hours: QuietHours = QuietHours()
    frequency: Frequency = Frequency()
    categories: Categories = Categories()
    language: str | None = Field(None, description="BCP 47, e.g. en-US; null: the clinic's.")
    do_not_disturb: DoNotDisturb = DoNotDisturb()
    updated_at: Instant | None = Field(None, description="Read only.")
    updated_by: str = Field("", max_length=300, description="Read only.")
    consent_recorded: bool = Field(False, description="Read only: see the consents.")
    consent_date: Instant | None = Field(None, description="Read only: see the consents.")
    ours: Ours = Ours()


# Where a document's fields are stored: (path in the document, path in RecipientContent.preferences).
_STORED: tuple[tuple[str, str], ...] = (
    ("globalOptOut", "global_opt_out"),
    *(
        (f"channels.{channel}.{field}", f"{channel}_{field}")
        for channel, fields in (
            ("sms", ("enabled",)),
            ("email", ("enabled",)),
            ("push", ("enabled",)),
            ("in_app", ("enabled", "desktop", "sound")),
        )
        for field in fields
    ),
    *(
        (f"channels.{channel}.optIn.{field}", f"{channel}_opt_in.{field}")
        for channel in ("sms", "email")
        for field in ("transactional", "clinical", "marketing", "membership", "reviews")
    ),
    *((f"channels.push.optIn.{field}", f"push_opt_in.{field}") for field in ("appointments", "waitlist", "messages")),
    ("channels.push.optIn.marketing", "push_opt_in.marketing"),
    ("channels.push.optIn.systemAlerts", "push_opt_in.system_alerts"),
    *((f"quietHours.{field}", f"quiet_hours.{field}") for field in ("enabled", "start", "end", "exceptions")),
    ("quietHours.timezone", "quiet_hours.time_zone"),
    ("quietHours.applyToAllChannels", "quiet_hours.apply_to_all_channels"),
    ("frequency.marketing", "frequency_marketing"),
    ("frequency.reviews", "frequency_reviews"),
    ("frequency.followUps", "frequency_follow_ups"),
    *(
        (f"categories.{name}", f"category_{name}")
        for name in ("appointments", "treatments", "financial", "marketing", "educational", "events")
    ),
    ("doNotDisturb.enabled", "do_not_disturb"),
    ("doNotDisturb.until", "do_not_disturb_until"),
    ("ours.channelOrder", "channel_order"),
    ("ours.quietWeekdays", "quiet_hours.weekdays"),
    ("ours.digest.categories", "digest_categories"),
    ("ours.digest.hour", "digest_hour"),
)


def _tidy_exceptions(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if EXCEPTION.fullmatch(name)][:MAX_EXCEPTIONS]


def _tidy_weekdays(days: Sequence[int]) -> list[int]:
    # 0 is the Sunday of those who count from it. What is no day at all never began any hours.
    return [day for day in dict.fromkeys(day or 7 for day in days) if 1 <= day <= 7]


# Older imports took what the document cannot say: what names nothing, and so did nothing, and what was named twice.
_TIDY: Mapping[str, Callable[[Any], list[Any]]] = {
    "quiet_hours.exceptions": _tidy_exceptions,
    "quiet_hours.weekdays": _tidy_weekdays,
    "channel_order": lambda channels: list(dict.fromkeys(channels)),
    "digest_categories": lambda categories: list(dict.fromkeys(categories)),
}


# The document of somebody who never asked: read anew for each, as pydantic's own copying takes ten times as long.
_DEFAULTS = orjson.dumps(Preferences().model_dump(by_alias=True))


def document(recipient: Recipient) -> dict[str, Any]:
    """A recipient's preferences as they are served; the defaults, ``ours.asked`` false, where nobody ever asked."""
    content = recipient.content
    found: dict[str, Any] = orjson.loads(_DEFAULTS)
    stored = content.get("preferences")
    if stored is not None:
        for served, kept in _STORED:
            if kept.startswith("quiet_hours.") and stored["quiet_hours"] is None:
                continue
            value = get(stored, kept)
            put(found, served, _TIDY[kept](value) if value and kept in _TIDY else value)
        for served, kept in (("updatedAt", "updated_at"), ("updatedBy", "updated_by")):
            found[served] = stored[kept]
        found["consentRecorded"], found["consentDate"] = stored["consent_recorded"], stored["consent_date"]
        found["ours"]["asked"] = True
    found["patientId"] = recipient.recipient.partition(":")[2]
    found["language"] = content.get("locale")
    for channel, entries, own, served in (
        ("sms", "phones", "e164", "phoneNumber"),
        ("email", "emails", "address", "emailAddress"),
    ):
        best = next(iter(content.get(entries, ())), None)
        if best is not None:
            found["channels"][channel] |= {served: best[own], "verified": best["verified"]}
    return found


def stored_preferences(
    wanted: Preferences, before: Mapping[str, Any] | None, actor: str, now: datetime
) -> dict[str, Any]:
    """RecipientContent.preferences for a document; who and when change only where something else does."""
    served = wanted.model_dump(by_alias=True)
    # What is stored and not in the document stays.
    basis = dict(before or {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}})
    basis["quiet_hours"] = basis.get("quiet_hours") or _no_hours()
    # Values are put into it, and into its groups; none is changed.
    after = {name: dict(value) if isinstance(value, dict) else value for name, value in basis.items()}
    for path, kept in _STORED:
        put(after, kept, get(served, path))
    if before is not None and after == basis:
        return dict(before)
    return after | {"updated_at": now, "updated_by": actor}


def _no_hours() -> dict[str, Any]:
    """What stands in for quiet hours that nobody ever set."""
    hours = QuietHours().model_dump()
    zone = hours.pop("timezone")
    return hours | {"time_zone": zone, "weekdays": []}


def get(tree: Mapping[str, Any], path: str) -> Any:
    """A field by its dotted path."""
    for step in path.split("."):
        tree = tree[step]
    return tree


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets a field by its dotted path."""
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[name] = value
