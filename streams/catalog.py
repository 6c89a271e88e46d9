"""The event-to-notification map: ``catalog.yaml``, read, checked whole, and indexed for the hot path.

``Catalog.load()`` is called once at start. What it returns never changes; its ``version`` travels in every request and decision.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.catalog_checks import faults_of
from streams.catalog_fields import field_faults
from streams.catalog_model import Entry, EventRule, NotificationType
from streams.catalog_source import At, CatalogError, Source, parse

CATALOG_PATH = Path(__file__).with_name("catalog.yaml")
TEMPLATES_PATH = Path(__file__).parent / "render" / "templates"
_SECTIONS = {"profiles", "events", "types"}
_NO_RULE = EventRule()

__all__ = ["Catalog", "CatalogError", "Entry", "EventRule", "NotificationType"]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every notification type by name; entries by event type; what events do to what still waits."""

    types: Mapping[str, NotificationType]
    events: Mapping[str, EventRule]
    version: str
    _by_event: Mapping[str, tuple[Entry, ...]]

    @classmethod
    def load(cls, path: Path | None = None) -> Catalog:
        """The committed catalogue, or the one at ``path``. Raises CatalogError naming every fault with its line."""
        source = Source(path or CATALOG_PATH)
        unknown = source.value.keys() - _SECTIONS
        if unknown:
            raise CatalogError(source.fault((min(unknown),), "no such section: use profiles, events, types"))
        faults: list[str] = []
        events = _parsed_events(source, faults)
        types = _parsed_types(source, faults)
        if not faults:
            found = (*faults_of(types, events), *field_faults(types, events), *_template_faults(types))
            faults.extend(source.fault(at, problem) for at, problem in found)
        if faults:
            raise CatalogError("\n".join(faults))
        by_event: defaultdict[str, list[Entry]] = defaultdict(list)
        for kind in types.values():
            for trigger in kind.triggers:
                by_event[trigger.event].append(Entry(type=kind, trigger=trigger))
        return cls(types, events, _version(source), {event: tuple(found) for event, found in by_event.items()})

    def for_event(self, event_type: str) -> tuple[Entry, ...]:
        """The entries that an event of this type may meet, in the catalogue's order; none for an event that tells nobody."""
        return self._by_event.get(event_type, ())

    def event(self, event_type: str) -> EventRule:
        """What an event of this type does to what still waits for its aggregate."""
        return self.events.get(event_type, _NO_RULE)

    @property
    def event_types(self) -> tuple[str, ...]:
        """Every event type the catalogue knows something about."""
        return tuple(sorted(self._by_event.keys() | self.events.keys()))


def _section(source: Source, name: str) -> dict[str, Any]:
    found = source.value.get(name)
    if not isinstance(found, dict):
        raise CatalogError(source.fault((name,), "expected a mapping from names to rows"))
    return found


def _parsed_events(source: Source, faults: list[str]) -> dict[str, EventRule]:
    events = {}
    for name, row in _section(source, "events").items():
        try:
            events[name] = parse(source, EventRule, ("events", name), row)
        except CatalogError as error:
            faults.append(str(error))
    return events


def _parsed_types(source: Source, faults: list[str]) -> dict[str, NotificationType]:
    profiles = _section(source, "profiles")
    types = {}
    for name, row in _section(source, "types").items():
        at: At = ("types", name)
        try:
            types[name] = parse(source, NotificationType, at, _whole_row(source, profiles, name, row))
        except CatalogError as error:
            faults.append(str(error))
    return types


def _whole_row(source: Source, profiles: dict[str, Any], name: str, row: object) -> dict[str, Any]:
    """A type's row with its profile's columns beneath its own, and its triggers with the row's timing, expiry and audience."""
    at: At = ("types", name)
    if not isinstance(row, dict):
        raise CatalogError(source.fault(at, "expected a mapping"))
    profile = profiles.get(row.get("profile", ""))
    if not isinstance(profile, dict):
        raise CatalogError(source.fault((*at, "profile"), f"no such profile: one of {', '.join(sorted(profiles))}"))
    whole = {"name": name, "template_id": name, **profile, **row}
    del whole["profile"]
    shared = {column: whole.pop(column) for column in ("timing", "expiry", "audience") if column in whole}
    triggers = whole.pop("on", None)
    if not isinstance(triggers, list) or not all(isinstance(trigger, dict) for trigger in triggers):
        raise CatalogError(source.fault((*at, "on"), "expected a list of triggers: `- event: appointment.created`"))
    whole["triggers"] = tuple(_whole_trigger({**shared, **trigger}) for trigger in triggers)
    return whole


def _whole_trigger(trigger: dict[str, Any]) -> dict[str, Any]:
    """A trigger with its shorthands written out: one timing or expiry for a list of one, a value for a condition."""
    whole = dict(trigger)
    for column in ("timing", "expiry"):
        value = whole.get(column)
        if isinstance(value, dict | list):
            whole[column] = tuple(value) if isinstance(value, list) else (value,)
    if isinstance(whole.get("when"), dict):
        whole["when"] = {field: _condition(wanted) for field, wanted in whole["when"].items()}
    return whole


def _condition(wanted: object) -> object:
    return wanted if isinstance(wanted, dict) else {"equals": wanted if isinstance(wanted, list) else [wanted]}


def _template_faults(types: Mapping[str, NotificationType]) -> Iterator[tuple[At, str]]:
    for name, kind in types.items():
        if not (TEMPLATES_PATH / f"{kind.template_id}.yaml").is_file():
            yield (
                ("types", name, "template_id"),
                f"{kind.template_id}: no such template: write {TEMPLATES_PATH.name}/{kind.template_id}.yaml",
            )


def _version(source: Source) -> str:
    """12 hex digits that change with the content, not with comments, order of keys or layout."""
    canonical = json.dumps(source.value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
