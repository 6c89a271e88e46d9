"""What came of it, read from Kafka and from the provider once all is settled."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests

from connectors.kafka import read_to_end
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import DEAD_LETTERS, DECISIONS, STATUS
from tests.integration.hammer.crowd import Patient
from tests.integration.hammer.findings import Act

SETTLE_SECONDS = 120.0
PAGE = 1_000
# A sink's own ends; receipts come later and are not waited for.
ENDS = frozenset({"sent", "failed", "unknown", "suppressed", "cancelled", "expired"})
# What a no is the reason of. Others (a rate limit, say) would be no word about obeying it.
OBEYING = frozenset({"channel_off", "opted_out", "category_opt_out", "address_suppressed", "no_consent", "unreachable"})


@dataclass(slots=True)
class Found:
    """Acts by patient; how often each reason, and each sink's end, was told."""

    decided: dict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    sent: dict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    events: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    ended: dict[str, tuple[str, str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0

    @property
    def ends(self) -> Counter[tuple[str, str]]:
        """How deliveries ended: status and reason."""
        return Counter(self.ended.values())


def settled(settings: Settings, patients: Iterable[Patient], events: Iterable[str]) -> Found:
    """Once each event is decided, and each message that was decided has ended."""
    by_recipient = {patient.recipient: patient for patient in patients}
    wanted = set(events)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = _read(settings, by_recipient)
        if wanted <= found.events and found.messages <= found.ended.keys():
            break
        assert time.monotonic() < deadline, (len(wanted - found.events), len(found.messages - found.ended.keys()))
        time.sleep(1)
    addresses = {patient.address: patient for patient in by_recipient.values()}
    for message in _accepted(settings.loopback_url or ""):
        if (patient := addresses.get(message["to"])) is not None:
            found.sent[patient.recipient].append(Act(datetime.fromisoformat(message["accepted_at"]).timestamp(), True))
    return found


def decided_for(settings: Settings, patients: Iterable[Patient], events: Iterable[str]) -> None:
    """Once each of these events is decided, and each of these patients has one that goes by her channel."""
    wanted = set(events)
    by_recipient = {patient.recipient: patient for patient in patients}
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = _read(settings, by_recipient)
        if wanted <= found.events and all(any(act.goes for act in found.decided[one]) for one in by_recipient):
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _read(settings: Settings, by_recipient: dict[str, Patient]) -> Found:
    codec = Codec(FileRegistry())
    found = Found()
    for message in read_to_end(settings, [DECISIONS, STATUS, DEAD_LETTERS]):
        value = codec.decode(message.value()).value
        if message.topic() == DEAD_LETTERS:
            found.dead_letters += 1
        elif value["recipient"] not in by_recipient:
            continue
        elif message.topic() == DECISIONS:
            _note_decision(found, value, message.timestamp()[1] / 1000, by_recipient[value["recipient"]])
        elif value["status"] in ENDS and value["provider_event_id"] is None:
            found.ended.setdefault(value["delivery_id"], (value["status"], value["reason"]))
    return found


def _note_decision(found: Found, value: dict[str, Any], written: float, patient: Patient) -> None:
    """At the later of what it says itself and of when it was written."""
    found.events.add(value["event_id"])
    found.reasons[value["reason"]] += 1
    at = max(written, value["decided_at"].timestamp())
    goes = value["outcome"] == "deliver" and any(step["channel"] == patient.channel for step in value["steps"])
    vetoes = {rule["reason"] for rule in value["rules"]} | {value["reason"]}
    if goes or vetoes & OBEYING:
        found.decided[patient.recipient].append(Act(at, goes))
    if value["outcome"] == "deliver":
        found.messages |= {
            step["delivery_id"] for step in value["steps"] if step["step"] == 0 and step["channel"] in ("sms", "email")
        }


def _accepted(url: str) -> Iterable[dict[str, Any]]:
    cursor: int | None = 0
    while cursor is not None:
        page = requests.get(f"{url}/messages", params={"limit": str(PAGE), "cursor": str(cursor)}, timeout=30).json()
        cursor = page["next_cursor"]
        yield from page["messages"]


Say = Callable[[str], None]
