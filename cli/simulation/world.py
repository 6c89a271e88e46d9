"""The virtual clock, and what it moves: events ► intake ► notify ► a provider ► statuses ► notify, instant after instant.

Nothing here decides: intake and notify are the product's, on the data plane's own batches; the gates before a call are the
sinks'. Time passes from one thing that happens to the next: an event, a timer that is due, a call, a receipt.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.simulation.onlooker import Onlooker
from cli.simulation.provider import Said, VirtualProvider
from cli.simulation.tables import Tables
from connectors.demo.script import Happening, Told, Wished
from connectors.sealing import open_sealed
from connectors.statuses import delivery_status
from connectors.unsubscribing.links import Links
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.topics import AGGREGATE_GATES, DEAD_LETTERS, DECISIONS, GATES, REQUESTED, STATUS
from sinks.runtime.gates import Gate
from streams.app import notify_on
from streams.catalog import Catalog
from streams.intake import intake_on
from streams.runtime import Output, Record
from streams.runtime.virtual import VirtualPartition

_MESSAGE = "luxe.pipeline.ChannelMessage"
_QUERY = "luxe.pipeline.ReceiptQuery"
_CONTENT = "luxe.pipeline.MessageContent"
_ACCEPTS = frozenset({"sent", "delivered", "read"})
# A provider that is asked what became of a text answers that fast.
_ASKED_MS = 1_000
BASE_URL = "https://luxe.example"
_EMAIL_FROM = "care@luxe.example"


class World:
    """See the module. ``counts``: what happened, by a short name."""

    def __init__(
        self, folder: Path, tables: Tables, catalog: Catalog, provider: VirtualProvider, onlookers: Iterable[Onlooker]
    ) -> None:
        self._tables, self._provider, self._onlookers = tables, provider, tuple(onlookers)
        codec = self._codec = tables.codec
        intake, intake_letters = intake_on(
            codec, tables.ring, catalog, recipients=tables.recipients, policies=tables.policies, roster=tables.roster
        )
        notify, notify_letters = notify_on(
            codec,
            tables.ring,
            catalog,
            recipients=tables.recipients,
            policies=tables.policies,
            gates=tables.notify_gates,
            templates=tables.templates,
            links=Links(tables.ring, BASE_URL, unsubscribe_days=180),
            email_from=_EMAIL_FROM,
        )
        self._intake = VirtualPartition(intake.work, intake_letters)
        self._notify = VirtualPartition(notify.work, notify_letters)
        self._event_encoders = _EventEncoders(codec)
        self._encode_status = codec.encoder(STATUS, "luxe.pipeline.DeliveryStatus")
        # (when, order, what): a message whose sink calls then, or a status that is heard then.
        self._coming: list[tuple[int, int, Mapping[str, Any], Said | None]] = []
        self._order = self._offset = 0
        self.now_ms = 0
        self.counts: Counter[str] = Counter()

    @property
    def timers(self) -> int:
        """Timers of both hops that wait now."""
        return self._intake.timers + self._notify.timers

    def run(self, script: Iterable[Happening], until_ms: int) -> Iterable[int]:
        """Lets time pass up to ``until_ms``; yields each instant once it is over. ``script``: in the order of its times."""
        happenings = iter(script)
        ahead = next(happenings, None)
        while True:
            now_ms = self._next_ms(ahead)
            if now_ms is None or now_ms > until_ms:
                return
            self.now_ms = max(now_ms, self.now_ms)
            events: list[Record] = []
            while ahead is not None and ahead.at_ms <= self.now_ms:
                if isinstance(ahead, Wished):
                    self._wished(ahead)
                else:
                    events.append(self._told(ahead))
                ahead = next(happenings, None)
            self._instant(events)
            yield self.now_ms

    def _next_ms(self, ahead: Happening | None) -> int | None:
        found = [at for at in (self._intake.earliest_ms, self._notify.earliest_ms) if at is not None]
        if ahead is not None:
            found.append(ahead.at_ms)
        if self._coming:
            found.append(self._coming[0][0])
        return min(found, default=None)

    def _instant(self, events: list[Record]) -> None:
        """Everything of one instant, until nothing of it is left."""
        while True:
            records: list[Record] = []
            while self._coming and self._coming[0][0] <= self.now_ms:
                _, _, message, said = heapq.heappop(self._coming)
                if said is None:
                    self._call(message)
                else:
                    records.append(self._status(message, said))
            if events or _is_due(self._intake, self.now_ms):
                outputs, events = self._intake.run(events, self.now_ms), []
                self.counts["intake batches"] += 1
                records += self._routed(outputs, events)
            if records or _is_due(self._notify, self.now_ms):
                outputs = self._notify.run(records, self.now_ms)
                self.counts["notify batches"] += 1
                self._routed(outputs, events)
            elif not events and not (self._coming and self._coming[0][0] <= self.now_ms):
                return

    # -- what happens ---------------------------------------------------------------------------------------------------

    def _wished(self, wished: Wished) -> None:
        self._tables.put_person(wished.cells, self.now_ms)
        for onlooker in self._onlookers:
            onlooker.wished(wished.cells, self.now_ms)

    def _told(self, told: Told) -> Record:
        self.counts["events"] += 1
        for onlooker in self._onlookers:
            onlooker.event(told.event_type, told.value, self.now_ms)
        topic, encode = self._event_encoders.of(told.event_type)
        return self._record(topic, told.value["aggregate_id"].encode(), encode(told.value))

    def _call(self, message: Mapping[str, Any]) -> None:
        """The sink's part: the gates just before the call, the call, and what comes of it."""
        key = self._tables.key_of(message["recipient"], message["clinic_id"])
        plain = open_sealed(key, "ChannelMessage", message["delivery_id"], message["sealed"])
        content = self._codec.decode_content(_CONTENT, plain)
        digest = self._tables.ring.address_hash(message["channel"], content["to"])
        verdict = self._tables.gates.verdict(message, digest, _at(self.now_ms))
        if verdict is not None:
            self.counts[f"stopped before the call: {verdict.status}"] += 1
            self._expect(self.now_ms, message, Said(0, verdict.status, {"reason": verdict.reason}))
            return
        answers = self._provider.answer(message)
        accepted = answers[0].status in _ACCEPTS
        self.counts["calls"] += 1
        for onlooker in self._onlookers:
            onlooker.call(message, content, accepted, self.now_ms)
        for said in answers:
            self._expect(self.now_ms + said.after_ms, message, said)

    def _status(self, message: Mapping[str, Any], said: Said) -> Record:
        at = _at(self.now_ms)
        status = delivery_status(message, said.status, status_at=at, recorded_at=at, provider="virtual", **said.more)
        self.counts["statuses"] += 1
        for onlooker in self._onlookers:
            onlooker.status(status, self.now_ms)
        return self._record(STATUS, message["recipient"].encode(), self._encode_status(status))

    # -- what comes of it -----------------------------------------------------------------------------------------------

    def _routed(self, outputs: Iterable[Output], events: list[Record]) -> list[Record]:
        """Takes each output where it belongs; returns those that are notify's, and adds events to ``events``."""
        requests: list[Record] = []
        for output in outputs:
            topic = output.topic
            if topic == REQUESTED:
                requests.append(self._record(topic, output.key, output.value, output.headers or ()))
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.request(value, self.now_ms)
            elif topic == DECISIONS:
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.decision(value, self.now_ms)
            elif topic in (AGGREGATE_GATES, GATES):
                self._tables.gates.put((output.key or b"").decode(), Gate.of(self._codec.decode(output.value).value))
            elif topic == DEAD_LETTERS:
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.letter(value, self.now_ms)
            elif topic.startswith("events."):
                events.append(self._record(topic, output.key, output.value, output.headers or ()))
                self.counts["alarms"] += 1
            else:
                self._delivers(output)
        return requests

    def _delivers(self, output: Output) -> None:
        decoded = self._codec.decode(output.value)
        if decoded.name != _MESSAGE:
            self.counts["receipts asked for"] += 1  # and the provider knows no more than it said
            return
        message = decoded.value
        for onlooker in self._onlookers:
            onlooker.message(message, self.now_ms)
        self._expect(self.now_ms + self._provider.call_after_ms(message), message, None)

    def _expect(self, at_ms: int, message: Mapping[str, Any], said: Said | None) -> None:
        self._order += 1
        heapq.heappush(self._coming, (at_ms, self._order, message, said))

    def _record(
        self, topic: str, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()
    ) -> Record:
        self._offset += 1
        return Record(topic, 0, self._offset, key, value, self.now_ms, headers)


class _EventEncoders:
    """An encoder for each event type, made when it is first told."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._found: dict[str, tuple[str, Any]] = {}

    def of(self, event_type: str) -> tuple[str, Any]:
        """Topic and encoder of an event type. Raises KeyError for none of ours."""
        found = self._found.get(event_type)
        if found is None:
            contract = EVENT_TYPES[event_type]
            found = self._found[event_type] = (contract.topic, self._codec.encoder(contract.topic, contract.record))
        return found


def _is_due(partition: VirtualPartition, now_ms: int) -> bool:
    return partition.earliest_ms is not None and partition.earliest_ms <= now_ms


def _at(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)
