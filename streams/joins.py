"""Everything a decision about one request is made from, looked up: the recipient, the clinic, the gates, the event behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from connectors.sealing import DataKey, KeyRing
from schemas.codec import Decoded
from streams.requests import ERASED, Requests
from streams.reservations import Meaning, meaning_of
from streams.rules.given import Given
from streams.rules.person import Person, stranger
from streams.rules.quiet import LONGEST_NIGHT_MS, before_quiet
from streams.rules.reasons import Reason
from streams.rules.terms import Channel
from streams.rules.timing import on_other_clocks, zone
from streams.tables import Clinic, Clinics, Gates, Recipient, Recipients, address_gates
from streams.waiting import ms_of

# An event's own flags: false closes the channel for what this event sends.
_OPT_INS: tuple[tuple[str, Channel], ...] = (("sms_opt_in", "sms"), ("email_opt_in", "email"))


class Joined(NamedTuple):
    """What was found. An event that cannot be read any more, since its recipient was erased, is ERASED, and they are blocked.

    ``meaning``: what it tells, where it must not be told twice.
    """

    given: Given
    event: Decoded
    clinic: Clinic
    key: DataKey
    meaning: Meaning | None


def _answered(person: Person, event: Mapping[str, Any]) -> Person | None:
    """The person as reachable by the one address that the event asks to answer to; None: it names none."""
    data = event.get("data") or {}
    channel, address = data.get("channel"), data.get("address")
    if channel not in ("sms", "email") or not address:
        return None
    return replace(person, addresses={channel: address})


def spread_of(notification_id: str) -> int:
    """0 to 65535, evenly over ids, and always the same for one: ids are hashes."""
    return int(notification_id[-4:], 16)


class Joins:
    """Looks up."""

    def __init__(
        self,
        requests: Requests,
        recipients: Recipients,
        clinics: Clinics,
        gates: Gates,
        sender_classes: Mapping[str, str],
        ring: KeyRing,
    ) -> None:
        self._requests, self._recipients, self._clinics, self._gates = requests, recipients, clinics, gates
        self._sender_classes, self._ring = sender_classes, ring
        # Of hashes of what was told: as lasting as address hashes, and told apart from them by its name.
        self._content_key = bytes.fromhex(ring.address_hash("content", "told"))

    def of(self, request: Mapping[str, Any], overtaken: Reason | None, now_ms: int) -> Joined:
        """The join. Raises RequestError, UnreadableError, CodecError; FatalError."""
        terms = self._requests.terms(request)
        known = self._recipients.get(request["recipient"])
        clinic = self._clinics.get(request["clinic_id"])
        event = self._requests.event(request, known, clinic)
        happened = event.value
        person = stranger(request["recipient"], happened) if known is None else known.person
        if terms.answers and (answered := _answered(person, happened)) is not None:
            person, known_gates = answered, None
        else:
            known_gates = known
        expires_at = request["expires_at"]
        given = Given(
            terms,
            person,
            now_ms,
            None if expires_at is None else ms_of(expires_at),
            overtaken,
            blocked=event is ERASED or self._gates.closed(f"recipient:{request['recipient']}".encode(), now_ms),
            suppressed=self._suppressed(request, known_gates, person, now_ms),
            disabled_types=clinic.disabled_types,
            disabled_channels=clinic.disabled_channels,
            event_opt_outs=[channel for field, channel in _OPT_INS if happened.get(field) is False],
            zone=clinic.zone,
            clinic_quiet=clinic.quiet,
            spread=spread_of(request["notification_id"]),
            limits=clinic.limits,
            deadlines=self._requests.deadlines(request, event, clinic),
        )
        meaning = None if event is ERASED else meaning_of(request, terms, event, self._content_key)
        return Joined(given, event, clinic, clinic.key if known is None else known.key, meaning)

    def due_ms(self, request: Mapping[str, Any]) -> int | None:
        """When it is due, ms since the epoch; None: now. Where it is meant by the recipient's clocks, their zone is looked up."""
        due_at = request["due_at"]
        if due_at is None or request["due_zone"] is None:
            return None if due_at is None else ms_of(due_at)
        known = self._recipients.get(request["recipient"])
        own = None if known is None else known.person.time_zone
        return ms_of(due_at if own is None else on_other_clocks(due_at, zone(request["due_zone"]), zone(own)))

    def before_quiet(self, request: Mapping[str, Any], due_ms: int, now_ms: int) -> int | None:
        """When to send instead what would be due in quiet hours and mean nothing after them; None: when it is due."""
        terms, expires_at = self._requests.terms(request), request["expires_at"]
        if expires_at is None or ms_of(expires_at) - due_ms > LONGEST_NIGHT_MS or terms.critical or terms.answers:
            return None
        known = self._recipients.get(request["recipient"])
        clinic = self._clinics.get(request["clinic_id"])
        if known is None:
            return None  # the event that says how to reach a stranger is opened when it is due
        given = Given(
            terms, known.person, now_ms, ms_of(expires_at), zone=clinic.zone, clinic_quiet=clinic.quiet,
        )  # fmt: skip
        return before_quiet(given, due_ms)

    def _suppressed(
        self, request: Mapping[str, Any], known: Recipient | None, person: Person, now_ms: int
    ) -> tuple[Channel, ...]:
        sender_class = self._sender_classes[request["notification_type"]]
        gates = address_gates(self._ring, person, sender_class) if known is None else known.gates[sender_class]
        return self._gates.suppressed(gates, now_ms)
