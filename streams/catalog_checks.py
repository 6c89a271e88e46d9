"""What must hold across the catalogue: the product's rules about essentials, consent, plans and levels, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from streams.catalog_model import Attached, EventRule, InApp, Moment, NotificationType, Trigger
from streams.catalog_source import At
from streams.catalog_times import adjustable_faults, deadline_faults, moment_faults, past_expiry

Fault = tuple[At, str]

# Critical notifications wait so long for success before the next channel: the specification's fallback delay.
FALLBACK_SECONDS = 30


def faults_of(types: Mapping[str, NotificationType], events: Mapping[str, EventRule]) -> Iterator[Fault]:
    """Every broken rule, with where it is written."""
    for name, kind in types.items():
        at: At = ("types", name)
        for column, problem in (*_channel_faults(kind), *_policy_faults(kind), *_plan_faults(kind)):
            yield (*at, column), problem
        yield from (((*at, "in_time_for"), problem) for problem in deadline_faults(kind))
        if kind.accompanies is not None:
            yield from (((*at, "accompanies"), problem) for problem in _companion_faults(kind, types))
        for index, trigger in enumerate(kind.triggers):
            for column, problem in _trigger_faults(kind, trigger):
                yield (*at, "on", index, column), problem
            if trigger.corrects and not events.get(trigger.event, EventRule()).reopens:
                yield (*at, "on", index, "corrects"), f"{trigger.event} reopens nothing, so it takes nothing back"
        if len({_adjustable(trigger) for trigger in kind.triggers if trigger.timing != "immediate"}) > 1:
            yield (*at, "on"), "all its triggers' timings are adjustable alike, or none: clinics name the type"
    for name, rule in events.items():
        if rule.reopens and rule.withdraws != "older":
            yield ("events", name, "reopens"), "an event that reopens supersedes what was before: withdraws: older"
        if rule.settles_through is not None and rule.settles is None:
            yield ("events", name, "settles_through"), "says through which version, and not what: write settles"
        if rule.settles_earlier and (rule.settles is None or rule.settles_through is not None):
            yield (
                ("events", name, "settles_earlier"),
                "through the version before its own: write settles, no settles_through",
            )
        if rule.settles_when and rule.settles is None:
            yield ("events", name, "settles_when"), "says when, and not what: write settles"
    yield from _question_faults(types, events)


def _question_faults(types: Mapping[str, NotificationType], events: Mapping[str, EventRule]) -> Iterator[Fault]:
    """One number says through which version of an aggregate everything was done: so an aggregate asks one thing."""
    asked: dict[str, str] = {}
    for name, kind in types.items():
        if kind.asks is None:
            continue
        if kind.recipient_kind != "patient":
            yield ("types", name, "asks"), "only patients are asked until they have done it"
        for index, trigger in enumerate(kind.triggers):
            other = asked.setdefault(trigger.event.partition(".")[0], kind.asks)
            if other != kind.asks:
                yield ("types", name, "on", index, "event"), f"another type asks {other} of the same; one question each"
    settled = {(name.partition(".")[0], rule.settles) for name, rule in events.items() if rule.settles is not None}
    for name, rule in events.items():
        if rule.settles is not None and asked.get(name.partition(".")[0]) != rule.settles:
            yield ("events", name, "settles"), f"no type of {name.partition('.')[0]} events asks {rule.settles}"
    for name, kind in types.items():
        if kind.asks and not any((t.event.partition(".")[0], kind.asks) in settled for t in kind.triggers):
            yield ("types", name, "asks"), f"no event settles {kind.asks}: it would be asked for ever"


def _channel_faults(kind: NotificationType) -> Iterator[tuple[str, str]]:
    if len(set(kind.channels)) != len(kind.channels):
        yield "channels", "a channel is given twice"
    for channel in kind.all_channels:
        if channel != "in_app" and kind.opt_in_name(channel) is None:
            yield "opt_in", f"uses {channel} and names no opt-in for it"
    if kind.calendar is not None and "email" not in kind.all_channels:
        yield "calendar", "only emails carry a calendar file, and this type has none"
    if kind.attach != Attached() and "email" not in kind.all_channels:
        yield "attach", "only emails carry documents, and this type has none"
    if kind.in_app != InApp() and "in_app" not in kind.all_channels:
        yield "in_app", "says how it behaves in an inbox, and never comes into one"
    if kind.in_app.acknowledge != "none" and kind.recipient_kind == "patient":
        yield "in_app", "alerts are for staff: patients acknowledge nothing"
    fallback = [step.channel for step in kind.fallback]
    if len(set(fallback)) != len(fallback) or set(fallback) & set(kind.channels):
        yield "fallback", "a channel comes twice: a fallback is another channel"


def _policy_faults(kind: NotificationType) -> Iterator[tuple[str, str]]:
    patients = kind.recipient_kind == "patient"
    if kind.category in ("transactional", "financial") and not kind.essential:
        yield "essential", "all transactional and financial types are essential"
    if kind.category in ("marketing", "engagement") and kind.consent_scope != "marketing":
        yield "consent_scope", "marketing and engagement need marketing consent"
    promotional = kind.consent_scope == "marketing"
    if promotional:
        if kind.essential:
            yield "essential", "marketing is never essential"
        if kind.fallback:
            yield "fallback", "marketing never crosses to another channel"
        if kind.frequency_class not in ("marketing", "reviews"):
            yield "frequency_class", "marketing and reviews have a frequency setting: name it"
        if kind.phi_level > 1:
            yield "phi_level", "marketing tells nothing of a person: level 1"
    if promotional != (kind.sender_class == "marketing"):
        yield "sender_class", "marketing has a sender of its own, and only marketing: STOP to it must not block care"
    if kind.pictures and kind.consent_scope != "marketing":
        yield "pictures", "who serves a picture learns who looked at the message: only advertising shows any"
    if kind.tracked and (kind.category == "clinical" or kind.phi_class == "direct" or not patients):
        yield "tracked", "who opens what about their health is not counted, nor what staff open"
    if patients and kind.consent_scope == "none":
        yield "consent_scope", "patients' types name the consent they need"
    if patients and kind.preference_category is None:
        yield "preference_category", "patients' types fall under one of the six categories"
    if not patients and kind.consent_scope != "none":
        yield "consent_scope", "staff are reached by employment, not by consent: none"


def _plan_faults(kind: NotificationType) -> Iterator[tuple[str, str]]:
    plan = [*kind.channels, *(step.channel for step in kind.fallback)]
    if kind.recipient_kind == "staff":
        if kind.category == "real_time" and kind.lane in ("critical", "high"):
            sms = kind.fallback[0] if kind.fallback else None
            if set(kind.channels) != {"in_app", "push"}:
                yield "channels", "staff alerts go to in-app and push at once"
            if sms is None or (sms.channel, sms.success, sms.timeout_seconds) != ("sms", "seen", FALLBACK_SECONDS):
                yield "fallback", "staff alerts: SMS after 30 s without acknowledgement (success: seen)"
            if kind.in_app.acknowledge == "none":
                yield "in_app", "staff alerts can be acknowledged: own, or shared"
        return
    if kind.lane == "critical":
        if plan[:3] != ["sms", "push", "email"] or kind.channels != ("sms",):
            yield "channels", "critical goes by SMS, then push, then email"
        if any(step.timeout_seconds != FALLBACK_SECONDS for step in kind.fallback[:2]):
            yield "fallback", "critical: each next channel after 30 s without success"
    if kind.consent_scope != "marketing" and plan[-1] != "in_app" and kind.accompanies is None:
        yield "fallback", "the last step of a patient's plan is the portal: in_app"


def _companion_faults(kind: NotificationType, types: Mapping[str, NotificationType]) -> Iterator[str]:
    """What only brings the file to a notice that is told without it: by email alone, wherever that notice is told."""
    notice = types.get(kind.accompanies or "")
    if notice is None or notice.accompanies is not None:
        yield f"{kind.accompanies}: no such notice: name a type that tells by itself"
        return
    if kind.all_channels != ("email",) or kind.calendar is None:
        yield "only a calendar file by email accompanies: channels: [email], fallback: [], calendar"
    if notice.lane != "critical" or notice.calendar != kind.calendar:
        yield f"{notice.name} must be critical (else it goes by email itself), and its own email carry the same file"
    if {trigger.event for trigger in kind.triggers} - {trigger.event for trigger in notice.triggers}:
        yield f"is sent on events on which {notice.name} is not"


def _trigger_faults(kind: NotificationType, trigger: Trigger) -> Iterator[tuple[str, str]]:
    audience = trigger.audience
    if not audience.kinds and not audience.recipient:
        yield "audience", "names nobody"
    if audience.kinds - {kind.recipient_kind}:
        yield "audience", f"reaches other people than recipient_kind: {kind.recipient_kind}"
    yield from (("timing", problem) for problem in adjustable_faults(trigger))
    for column, moment in _moments(trigger):
        yield from ((column, problem) for problem in (*moment_faults(moment), *past_expiry(moment, trigger.expiry)))


def _adjustable(trigger: Trigger) -> tuple[object, ...]:
    timings = () if trigger.timing == "immediate" else trigger.timing
    return tuple((timing.adjustable, timing.after is not None) for timing in timings if timing.adjustable is not None)


def _moments(trigger: Trigger) -> Iterable[tuple[str, Moment]]:
    if isinstance(trigger.timing, tuple):
        yield from (("timing", timing) for timing in trigger.timing)
    yield from (("expiry", expiry) for expiry in trigger.expiry)
