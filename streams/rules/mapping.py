"""Event ► requests: which notifications an event calls for, for whom, due when; and what it withdraws.

Everything that can be known before an event comes is looked up once, in ``compile_mapping``; for each event then only its own
values are read. The same event, memory and roster always give the same requests with the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

from schemas.events import EVENT_TYPES
from schemas.ids import notification_id
from streams.catalog import Catalog
from streams.catalog_model import NotificationType, Trigger
from streams.rules.adjusting import Adjustment, first_that_fits, folded
from streams.rules.audience import PATIENT, AudienceOf, Recipients, Roster, compile_audience
from streams.rules.event_fields import event_fields
from streams.rules.local_time import ClinicTime, LocalTime, local_time
from streams.rules.memory import NOTHING, AggregateMemory
from streams.rules.moments import Anchors, Holds, compile_conditions
from streams.rules.slots import Slot, SlotOf, Times, compile_adjusted, compile_slots, spread
from streams.rules.withdrawal import (
    aggregate_gate,
    former_of,
    named_in,
    notification_gate,
    part_of,
    people_fields,
    remembered_after,
    targets_of,
)

Outcome = Literal["mapped", "nobody", "duplicate", "superseded", "closed"]
Request = dict[str, Any]
"""A NotificationRequest without its sealed field."""

_REQUESTED = "notification.requested"
# Compiled for each way in which clinics move one trigger: far above what a few hundred clinics think of.
ADJUSTMENTS_CACHED = 1024
# A withdrawal is no notification; these columns must hold something, and say that it is under way at once.
_WITHDRAWAL = {
    "kind": "withdraw",
    "notification_type": "",
    "category": "transactional",
    "lane": "high",
    "occurrence": 0,
    "due_at": None,
    "expires_at": None,
    "due_zone": None,
    "sealed": None,
}


class MappingError(ValueError):
    """The event cannot be mapped, now or later. ``code`` is enumerated; the text names field, shape and mend, never a value."""

    def __init__(self, code: str, field: str, explanation: str) -> None:
        super().__init__(f"{field}: {explanation}")
        self.code = code
        self.field = field


class Mapped(NamedTuple):
    """What an event comes to. ``gate``: a Gate to be written (None: none). ``memory``: what to remember of its aggregate."""

    outcome: Outcome
    requests: list[Request]
    gate: dict[str, Any] | None
    memory: AggregateMemory


class CompiledEntry(NamedTuple):
    """One trigger of one type, compiled for its event."""

    trigger: Trigger
    base: Request
    holds: Holds | None
    audience: AudienceOf
    slots: tuple[SlotOf, ...]
    adjusted: Callable[[Adjustment], tuple[SlotOf, ...]]


class EventMapping:
    """How events of one type are mapped."""

    __slots__ = (
        "_entries",
        "_has_segments",
        "_id_field",
        "_lists",
        "_nullable",
        "_people",
        "_rule",
        "_services",
        "_settles",
        "_shared",
        "_types",
        "aggregate_type",
        "event_type",
        "record",
        "topic",
    )

    def __init__(self, event_type: str, catalog: Catalog) -> None:
        self.event_type = event_type
        self.record, self.topic = EVENT_TYPES[event_type]
        self.aggregate_type = event_type.split(".", 1)[0]
        fields = event_fields(self.record)
        entries = catalog.for_event(event_type)
        self._rule = catalog.event(event_type)
        self._settles = compile_conditions(self._rule.settles_when)
        self._types = catalog.types
        self._id_field = self._rule.aggregate or "aggregate_id"
        self._shared = {
            "event_type": event_type,
            "aggregate_type": self.aggregate_type,
            "catalog_version": catalog.version,
        }
        self._people = people_fields((entry.trigger.audience.fields for entry in entries), fields)
        self._entries = tuple(self._entry(entry.type, entry.trigger) for entry in entries)
        self._has_segments = "segment" in fields and "patients" in fields
        self._services = tuple(name for name in ("service", "treatment_type") if name in fields)
        self._lists = tuple(
            name for name, field in fields.items() if field.kind == "texts" and field.phi == "identifier"
        )
        self._nullable = tuple(
            name
            for name, field in fields.items()
            if field.nullable and field.phi in ("identifier", "contact", "direct")
        )

    def aggregate_id(self, event: Mapping[str, Any]) -> str:
        """The id of what changed: the event's aggregate, or what the catalogue names instead of it, or as a part of it."""
        found: str = event[self._id_field]
        return found if self._rule.part is None else part_of(found, event[self._rule.part])

    def map(
        self,
        event: Mapping[str, Any],
        memory: AggregateMemory | None,
        roster: Roster,
        times: Times,
        clinic: ClinicTime,
    ) -> Mapped:
        """What the event comes to. Raises MappingError, UnknownZoneError."""
        rule, before = self._rule, memory or NOTHING
        event_id, version = event["event_id"], event["aggregate_version"]
        standing = before.standing(event_id, version, rule)
        if standing == "duplicate":
            return Mapped(standing, [], None, before)
        single = event[rule.notification] if rule.notification else None
        for_all = rule.withdraws != "none" and rule.only is None and not single
        floor = version if for_all else -1
        if standing != "in_force":
            return Mapped(standing, [], None, before.noted(version, floor=floor, now_ms=times.now_ms))

        if self._has_segments and event["segment"] and not event["patients"]:
            raise MappingError(
                "segment_not_expanded", "segment", "names a group and no patients; list its patients' ids in `patients`"
            )
        named = named_in(event, self._people)
        former = former_of(before.recipients, named) if for_all else ()
        local = local_time(event, clinic)
        # Of an aggregate that nothing is remembered of, nobody knows what was told: better once too often.
        was_closed = memory is None or before.closed
        requests = self._requests(event, roster, before.recipients, former, was_closed, times, local)
        gate = None
        if single:
            gate = notification_gate(single, times)
            requests.append(self._withdrawal(event, event["recipient"], times) | {"withdrawn_id": single})
        elif rule.withdraws != "none":
            self._withdraw(event, requests, targets_of(event, rule, named, before), times)
            # Of what was never heard of, nothing is on its way; what is for it, a visit's form, may be.
            if for_all and (memory is not None or rule.withdraws == "all"):
                gate = aggregate_gate(event, rule, (self.aggregate_type, self.aggregate_id(event)), times)
        if rule.settles is not None and (self._settles is None or self._settles(event)):
            self._settle(event, requests, times)
        after = before.after(
            event_id,
            version,
            floor=floor,
            closed=rule.withdraws == "all" if for_all else before.closed,
            recipients=remembered_after(before.recipients, named, former),
            now_ms=times.now_ms,
        )
        return Mapped("mapped" if requests or gate else "nobody", requests, gate, after)

    def copy_for(self, event: Mapping[str, Any], recipient: str) -> dict[str, Any] | None:
        """The event as this one recipient may keep it; None: as it came.

        Nobody's copy lists the other patients it went to, and a patient's copy of what another patient did does not say who.
        """
        kind, _, own_id = recipient.partition(":")
        about_another = kind == "patient" and event.get("patient_id", own_id) != own_id
        if not self._lists and not about_another:
            return None
        copy = dict(event)
        for name in self._lists:
            copy[name] = [own_id] if kind == "patient" and own_id in copy[name] else []
        if about_another:
            for name in self._nullable:
                copy[name] = own_id if copy[name] == own_id else None
            copy["patient_id"] = own_id
        return copy

    def _entry(self, kind: NotificationType, trigger: Trigger) -> CompiledEntry:
        return CompiledEntry(
            trigger,
            self._base(kind),
            compile_conditions(trigger.when),
            compile_audience(trigger.audience, kind.recipient_kind),
            compile_slots(trigger, event_fields(self.record)),
            lru_cache(maxsize=ADJUSTMENTS_CACHED)(partial(compile_adjusted, trigger, event_fields(self.record))),
        )

    def _base(self, kind: NotificationType) -> Request:
        return {
            **self._shared,
            "kind": "notify",
            "notification_type": kind.name,
            "category": kind.category,
            "lane": kind.lane,
            "withdraws": "none",
            "sealed": None,
        }

    def _own(self, event: Mapping[str, Any], times: Times) -> Request:
        """What all requests of one event share."""
        return {
            "event_id": event["event_id"],
            "clinic_id": event["clinic_id"],
            "aggregate_id": self.aggregate_id(event),
            "aggregate_version": event["aggregate_version"],
            "occurred_at": event["occurred_at"],
            "requested_at": times.now,
            "correlation_id": event["correlation_id"],
        }

    def _requests(
        self,
        event: Mapping[str, Any],
        roster: Roster,
        remembered: Recipients,
        former: Recipients,
        was_closed: bool,
        times: Times,
        local: LocalTime,
    ) -> list[Request]:
        anchors: Anchors = {}
        own = self._own(event, times)
        event_id = own["event_id"]
        requests: list[Request] = []
        for entry in self.entries_for(event):
            trigger, base, holds, audience, slots, _ = entry
            if (holds is not None and not holds(event)) or (trigger.corrects and not was_closed):
                continue
            recipients = audience(event, roster, remembered, former)
            if not recipients:
                continue
            if local.adjustments:
                slots = self.slots_for(entry, event, local)
            for occurrence, slot_of in enumerate(slots):
                slot = slot_of(event, local, anchors, times)
                if not isinstance(slot, Slot):
                    continue
                due_at, expires_at, spread_seconds, by_their_clocks = slot
                for one in recipients:
                    identity = notification_id(event_id, base["notification_type"], one, occurrence)
                    requests.append(
                        {
                            **base,
                            **own,
                            "notification_id": identity,
                            "recipient": one,
                            "occurrence": occurrence,
                            "due_at": due_at + spread(identity, spread_seconds)
                            if due_at and spread_seconds
                            else due_at,
                            "expires_at": expires_at,
                            "due_zone": local.where.key if by_their_clocks else None,
                        }
                    )
        return requests

    def slots_for(self, entry: CompiledEntry, event: Mapping[str, Any], local: LocalTime) -> tuple[SlotOf, ...]:
        """An entry's slots, as the clinic has them for the event's service."""
        adjustments = local.adjustments.get(entry.base["notification_type"])
        if adjustments is None:
            return entry.slots
        services = frozenset(folded(found) for name in self._services if (found := event[name]))
        adjustment = first_that_fits(adjustments, services)
        return entry.slots if adjustment is None else entry.adjusted(adjustment)

    def entries_for(self, event: Mapping[str, Any]) -> tuple[CompiledEntry, ...]:
        """The entries whose conditions this event is held against, in the catalogue's order. Raises MappingError."""
        asked_by_name = self.event_type == _REQUESTED and event["notification_type"]
        return (self._asked_for(event),) if asked_by_name else self._entries

    def _asked_for(self, event: Mapping[str, Any]) -> CompiledEntry:
        """The entry of a request by name: the type is the caller's choice, recipient and times are in the event."""
        kind = self._types.get(event["notification_type"])
        if kind is None:
            raise MappingError(
                "unknown_notification_type",
                "notification_type",
                f"{len(event['notification_type'])} characters that name no type; use one of docs/catalogue.md",
            )
        if not event["recipient"].startswith(f"{kind.recipient_kind}:"):
            raise MappingError(
                "wrong_recipient_kind",
                "recipient",
                f"{kind.name} goes to {kind.recipient_kind} recipients only; send another type or recipient",
            )
        free_message = self._entries[0]
        return free_message._replace(
            base=self._base(kind), holds=None, audience=lambda asked, *_: (asked["recipient"],)
        )

    def _withdraw(
        self, event: Mapping[str, Any], requests: list[Request], targets: Sequence[str], times: Times
    ) -> None:
        """Lets the first immediate request for each of them withdraw; whoever has none gets one that only withdraws."""
        waiting = dict.fromkeys(targets)
        for request in requests:
            if request["due_at"] is None and request["recipient"] in waiting:
                request["withdraws"] = self._rule.withdraws
                del waiting[request["recipient"]]
        if not waiting:
            return
        requests[:0] = [self._withdrawal(event, one, times) | {"withdraws": self._rule.withdraws} for one in waiting]

    def _settle(self, event: Mapping[str, Any], requests: list[Request], times: Times) -> None:
        """Lets the first request that reaches the patient at once say what she has done, else one that says only that.

        Whatever was known of the aggregate: what she did may be heard before what asked for it.
        """
        patient, field = PATIENT + event["patient_id"], self._rule.settles_through
        own = event["aggregate_version"] - self._rule.settles_earlier
        through = event[field] if field is not None else None
        for request in requests:
            if request["recipient"] == patient and request["due_at"] is None:
                break
        else:
            request = self._withdrawal(event, patient, times)
            requests.insert(0, request)
        request["settled_version"] = own if through is None else through

    def _withdrawal(self, event: Mapping[str, Any], recipient: str, times: Times) -> Request:
        """A request that tells nothing, and withdraws nothing yet."""
        own = self._own(event, times)
        return {
            **self._shared,
            **own,
            **_WITHDRAWAL,
            "notification_id": notification_id(own["event_id"], "withdraw", recipient, 0),
            "recipient": recipient,
            "withdraws": "none",
        }


def compile_mapping(catalog: Catalog) -> dict[str, EventMapping]:
    """A mapping for each event type there is, by the full name of its record."""
    return {contract.record: EventMapping(event_type, catalog) for event_type, contract in EVENT_TYPES.items()}
