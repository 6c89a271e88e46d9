"""The columns of the catalogue: what one notification type is, when it is due, and whom it reaches.

Frozen, strict, no unknown keys: what ``catalog.yaml`` says is either wholly understood or refused at start.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from streams.rules.timing import Duration

Category = Literal[
    "transactional",
    "clinical",
    "marketing",
    "membership",
    "financial",
    "administrative",
    "real_time",
    "engagement",
]
Lane = Literal["critical", "high", "normal", "low"]
Channel = Literal["sms", "email", "push", "in_app"]
Role = Literal["staff", "provider", "inventory_manager", "marketing", "admin"]
OptInName = Literal["transactional", "clinical", "marketing", "membership", "reviews"]
PushOptInName = Literal["appointments", "waitlist", "messages", "marketing", "system_alerts"]
PreferenceCategory = Literal["appointments", "treatments", "financial", "marketing", "educational", "events"]
ConsentScope = Literal["none", "transactional", "marketing"]
ConsentType = Literal[
    "sms_transactional",
    "sms_marketing",
    "email_transactional",
    "email_marketing",
    "push_notifications",
    "portal_notifications",
]
PhiClass = Literal["none", "identifier", "contact", "indirect", "direct"]
CapPolicy = Literal["drop", "defer", "digest"]
SenderClass = Literal["care", "marketing"]
FrequencyClass = Literal["none", "marketing", "reviews", "follow_ups"]
DedupeBy = Literal["content", "subject"]
Success = Literal["accepted", "delivered", "seen"]
Withdraws = Literal["none", "older", "all"]
IfLate = Literal["skip", "send_now"]
Question = Literal["confirmation", "forms", "signature", "payment", "session"]
Days = Literal["plain", "business"]
Acknowledge = Literal["none", "own", "shared"]
ActionName = Literal["open", "confirm", "reschedule", "pay", "claim", "reply", "complete"]


def _duration(value: object) -> object:
    return Duration.parse(value) if isinstance(value, str) else value


def _clock(value: object) -> object:
    try:
        return time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("not a time of day: write '09:30', in quotes") from None


def _seconds_of(clock: time) -> int:
    return (clock.hour * 60 + clock.minute) * 60 + clock.second


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else _tuple(value)


IsoDuration = Annotated[Duration, BeforeValidator(_duration)]
Clock = Annotated[time, BeforeValidator(_clock)]
FieldNames = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Channels = Annotated[tuple[Channel, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=4)]
Roles = Annotated[tuple[Role, ...], BeforeValidator(_tuple)]


class Row(BaseModel):
    """A part of the catalogue."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)


class Moment(Row):
    """An instant, told from the event's own fields: ``{before: PT24H, of: [appointment_date, appointment_time]}``.

    ``of`` is one timestamp field, or a date field (its day begins at midnight), or a date field and a time-of-day field.
    Dates are read in the event's zone, else the clinic's.
    Exactly one of ``after`` and ``before``; ``after: PT0S`` is the instant itself. ``plus_days``: a field with a number of days,
    by which the anchor lies later. ``days: business``: the duration's days are those on which the clinic is open.
    """

    of: FieldNames = Field(("occurred_at",), min_length=1, max_length=2)
    plus_days: str | None = None
    after: IsoDuration | None = None
    before: IsoDuration | None = None
    days: Days = "plain"

    @property
    def shift(self) -> tuple[Duration, int]:
        """The duration, and its direction: 1 later, -1 earlier."""
        return (self.after, 1) if self.after is not None else (self.before or Duration(), -1)


class Adjustable(Row):
    """How far from its time a clinic may have a type: its own offset lies between the two, both included."""

    at_least: IsoDuration
    at_most: IsoDuration


class Timing(Moment):
    """When a notification is due, and what becomes of one whose time has passed already when its event arrives.

    ``not_before`` and ``not_after`` keep it within hours of the day (wall clock of the event's zone, else the clinic's).
    ``jitter``: up to so much later, differently for each notification, never outside those hours nor past its expiry.
    ``skip_if_within``: not sent at all where it would come so soon after the event itself, which told them already.
    ``clocks``: a date and a time-of-day field; where the event fills them, it is due then by each recipient's own clocks, and
    ``of`` is not asked.
    ``adjustable``: a clinic's policy may have another offset and other hours.
    ``if_late``: skip it, or send it now while it has not expired (an appointment made today still needs its preparation).
    ``if_null``: what happens where the event leaves the field empty.
    """

    not_before: Clock | None = None
    not_after: Clock | None = None
    jitter: IsoDuration | None = None
    skip_if_within: IsoDuration | None = None
    clocks: FieldNames = Field((), max_length=2)
    adjustable: Adjustable | None = None
    if_late: IfLate = "skip"
    if_null: IfLate = "skip"

    def jitter_fits(self, earliest: time, latest: time) -> bool:
        """Whether the hours are long enough to be spread over."""
        return self.jitter is None or self.jitter.seconds <= _seconds_of(latest) - _seconds_of(earliest)


