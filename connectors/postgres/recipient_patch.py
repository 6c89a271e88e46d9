"""One line of a recipients file: what it says of one person, and the recipient that follows from it and from what is stored.

A cell that is empty, or a column that is missing, leaves what is stored. Pure: ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from connectors.postgres.recipient_columns import (
    ADDRESS_COLUMNS,
    PERSON_COLUMNS,
    PLACES,
    Parse,
    ValueProblem,
    address_column,
    boolean,
    consent_columns,
    phone,
    platform,
    preference_columns,
    words,
)
from connectors.postgres.recipients import Recipient
from schemas.shapes import shape_of

# A consent that a file only states, without saying how it was given, is the weakest there is.
DEFAULT_CONSENT_METHOD = "implied"
CONSENT_SOURCE = "import"


class Problem(NamedTuple):
    """Why a line cannot be used: its column, the shape of what stands there, the mend. Never the value."""

    column: str
    shape: str
    mend: str


class LineProblem(Exception):
    """A line cannot be used."""

    def __init__(self, column: str, text: str, mend: str) -> None:
        self.problem = Problem(column, shape_of(text) if text else "empty", mend)
        super().__init__(f"{column}: {self.problem.shape}; {mend}")


@dataclass(frozen=True, slots=True, repr=False)
class Patch:
    """What one line says. Lists of addresses replace what is stored; None leaves it."""

    recipient: str
    clinic_id: str | None
    roles: tuple[str, ...] | None
    active: bool | None
    person: Mapping[str, Any]
    phones: list[dict[str, Any]] | None
    emails: list[dict[str, Any]] | None
    devices: list[dict[str, Any]] | None
    preferences: Mapping[str, Any]
    consents: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, cells: Mapping[str, str], region: str | None = None) -> Patch:
        """From a line's cells by column, all of them known ones. Raises LineProblem."""
        filled = {column: text.strip() for column, text in cells.items() if text.strip()}
        kind = filled.get("kind", "patient").lower()
        if kind not in ("patient", "staff"):
            raise LineProblem("kind", kind, "write patient or staff")
        recipient_id = filled.get("recipient_id", "")
        if not recipient_id or ":" in recipient_id or len(recipient_id) > 200:
            raise LineProblem("recipient_id", recipient_id, "write the practice system's own id, without `patient:`")
        roles = filled.get("roles")
        return cls(
            recipient=f"{kind}:{recipient_id}",
            clinic_id=filled.get("clinic_id"),
            roles=None if roles is None else tuple(words(roles)),
            active=_parsed(filled, "active", boolean),
            person={name: _parsed(filled, name, parse) for name, parse in PERSON_COLUMNS.items() if name in filled},
            phones=_addresses(filled, "phone", lambda text: phone(text, region)),
            emails=_addresses(filled, "email", str),
            devices=_devices(filled),
            preferences={
                name: _parsed(filled, name, parse) for name, parse in preference_columns().items() if name in filled
            },
            consents=_consents(filled),
        )

    def applied(self, found: Recipient | None, updated_by: str, now: datetime) -> Recipient:
        """The recipient to store. Raises LineProblem where the line says too little for somebody new."""
        clinic_id = self.clinic_id or (found.clinic_id if found else "")
        if not clinic_id:
            raise LineProblem("clinic_id", "", "name the home clinic of somebody new")
        content: dict[str, Any] = deepcopy(dict(found.content)) if found else {}
        content |= self.person
        for name, fresh in (("phones", self.phones), ("emails", self.emails), ("devices", self.devices)):
            if fresh is not None:
                content[name] = _known_kept(name, fresh, content.get(name, []), now)
        if self.preferences:
            content["preferences"] = self._preferences(content.get("preferences"), updated_by, now)
        content["consents"] = list(self._consents(content.get("consents", []), now))
        return Recipient(
            self.recipient,
            clinic_id,
            content,
            self.roles if self.roles is not None else (found.roles if found else ()),
            self.active if self.active is not None else (found.active if found else True),
        )

    def _preferences(self, found: Mapping[str, Any] | None, updated_by: str, now: datetime) -> dict[str, Any]:
        """The stored ones with what the line says; who and when changes only where something else did."""
        stored: dict[str, Any] = dict(found or {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}})
        changed = deepcopy(stored)
        for dotted, value in self.preferences.items():
            *parents, name = dotted.split(".")
            place = changed
            for parent in parents:
                if place.get(parent) is None:
                    # Hours are given because they shall hold.
                    place[parent] = {"enabled": True} if parent == "quiet_hours" else {}
                place = place[parent]
            place[name] = value
        hours = changed.get("quiet_hours")
        for end in ("start", "end"):
            if hours is not None and end not in hours:
                raise LineProblem(f"quiet_hours.{end}", "", "give both ends of quiet hours, as HH:MM")
        if hours and hours != stored.get("quiet_hours") and hours["enabled"] and hours["start"] == hours["end"]:
            raise LineProblem(
                "quiet_hours.end", hours["end"], "end them at another time than they start, or switch them off"
            )
        return changed if changed == stored else {**changed, "updated_at": now, "updated_by": updated_by}

    def _consents(self, stored: list[dict[str, Any]], now: datetime) -> Iterator[dict[str, Any]]:
        """All stored ones, those that the line gives changed by it."""
        left = dict(self.consents)
        for consent in stored:
            given = left.pop(consent["consent_type"], None)
            if given is None or given["status"] == consent["status"]:
                # The same again, perhaps told in more detail.
                yield {**consent, **(given or {})}
            else:
                yield _new_consent(consent["consent_type"], given, now)
        for consent_type, given in left.items():
            yield _new_consent(consent_type, given, now)


