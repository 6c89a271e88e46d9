"""Who an aggregate is for, and what an event withdraws from them and closes at the sinks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from streams.catalog_model import EventRule
from streams.rules.audience import PATIENT, STAFF, Recipients
from streams.rules.event_fields import EventField
from streams.rules.memory import AggregateMemory
from streams.rules.slots import Times


class PeopleField(NamedTuple):
    """A field that says whom an aggregate is for. ``prefix``: what makes its ids recipient keys."""

    name: str
    prefix: str
    is_list: bool


def people_fields(audiences: Iterable[Mapping[str, str]], fields: Mapping[str, EventField]) -> tuple[PeopleField, ...]:
    """An event's fields with the patients its aggregate is for, and the provider it is with."""
    found: dict[str, PeopleField] = {}
    for audience in audiences:
        for part, prefix, is_list in (
            ("patient", PATIENT, False),
            ("patients", PATIENT, True),
            ("recipient", "", False),
        ):
            if part in audience:
                found[audience[part]] = PeopleField(audience[part], prefix, is_list)
    for name, prefix in (("patient_id", PATIENT), ("provider_id", STAFF)):
        if name in fields:
            found.setdefault(name, PeopleField(name, prefix, is_list=False))
    return tuple(found.values())


def named_in(event: Mapping[str, Any], people: Iterable[PeopleField]) -> Recipients:
    """Every patient and provider that the event itself names, whatever it tells them."""
    named: dict[str, None] = {}
    for name, prefix, is_list in people:
        value = event[name]
        if value:
            for one in value if is_list else (value,):
                named[prefix + one] = None
    return tuple(named)


def former_of(before: Recipients, named: Recipients) -> Recipients:
    """Whom the aggregate was for and is no longer. An event that names nobody of a kind leaves that kind as it was."""
    if not before:
        return ()
    kinds, still = _kinds(named), frozenset(named)
    return tuple(one for one in before if one not in still and one.startswith(kinds)) if kinds else ()


def remembered_after(before: Recipients, named: Recipients, former: Recipients) -> Recipients:
    """Whom the aggregate is for from now on."""
    if not before:
        return named
    gone = frozenset(former)
    return tuple(dict.fromkeys((*named, *(one for one in before if one not in gone))))


def _kinds(recipients: Recipients) -> tuple[str, ...]:
    return tuple(prefix for prefix in (PATIENT, STAFF) if any(one.startswith(prefix) for one in recipients))


def targets_of(event: Mapping[str, Any], rule: EventRule, named: Recipients, before: AggregateMemory) -> Sequence[str]:
    """From whom the event withdraws: those whom earlier events were for, since only they can have something waiting.

    What closes, or reopens what was closed, says so to those besides whom it names itself: what is for a visit, and not of it (a
    form), is told or not by what its patient's state knows of the visit, and she may have been told nothing of it yet.
    """
    if rule.only is not None:
        only = PATIENT + event[rule.only]
        return (only,) if only in before.recipients else ()
    if rule.withdraws == "all" or (rule.reopens and before.closed):
        return tuple(dict.fromkeys((*before.recipients, *named)))
    return before.recipients


def part_of(aggregate_id: str, part: object) -> str:
    """The id of a part of an aggregate: a digest, so that nobody reads a day in it. No secret: who tries all days finds it."""
    return f"{aggregate_id}/{blake2b(f'{aggregate_id}/{part}'.encode(), digest_size=6).hexdigest()}"


def aggregate_gate(
    event: Mapping[str, Any], rule: EventRule, aggregate: tuple[str, str], times: Times
) -> dict[str, Any]:
    """The gate that keeps a withdrawn aggregate's messages from leaving. ``aggregate``: its type and id."""
    closes = rule.withdraws == "all"
    # A gate for "cancelled" also closes its own version; the notice of this very event bears it and must pass.
    version = event["aggregate_version"] - 1 if closes else event["aggregate_version"]
    key = f"aggregate:{event['clinic_id']}:{aggregate[0]}:{aggregate[1]}"
    return _gate(key, "aggregate", "cancelled" if closes else "superseded", version, times)


def notification_gate(notification_id: str, times: Times) -> dict[str, Any]:
    """The gate that keeps one notification from leaving."""
    return _gate(f"notification:{notification_id}", "notification", "cancelled", None, times)


def _gate(key: str, kind: str, reason: str, version: int | None, times: Times) -> dict[str, Any]:
    return {
        "gate_key": key,
        "kind": kind,
        "reason": reason,
        "source": "intake",
        "aggregate_version": version,
        "created_at": times.now,
        "expires_at": None,
    }
