"""Does every field that the catalogue names exist in its event's schema, and is it of a kind that fits its use?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schemas.events import EVENT_TYPES
from streams.catalog_model import Audience, Condition, EventRule, Moment, NotificationType, Timing, Trigger
from streams.catalog_source import At
from streams.rules.event_fields import EventField, event_fields, names_of

Fault = tuple[At, str]
Fields = Mapping[str, EventField]

# Parts of an audience whose field holds a list; the others hold one id.
_LISTS = {"patients", "members", "roles_in"}


def field_faults(types: Mapping[str, NotificationType], events: Mapping[str, EventRule]) -> Iterator[Fault]:
    """Every event and field that is not there, or does not fit, with where it is written."""
    for name, kind in types.items():
        for index, trigger in enumerate(kind.triggers):
            at: At = ("types", name, "on", index)
            if trigger.event not in EVENT_TYPES:
                yield (*at, "event"), f"no such event: one of {', '.join(EVENT_TYPES)}"
                continue
            fields = event_fields(EVENT_TYPES[trigger.event].record)
            for column, problem in _trigger_faults(trigger, fields):
                yield (*at, column), problem
            for deadline in kind.in_time_for:
                for problem in _moment_faults(Moment(of=deadline.of), fields):
                    yield ("types", name, "in_time_for"), problem
            if kind.visit is not None and not _is(fields, kind.visit, "text"):
                yield ("types", name, "visit"), f"{kind.visit}: no text of that name in {trigger.event}"
            if kind.calendar is not None and not _is_dated(fields):
                yield ("types", name, "calendar"), f"{trigger.event} has no date and time of an appointment"
            if kind.attach.receipt is not None and not _is(fields, "amount", "number"):
                yield (
                    ("types", name, "attach", "receipt"),
                    f"{trigger.event} has no amount: nothing to give a receipt for",
                )
            if kind.attach.forms is not None and not _is(fields, kind.attach.forms, "texts"):
                yield ("types", name, "attach", "forms"), f"{kind.attach.forms}: no list of texts in {trigger.event}"
        if kind.pictures and not any(_has_picture(trigger.event) for trigger in kind.triggers):
            yield ("types", name, "pictures"), "none of its events has an image_url: it would never show one"
    for name, rule in events.items():
        if name not in EVENT_TYPES:
            yield ("events", name), f"no such event: one of {', '.join(EVENT_TYPES)}"
            continue
        fields = event_fields(EVENT_TYPES[name].record)
        for column in ("only", "aggregate", "notification"):
            field = getattr(rule, column)
            if field is not None and not _is(fields, field, "text"):
                yield ("events", name, column), f"{field}: not a text field of {name}"
        if rule.part is not None and not (_is(fields, rule.part, "text") or _is(fields, rule.part, "date")):
            yield ("events", name, "part"), f"{rule.part}: not a text or date field of {name}"
        if rule.settles is not None and not _is(fields, "patient_id", "text"):
            yield ("events", name, "settles"), f"{name} names no patient_id: nobody would have done it"
        if rule.settles_through is not None and not _is(fields, rule.settles_through, "number"):
            yield ("events", name, "settles_through"), f"{rule.settles_through}: not a number of {name}"
        for field, condition in rule.settles_when.items():
            for problem in _condition_faults(field, condition, fields):
                yield ("events", name, "settles_when"), problem


def _trigger_faults(trigger: Trigger, fields: Fields) -> Iterator[tuple[str, str]]:
    for problem in _audience_faults(trigger.audience, fields):
        yield "audience", problem
    for name, condition in trigger.when.items():
        for problem in _condition_faults(name, condition, fields):
            yield "when", problem
    timings: tuple[Timing, ...] = () if trigger.timing == "immediate" else trigger.timing
    for timing in timings:
        for problem in _moment_faults(timing, fields):
            yield "timing", problem
        if timing.clocks:
            for problem in _wall_faults(timing.clocks, fields):
                yield "timing", problem
    for expiry in trigger.expiry:
        for problem in _moment_faults(expiry, fields):
            yield "expiry", problem


def _audience_faults(audience: Audience, fields: Fields) -> Iterator[str]:
    for part, name in audience.fields.items():
        wanted = "texts" if part in _LISTS else "text"
        if not _is(fields, name, wanted):
            yield f"{name}: no {'list of texts' if part in _LISTS else 'text'} of that name in the event"


def _condition_faults(name: str, condition: Condition, fields: Fields) -> Iterator[str]:
    field = fields.get(name)
    if field is None:
        yield f"{name}: no such field in the event"
        return
    if (condition.at_least is not None or condition.at_most is not None) and field.kind != "number":
        yield f"{name}: at_least and at_most are for numbers"
    for wanted in condition.equals:
        if field.symbols and wanted not in field.symbols:
            yield f"{name}: {wanted} is not one of {', '.join(field.symbols)}"
        elif isinstance(wanted, bool) != (field.kind == "boolean"):
            yield f"{name}: a field of another kind than the value: true and false are for booleans"
    if not condition.equals and (condition.given, condition.at_least, condition.at_most) == (None, None, None):
        yield f"{name}: an empty condition: say a value, given:, at_least: or at_most:"


def _moment_faults(moment: Moment, fields: Fields) -> Iterator[str]:
    if moment.plus_days is not None and not _is(fields, moment.plus_days, "number"):
        yield f"{moment.plus_days}: no number of that name in the event"
    if not moment.of:
        return
    first = fields.get(moment.of[0])
    if first is None or first.kind not in ("instant", "date"):
        yield f"{moment.of[0]}: no date or instant of that name in the event"
    elif len(moment.of) == 2:
        yield from _wall_faults(moment.of, fields)


def _wall_faults(names: Sequence[str], fields: Fields) -> Iterator[str]:
    day, clock = fields.get(names[0]), fields.get(names[-1])
    if day is None or day.kind != "date" or clock is None or clock.kind != "text" or clock.form != "hh:mm":
        yield f"{', '.join(names)}: two fields are a date and a time of day (hh:mm)"


def _is_dated(fields: Fields) -> bool:
    """Whether an event says when its appointment is, under any of the names that texts know it by."""
    return all(
        any(_is(fields, name, kind) for name in names_of(variable))
        for variable, kind in (("appointment_date", "date"), ("appointment_time", "text"))
    )


def _has_picture(event: str) -> bool:
    return event in EVENT_TYPES and _is(event_fields(EVENT_TYPES[event].record), "image_url", "text")


def _is(fields: Fields, name: str, kind: str) -> bool:
    return name in fields and fields[name].kind == kind