# Tags with a bracket, as pydantic names branches: whoever reads an error is spared them.
Schedule = Annotated[
    Annotated[Literal["immediate"], Tag("[immediate]")]
    | Annotated[tuple[Timing, ...], Field(min_length=1, max_length=8), Tag("[timings]")],
    Discriminator(lambda written: "[immediate]" if isinstance(written, str) else "[timings]"),
]


class Expiry(Moment):
    """Past it a notification is not sent any more. Without ``of``: so long after it was due."""

    of: FieldNames = Field((), max_length=2)


class InTimeFor(Row):
    """A time at which somebody acts on what they know, told from the event's fields (``of``, as of a Moment).

    ``ahead``: so long before it they must have heard; where quiet hours would hold the notice longer, they do not hold it.
    """

    of: FieldNames = Field(min_length=1, max_length=2)
    ahead: IsoDuration


class Condition(Row):
    """What a field of the event must be for a trigger to hold; every part given must hold.

    ``equals``: one of these (in the file a bare value or list means this); ``given``: not null and not empty (or, false, null or
    empty); ``at_least``, ``at_most``: numbers, where null counts as 0.
    """

    equals: Annotated[tuple[str | bool | int, ...], BeforeValidator(_tuple)] = ()
    given: bool | None = None
    at_least: int | None = None
    at_most: int | None = None


class Step(Row):
    """A step of the plan: taken when the steps before it failed for good, or reached no ``success`` within the time-out.

    ``timeout_seconds`` null: only on failure.
    """

    channel: Channel
    success: Success = "delivered"
    timeout_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] | None = None


class OptIn(Row):
    """Which of the specification's opt-ins a type falls under, per channel. In-app has none: it is on or off."""

    sms: OptInName | None = None
    email: OptInName | None = None
    push: PushOptInName | None = None


class CalendarFile(Row):
    """The ``.ics`` file that a type's emails carry.

    ``method``: request (it is, or is now) or cancel. ``minutes``: how long the entry is; an appointment's own duration hints at
    the treatment (level 3) and stays out of emails.
    """

    method: Literal["request", "cancel"]
    minutes: Annotated[int, Field(ge=5, le=480)] = 60


class ReceiptFile(Row):
    """The PDF of a payment's receipt.

    ``level_2``: amounts that it tells although they are level 3 by their schema, ``because`` of this (architecture §6).
    """

    level_2: FieldNames = Field((), max_length=4)
    because: str = Field(min_length=40, max_length=400)


class Attached(Row):
    """The documents that a type's emails carry.

    ``receipt``: the event's own. ``forms``: the field with the names of forms, of which the clinic may have blank ones on file.
    """

    receipt: ReceiptFile | None = None
    forms: str | None = None


class Audience(Row):
    """Whom a type reaches: the union of

    - ``patient``: the patient whose id is in the field; ``patients``: each of a list;
    - ``member``: the staff member whose id is in the field (a provider, an assignee); ``members``: each of a list;
    - ``roles``: everyone at the clinic who has one of the roles; ``roles_in``: of the roles that the event itself names;
    - ``recipient``: the field holds a whole recipient key (``patient:…`` or ``staff:…``); counts where its kind fits the type;
    - ``former``: those whom earlier events of the aggregate were for and whom this event no longer names.

    Where that is nobody: ``remembered``, those whom earlier events of the aggregate were for; else ``otherwise``, roles.
    ``but_not``: the field with the staff member who did it, who need not be told.
    """

    patient: str | None = None
    patients: str | None = None
    member: str | None = None
    members: str | None = None
    roles: Roles = ()
    roles_in: str | None = None
    recipient: str | None = None
    former: Literal["patient", "provider"] | None = None
    remembered: Literal["patient", "provider"] | None = None
    otherwise: Roles = ()
    but_not: str | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The event's fields that it reads, by the part of the audience they are for."""
        parts = ("patient", "patients", "member", "members", "roles_in", "recipient", "but_not")
        return {part: field for part in parts if (field := getattr(self, part))}

    @property
    def kinds(self) -> set[str]:
        """Kinds of people it can reach: patient, staff."""
        kinds = set()
        if self.patient or self.patients or "patient" in (self.former, self.remembered):
            kinds.add("patient")
        if self.member or self.members or self.roles or self.roles_in or self.otherwise:
            kinds.add("staff")
        if "provider" in (self.former, self.remembered):
            kinds.add("staff")
        return kinds