def _new_consent(consent_type: str, given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    defaults = {"consent_date": now, "method": DEFAULT_CONSENT_METHOD, "source": CONSENT_SOURCE}
    return {"consent_type": consent_type, **defaults, **given}


def _parsed(filled: Mapping[str, str], column: str, parse: Parse) -> Any:
    text = filled.get(column)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueProblem as problem:
        raise LineProblem(column, text, str(problem)) from None


def _addresses(filled: Mapping[str, str], kind: str, parse: Parse) -> list[dict[str, Any]] | None:
    """The line's phones or emails, best first; None where it has none."""
    named = {"phone": "e164", "email": "address"}[kind]
    found: list[dict[str, Any]] = []
    for place in range(1, PLACES + 1):
        column = address_column(kind, place, "")
        if column not in filled:
            _refuse_orphans(filled, kind, place, column)
            continue
        entry = {named: _parsed(filled, column, parse)}
        verified = _parsed(filled, address_column(kind, place, "_verified"), boolean)
        label = filled.get(address_column(kind, place, "_label"))
        entry |= {} if verified is None else {"verified": verified}
        entry |= {} if label is None else {"label": label}
        if entry[named] not in [other[named] for other in found]:
            found.append(entry)
    return found or None


def _devices(filled: Mapping[str, str]) -> list[dict[str, Any]] | None:
    found = []
    for place in range(1, PLACES + 1):
        column = address_column("device", place, "_token")
        if column not in filled:
            _refuse_orphans(filled, "device", place, column)
            continue
        system = _parsed(filled, address_column("device", place, "_platform"), platform())
        if system is None:
            raise LineProblem(
                address_column("device", place, "_platform"), "", "name the platform of each device token"
            )
        found.append({"token": filled[column], "platform": system})
    return found or None


def _refuse_orphans(filled: Mapping[str, str], kind: str, place: int, needed: str) -> None:
    for part in ADDRESS_COLUMNS[kind]:
        column = address_column(kind, place, part)
        if column in filled:
            raise LineProblem(column, filled[column], f"fill {needed} too, or leave this empty")


def _known_kept(
    name: str, fresh: list[dict[str, Any]], stored: list[dict[str, Any]], now: datetime
) -> list[dict[str, Any]]:
    """The fresh list, with what was known of each address where the line does not say it."""
    own = {"phones": "e164", "emails": "address", "devices": "token"}[name]
    known = {entry[own]: entry for entry in stored}
    missing = {"registered_at": now} if name == "devices" else {}
    return [{**known.get(entry[own], missing), **entry} for entry in fresh]


def _consents(filled: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for column, (consent_type, name, parse) in consent_columns().items():
        if column in filled:
            found.setdefault(consent_type, {})[name] = _parsed(filled, column, parse)
    for consent_type, given in found.items():
        if "status" not in given:
            raise LineProblem(f"consent.{consent_type}", "", "say opted_in, opted_out or pending too")
    return found
