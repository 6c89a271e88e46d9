"""A notification request as notify reads it: decoded, checked against the catalogue, its event opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from connectors.sealing import SealError, open_sealed
from schemas.codec import Codec, Decoded
from schemas.events import EVENT_TYPES
from schemas.topics import REQUESTED
from streams.catalog import Catalog
from streams.rules.deadlines import Deadline, compile_deadlines
from streams.rules.local_time import local_time
from streams.rules.status import SETTLING
from streams.rules.terms import Terms
from streams.runtime import PoisonError, Record
from streams.runtime.records import Headers
from streams.tables import SYSTEM_CLINIC, Clinic, Clinics, Recipient
from streams.waiting import ms_of

REQUEST = "luxe.pipeline.NotificationRequest"
DELIVERY_STATUS = "luxe.pipeline.DeliveryStatus"
# What is sealed is an event's wire bytes; its own record name is this, then the event's.
_EVENTS = "luxe.events."


class Asked(NamedTuple):
    """A request in hand: its wire bytes, where it lay, how often it was decided before, and the headers its outputs carry on."""

    request: Mapping[str, Any]
    wire: bytes
    source: tuple[str, int, int]
    sequence: int
    headers: Headers

    def __repr__(self) -> str:
        return f"<Asked {self.request['notification_id']}>"

    @property
    def recipient(self) -> bytes:
        """The key of everything about it."""
        found: str = self.request["recipient"]
        return found.encode()


class RequestError(PoisonError):
    """The request cannot be handled, now or later. ``code`` is enumerated; the text shows no value."""

    def __init__(self, code: str, explanation: str) -> None:
        super().__init__(explanation)
        self.code = code


# Stands for an event that nobody can read any more.
ERASED = Decoded(0, "", {})


class Requests:
    """Reads requests."""

    def __init__(self, catalog: Catalog, codec: Codec, clinics: Clinics) -> None:
        self._codec, self._clinics = codec, clinics
        self._terms = {name: Terms.of(kind) for name, kind in catalog.types.items()}
        # Types that only ask for something: not sent any more once it is done.
        self.asking = frozenset(name for name, kind in catalog.types.items() if kind.asks is not None)
        # Types that are for a visit, and the field that names it.
        self._visits = {name: kind.visit for name, kind in catalog.types.items() if kind.visit is not None}
        # Types that only bring a file to what another type tells: nobody is called where they do not arrive.
        self.companions = frozenset(name for name, kind in catalog.types.items() if kind.accompanies is not None)

        self._deadlines = {
            (name, record): compile_deadlines(kind, record)
            for name, kind in catalog.types.items()
            if kind.in_time_for
            for record in {EVENT_TYPES[trigger.event].record for trigger in kind.triggers}
        }

    def decode(self, wire: bytes | None, name: str = REQUEST) -> dict[str, Any]:
        """A NotificationRequest, or another record by name. Raises CodecError, RequestError."""
        decoded = self._codec.decode(wire)
        if decoded.name != name:
            raise RequestError(
                "unexpected_record", f"{decoded.name} where only {name} belongs; send it to its own topic"
            )
        return decoded.value

    def status(self, record: Record) -> dict[str, Any]:
        """A DeliveryStatus. Raises CodecError, RequestError."""
        return self.decode(record.value, DELIVERY_STATUS)

    def moves(self, status: Mapping[str, Any]) -> bool:
        """Does this status (DeliveryStatus) say anything that its plan goes by?"""
        if status["status"] in SETTLING:
            return True
        terms = self._terms.get(status["notification_type"])
        return status["status"] == "sent" and terms is not None and terms.awaits_acceptance

    def arrived(self, record: Record) -> Asked:
        """A request as it lies in its topic. Raises CodecError, RequestError."""
        request = self.decode(record.value)
        source = (record.topic, record.partition, record.offset)
        return Asked(request, record.value or b"", source, 0, record.headers)

    def made(self, request: Mapping[str, Any]) -> Asked:
        """A request of our own."""
        wire = self._codec.encode(REQUESTED, REQUEST, request)
        return self.again(wire, 0, ("", -1, -1))

    def again(self, wire: bytes, sequence: int, source: tuple[str, int, int]) -> Asked:
        """A request that waited. Its trace is long over; correlation and the event's time still hold."""
        request = self.decode(wire)
        correlation = request["correlation_id"]
        headers: Headers = (
            ("correlation_id", correlation.encode() if correlation else b""),
            ("occurred_at_ms", str(ms_of(request["occurred_at"])).encode()),
        )
        return Asked(request, wire, source, sequence, headers)

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """The catalogue's terms of its type. Raises RequestError for a type this catalogue does not have."""
        found = self._terms.get(request["notification_type"])
        if found is None:
            raise RequestError(
                "unknown_notification_type",
                f"a type of {len(request['notification_type'])} characters, from catalogue {request['catalog_version']}, is not "
                "in ours; deploy notify with that catalogue, then replay",
            )
        return found

    def visit_of(self, request: Mapping[str, Any], event: Decoded) -> str | None:
        """The appointment that the request is for, beside its own aggregate; None: for none."""
        field = self._visits.get(request["notification_type"])
        return None if field is None else event.value.get(field)

    def deadlines(self, request: Mapping[str, Any], event: Decoded, clinic: Clinic) -> tuple[Deadline, ...]:
        """What it must come in time for. Raises UnknownZoneError."""
        deadlines_of = self._deadlines.get((request["notification_type"], event.name))
        return () if deadlines_of is None else deadlines_of(event.value, local_time(event.value, clinic.time))

    def event(self, request: Mapping[str, Any], known: Recipient | None, clinic: Clinic) -> Decoded:
        """The event behind the request; ERASED when its recipient was erased since, and nobody can read it any more.

        Raises RequestError: nothing sealed, or sealed with no key of ours.
        """
        sealed = request["sealed"]
        if sealed is None:
            raise RequestError(
                "missing_event", "a request to notify without its sealed event; only a withdrawal has none"
            )
        keys = [clinic.key, self._clinics.get(SYSTEM_CLINIC).key] if known is None else [known.key, clinic.key]
        key = next((key for key in keys if sealed.startswith(key.header)), None)
        if key is None and known is not None:
            system = self._clinics.get(SYSTEM_CLINIC).key
            key = system if sealed.startswith(system.header) else None
        if key is None:
            if sealed[1:2] == b"r":
                return ERASED
            raise RequestError(
                "unreadable_event", "the event is sealed with a key that no clinic of ours has; replay its event"
            )
        try:
            event = self._codec.decode(open_sealed(key, "NotificationRequest", request["notification_id"], sealed))
        except SealError as error:
            raise RequestError("unreadable_event", f"the request's event: {error}") from None
        if not event.name.startswith(_EVENTS):
            raise RequestError(
                "unexpected_record", f"{event.name} is sealed where an event should be; replay its event"
            )
        return event
