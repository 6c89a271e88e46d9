"""What must not be sent any more, looked up just before each call. Pure; ``gates_reader`` keeps it current.

Keys are those of schemas/avro/pipeline/Gate.avsc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.topics import AGGREGATE_GATE_RETENTION_MS

CANCELLED = "cancelled"
WITHDRAWN = "consent_withdrawn"
# A message's fields after whose time it does not go out; they are also the reason.
LATE = ("expires_at", "send_not_after")
# What a message can be for without being of it.
VISIT = "appointment"
# Of no gate that was read: see Gate.of_later_release.
LATER = "later_release"
GateStatus = Literal["suppressed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One closed gate. ``aggregate_version``: versions below are closed, and this one too where the reason is cancelled."""

    reason: str
    aggregate_version: int | None
    expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Gate:
        """From a decoded luxe.pipeline.Gate."""
        return cls(record["reason"], record["aggregate_version"], record["expires_at"], record["created_at"])

    @classmethod
    def of_later_release(cls, now: datetime) -> Gate:
        """What stands for one that only a later release than ours can read. It is pruned by its age as others are."""
        return cls(LATER, None, None, now)

    def closed(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.expires_at is None or now < self.expires_at

    def closes_version(self, version: int) -> bool:
        """Whether it concerns what was decided from this version of the aggregate."""
        limit = self.aggregate_version
        return limit is None or version < limit or (version == limit and self.reason == CANCELLED)

    def calls_off(self, stood_from: int) -> bool:
        """Whether it is a cancellation of this version or a later one. Moved, a visit is still one that forms are for.

        A cancellation's gate names the version before its own, whose notice is to pass.
        """
        limit = self.aggregate_version
        return self.reason == CANCELLED and (limit is None or stood_from <= limit + 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a message is not sent: its final status, and an enumerated reason."""

    status: GateStatus
    reason: str


class LaterGateError(Exception):
    """Whether the message may go out only a later release than this process knows: it is to wait."""


class Gates:
    """All closed gates by key. Written by one thread while another looks up: single dictionary operations only."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._later: set[str] = set()

    @property
    def any_later(self) -> bool:
        """Whether there are gates that only a later release can read."""
        return bool(self._later)

    def __len__(self) -> int:
        return len(self._gates)

    def put(self, key: str, gate: Gate) -> None:
        """Close a gate."""
        if gate.reason == LATER:
            self._later.add(key)
        else:
            self._later.discard(key)
        self._gates[key] = gate

    def lift(self, key: str) -> None:
        """Open a gate; one that was not closed is no error."""
        self._later.discard(key)
        self._gates.pop(key, None)

    def prune(self, now: datetime) -> int:
        """Forget what no longer forbids anything: expired gates, and aggregates' past their topic's retention; how many."""
        oldest = now - timedelta(milliseconds=AGGREGATE_GATE_RETENTION_MS)
        past = [
            key
            for key, gate in list(self._gates.items())
            if not gate.closed(now) or (key.startswith("aggregate:") and gate.created_at < oldest)
        ]
        for key in past:
            self.lift(key)
        return len(past)

    def verdict(self, message: Mapping[str, Any], address_hash: str, now: datetime) -> Verdict | None:
        """Whether this luxe.pipeline.ChannelMessage must not go out now, and why; None: it may.

        Time first: what is late is decided again or dropped whatever else holds. Raises LaterGateError.
        """
        for field in LATE:
            limit = message[field]
            if limit is not None and now >= limit:
                return Verdict("expired", field)
        return (
            self._suppressed(message, address_hash, now)
            or self._withdrawn(message, now)
            or self._cancelled(message, now)
        )

    def _shut(self, key: str, now: datetime) -> Gate | None:
        gate = self._gates.get(key)
        if gate is None or not gate.closed(now):
            return None
        if gate.reason == LATER:
            raise LaterGateError
        return gate

    def _suppressed(self, message: Mapping[str, Any], address_hash: str, now: datetime) -> Verdict | None:
        channel = message["channel"]
        for key in (
            f"recipient:{message['recipient']}",
            f"address:{channel}:{message['sender_class']}:{address_hash}",
            f"address:{channel}:*:{address_hash}",
        ):
            if (gate := self._shut(key, now)) is not None:
                return Verdict("suppressed", gate.reason)
        return None

    def _withdrawn(self, message: Mapping[str, Any], now: datetime) -> Verdict | None:
        scope = message["consent_scope"]
        if scope and self._shut(f"consent:{message['recipient']}:{scope}", now) is not None:
            return Verdict("suppressed", WITHDRAWN)
        for name in message["preferences"]:
            if (gate := self._shut(f"preference:{message['recipient']}:{name}", now)) is not None:
                return Verdict("suppressed", gate.reason)
        return None

    def _cancelled(self, message: Mapping[str, Any], now: datetime) -> Verdict | None:
        for key in (f"notification:{message['notification_id']}", f"delivery:{message['delivery_id']}"):
            if (gate := self._shut(key, now)) is not None:
                return Verdict("cancelled", gate.reason)
        aggregate = f"aggregate:{message['clinic_id']}:{message['aggregate_type']}:{message['aggregate_id']}"
        if (gate := self._shut(aggregate, now)) is not None and gate.closes_version(message["aggregate_version"]):
            return Verdict("cancelled", gate.reason)
        if not message["visit"]:
            return None
        gate = self._shut(f"aggregate:{message['clinic_id']}:{VISIT}:{message['visit']}", now)
        if gate is not None and gate.calls_off(message["visit_version"]):
            return Verdict("cancelled", gate.reason)
        return None
