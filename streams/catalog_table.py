"""The catalogue as a table for people: one row a type and trigger, in the words of the file."""

from __future__ import annotations

from collections.abc import Iterator

from streams.catalog import Catalog
from streams.catalog_model import Audience, Condition, Moment, NotificationType, Timing, Trigger

HEADINGS = ("type", "on", "for", "due", "expires", "category", "lane", "essential", "channels, then", "PHI", "template")


def rows(catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """One row for each trigger of each type, in the catalogue's order; what a type's rows share stands in the first."""
    for kind in catalog.types.values():
        for index, trigger in enumerate(kind.triggers):
            shared = _shared(kind) if index == 0 else ("",) * 6
            yield (
                kind.name if index == 0 else "",
                _event(trigger),
                _audience(trigger.audience),
                _due(trigger),
                " or ".join(_moment(expiry) for expiry in trigger.expiry),
                *shared,
            )


def markdown(catalog: Catalog) -> str:
    """The table as Markdown, for docs/catalogue.md (held equal by a test)."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows(catalog)]
    return "\n".join(lines) + "\n"


def _shared(kind: NotificationType) -> tuple[str, ...]:
    channels = (" + " if kind.send == "all" else " or ").join(kind.channels)
    later = ", ".join(
        f"{step.channel}{f' after {step.timeout_seconds} s' if step.timeout_seconds else ''}" for step in kind.fallback
    )
    return (
        kind.category,
        kind.lane,
        "yes" if kind.essential else "",
        f"{channels}, then {later}" if later else channels,
        f"{kind.phi_class}, {kind.phi_level}",
        kind.template_id,
    )


def _event(trigger: Trigger) -> str:
    parts = [_condition(name, condition) for name, condition in trigger.when.items()]
    conditions = ", ".join([*parts, *(["where it was closed"] if trigger.corrects else [])])
    return f"{trigger.event} ({conditions})" if conditions else trigger.event


def _condition(name: str, condition: Condition) -> str:
    parts = []
    if condition.equals:
        parts.append(f"{name} {' or '.join(str(value).lower() for value in condition.equals)}")
    if condition.given is not None:
        parts.append(f"{name} {'given' if condition.given else 'empty'}")
    if condition.at_least is not None:
        parts.append(f"{name} ≥ {condition.at_least}")
    if condition.at_most is not None:
        parts.append(f"{name} ≤ {condition.at_most}")
    return ", ".join(parts)


def _audience(audience: Audience) -> str:
    named = [field for part, field in audience.fields.items() if part != "but_not"]
    parts = [*named, *(f"role {role}" for role in audience.roles)]
    if audience.former:
        parts.append(f"former {audience.former}")
    told = " + ".join(parts)
    for other in (audience.remembered and f"remembered {audience.remembered}", _roles(audience.otherwise)):
        if other:
            told = f"{told}, else {other}" if told else other
    return f"{told}, not {audience.but_not}" if audience.but_not else told


def _roles(roles: tuple[str, ...]) -> str:
    return f"role {' or '.join(roles)}" if roles else ""


def _due(trigger: Trigger) -> str:
    if trigger.timing == "immediate":
        return "at once"
    return "; ".join(_timing(timing) for timing in trigger.timing)


def _timing(timing: Timing) -> str:
    hours = "–".join(f"{clock:%H:%M}" if clock else "" for clock in (timing.not_before, timing.not_after))
    told = _moment(timing) + (f" within {hours}" if hours != "–" else "")
    told += f", spread over {timing.jitter}" if timing.jitter else ""
    told += f", not within {timing.skip_if_within} of the event" if timing.skip_if_within else ""
    told += f", or {' '.join(timing.clocks)} by their clocks" if timing.clocks else ""
    if timing.adjustable is not None:
        told += f" (a clinic may say {timing.adjustable.at_least} to {timing.adjustable.at_most})"
    return told + (", late: now" if timing.if_late == "send_now" else "")


def _moment(moment: Moment) -> str:
    duration, direction = moment.shift
    of = " ".join(moment.of) if moment.of else "due"
    of += f" + {moment.plus_days}" if moment.plus_days else ""
    business = moment.days == "business"
    if not duration.total_seconds:
        return f"{of}, or the {'next' if direction > 0 else 'last'} business day" if business else of
    return f"{duration}{' (business days)' if business else ''} {'after' if direction > 0 else 'before'} {of}"