class Trigger(Row):
    """An event that calls for a type: when it is due, when it expires, whom it reaches, and under which condition.

    Several timings are several occurrences (0, 1, 2 …) of one notification type: a warning 30, 7 and 1 days before.
    Of several expiries the first counts whose fields the event fills. ``corrects``: it takes back what the event that closed the
    aggregate told; where none did, as far as we know, there is nothing to take back, and it is not sent.
    """

    event: str
    when: dict[str, Condition] = Field(default_factory=dict)
    corrects: bool = False
    timing: Schedule = "immediate"
    expiry: Annotated[tuple[Expiry, ...], Field(min_length=1, max_length=4)]
    audience: Audience


class InApp(Row):
    """How a type behaves in an inbox.

    ``acknowledge``: an alert, which lies there until it expires or is taken: by its reader alone, or (``shared``) by whoever is
    first, for everybody it was sent to. ``auto_dismiss``: a toast goes by itself after so long. ``actions``: buttons beside that
    of taking it.
    """

    acknowledge: Acknowledge = "none"
    auto_dismiss: IsoDuration | None = None
    actions: Annotated[tuple[ActionName, ...], BeforeValidator(_tuple), Field(max_length=3)] = ()


class NotificationType(Row):
    """One row of the catalogue. ``docs/catalogue.md`` explains every column."""

    name: str = Field(pattern=r"[a-z][a-z0-9_]{2,63}")
    about: str = Field(max_length=160)
    category: Category
    lane: Lane
    essential: bool
    important: bool = False
    answers: bool = False
    consent_scope: ConsentScope
    opt_in: OptIn
    preference_category: PreferenceCategory | None
    channels: Channels
    send: Literal["all", "first"] = "all"
    fallback: Annotated[tuple[Step, ...], BeforeValidator(_tuple)] = ()
    phi_class: PhiClass
    phi_level: Annotated[int, Field(ge=1, le=3)]
    template_id: str
    cap: CapPolicy
    sender_class: SenderClass
    frequency_class: FrequencyClass = "none"
    dedupe: IsoDuration | None = None
    dedupe_by: DedupeBy = "content"
    recipient_kind: Literal["patient", "staff"]
    asks: Question | None = None
    visit: str | None = None
    calendar: CalendarFile | None = None
    accompanies: str | None = None
    in_time_for: Annotated[tuple[InTimeFor, ...], BeforeValidator(_tuple), Field(max_length=4)] = ()
    attach: Attached = Attached()
    in_app: InApp = InApp()
    tracked: bool = False
    pictures: bool = False
    triggers: tuple[Trigger, ...] = Field(min_length=1)

    def consent_type(self, channel: Channel) -> ConsentType | None:
        """The consent of the specification's six that this type needs on a channel; None: none (staff)."""
        if self.consent_scope == "none":
            return None
        if channel == "push":
            return "push_notifications"
        if channel == "in_app":
            return "portal_notifications"
        if channel == "sms":
            return "sms_transactional" if self.consent_scope == "transactional" else "sms_marketing"
        return "email_transactional" if self.consent_scope == "transactional" else "email_marketing"

    def opt_in_name(self, channel: Channel) -> str | None:
        """The opt-in it falls under on a channel; None: the channel has none."""
        return None if channel == "in_app" else getattr(self.opt_in, channel)

    @property
    def all_channels(self) -> tuple[Channel, ...]:
        """Every channel it may ever use: first those sent at once, then the fallback's."""
        return self.channels + tuple(s.channel for s in self.fallback if s.channel not in self.channels)

    @property
    def dedupe_seconds(self) -> int:
        """Within so many seconds a second one to the same recipient about the same thing is not sent; 0: no such window."""
        return self.dedupe.total_seconds if self.dedupe else 0


class EventRule(Row):
    """What an event does to what still waits for its aggregate.

    ``older``: what earlier versions asked for is superseded. ``all``: everything up to this version dies and the aggregate is
    closed. Only an event that ``reopens`` (with a higher version) opens it again. ``only``: the withdrawal is for the patient in
    that field alone, and nobody else's changes. ``aggregate``: the field with the id of what changed, where the event's own
    aggregate id is the whole clinic's. ``part``: the field that says of which part of the aggregate it is, where each has a story
    of its own (credits, by the day on which they run out). ``notification``: the field that, where it is given, names the one
    notification that is withdrawn, and then nothing else of the aggregate is. ``settles``: the patient it names did what was
    asked of them, up to this version, or the one in the field ``settles_through`` where that is given: types that ask for it are
    not sent any more. Where ``settles_when`` is given, only an event of which all that holds settles. ``settles_earlier``: only
    what earlier versions asked for, for this one asks anew.
    """

    withdraws: Withdraws = "none"
    settles: Question | None = None
    settles_through: str | None = None
    settles_when: dict[str, Condition] = Field(default_factory=dict)
    settles_earlier: bool = False
    reopens: bool = False
    only: str | None = None
    aggregate: str | None = None
    part: str | None = None
    notification: str | None = None


class Entry(Row):
    """A type together with the trigger that an event met."""

    type: NotificationType
    trigger: Trigger
