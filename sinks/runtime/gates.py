"""What must not be sent any more, looked up just before each call. Pure; ``gates_reader`` keeps it current from the log.

Keys are those of schemas/avro/pipeline/Gate.avsc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.topics import AGGREGATE_GATE_RETENTION_MS

CANCELLED = "cancelled"
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

    def closed(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.expires_at is None or now < self.expires_at

    def closes_version(self, version: int) -> bool:
        """Whether it concerns what was decided from this version of the aggregate."""
        limit = self.aggregate_version
        return limit is None or version < limit or (version == limit and self.reason == CANCELLED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a message is not sent: its final status, and an enumerated reason."""

    status: GateStatus
    reason: str


class Gates:
    """All closed gates by key. Written by one thread while another looks up: single dictionary operations only."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    def put(self, key: str, gate: Gate) -> None:
        """Close a gate."""
        self._gates[key] = gate

    def lift(self, key: str) -> None:
        """Open a gate; one that was not closed is no error."""
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

        Time first: what is late is decided again or dropped whatever else holds.
        """
        for field in ("expires_at", "send_not_after"):
            limit = message[field]
            if limit is not None and now >= limit:
                return Verdict("expired", field)
        return (
            self._suppressed(message, address_hash, now)
            or self._withdrawn(message, now)
            or self._cancelled(message, now)
        )

    def _suppressed(self, message: Mapping[str, Any], address_hash: str, now: datetime) -> Verdict | None:
        channel = message["channel"]
        for key in (
            f"recipient:{message['recipient']}",
            f"address:{channel}:{message['sender_class']}:{address_hash}",
            f"address:{channel}:*:{address_hash}",
        ):
            gate = self._gates.get(key)
            if gate is not None and gate.closed(now):
                return Verdict("suppressed", gate.reason)
        return None

    def _withdrawn(self, message: Mapping[str, Any], now: datetime) -> Verdict | None:
        scope = message["consent_scope"]
        gate = self._gates.get(f"consent:{message['recipient']}:{scope}") if scope else None
        if gate is not None and gate.closed(now):
            return Verdict("suppressed", "consent_withdrawn")
        for name in message["preferences"]:
            gate = self._gates.get(f"preference:{message['recipient']}:{name}")
            if gate is not None and gate.closed(now):
                return Verdict("suppressed", gate.reason)
        return None

    def _cancelled(self, message: Mapping[str, Any], now: datetime) -> Verdict | None:
        for key in (f"notification:{message['notification_id']}", f"delivery:{message['delivery_id']}"):
            gate = self._gates.get(key)
            if gate is not None and gate.closed(now):
                return Verdict("cancelled", gate.reason)
        gate = self._gates.get(
            f"aggregate:{message['clinic_id']}:{message['aggregate_type']}:{message['aggregate_id']}"
        )
        if gate is not None and gate.closed(now) and gate.closes_version(message["aggregate_version"]):
            return Verdict("cancelled", gate.reason)
        return None
