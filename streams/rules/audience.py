"""Whom a notification type reaches: from the event's fields, the clinic's roster, and what is remembered of the aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from streams.catalog_model import Audience

PATIENT = "patient:"
STAFF = "staff:"


class Roster(Protocol):
    """Who works where: what ``recipients`` says of staff."""

    def staff_of(self, clinic_id: str, role: str) -> Sequence[str]:
        """Recipient keys (``staff:…``) of the clinic's active staff with that role, in a fixed order."""
        ...


Recipients = tuple[str, ...]
"""Recipient keys, each once, in the order in which the event names them."""

AudienceOf = Callable[[Mapping[str, Any], Roster, Recipients, Recipients], Recipients]
"""(event, roster, remembered, former) → recipients. The last two are of the aggregate, whatever their kind."""

_PREFIXES = {"patient": PATIENT, "provider": STAFF}


def compile_audience(audience: Audience, recipient_kind: str) -> AudienceOf:
    """A function that finds a trigger's recipients, for one event type."""
    if audience.fields.keys() == {"patient"} and not (audience.remembered or audience.former or audience.otherwise):
        return _one_patient(audience.fields["patient"])  # by far the most: one patient, one string
    wanted_kind = f"{recipient_kind}:"
    remembered_kind = _PREFIXES[audience.remembered] if audience.remembered else None
    former_kind = _PREFIXES[audience.former] if audience.former else None

    def recipients_of(
        event: Mapping[str, Any], roster: Roster, remembered: Recipients, former: Recipients
    ) -> Recipients:
        found = dict.fromkeys(_named(audience, event, roster, wanted_kind))
        if former_kind:
            found |= dict.fromkeys(one for one in former if one.startswith(former_kind))
        if not found and remembered_kind:
            found = dict.fromkeys(one for one in remembered if one.startswith(remembered_kind))
        if not found and audience.otherwise:
            found = dict.fromkeys(_with_roles(event["clinic_id"], audience.otherwise, roster))
        if audience.but_not and event[audience.but_not]:
            found.pop(STAFF + event[audience.but_not], None)
        return tuple(found)

    return recipients_of


def _one_patient(field: str) -> AudienceOf:
    def recipients_of(event: Mapping[str, Any], _: Roster, __: Recipients, ___: Recipients) -> Recipients:
        patient = event[field]
        return (PATIENT + patient,) if patient else ()

    return recipients_of


def _named(audience: Audience, event: Mapping[str, Any], roster: Roster, wanted_kind: str) -> Iterable[str]:
    """Whom the event itself names, and whom the catalogue names by role."""
    if audience.patient and event[audience.patient]:
        yield PATIENT + event[audience.patient]
    if audience.patients:
        yield from (PATIENT + patient for patient in event[audience.patients])
    if audience.member and event[audience.member]:
        yield STAFF + event[audience.member]
    if audience.members:
        yield from (STAFF + member for member in event[audience.members])
    if audience.recipient and event[audience.recipient].startswith(wanted_kind):
        yield event[audience.recipient]
    clinic_id = event["clinic_id"]
    if audience.roles:
        yield from _with_roles(clinic_id, audience.roles, roster)
    if audience.roles_in:
        yield from _with_roles(clinic_id, event[audience.roles_in], roster)


def _with_roles(clinic_id: str, roles: Iterable[str], roster: Roster) -> Iterable[str]:
    for role in roles:
        yield from roster.staff_of(clinic_id, role)
