"""The first hop: an event becomes one request for each notification and recipient, with what it withdraws.

Each event's requests, its gate, what is remembered of its aggregate and its place in the log change together, in the transaction
that the batch is part of. What cannot be mapped, or came too late, is a dead letter in it; its neighbours go on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

from connectors.metrics.counting import Read
from connectors.metrics.streamed import OUTCOMES
from connectors.sealing import KeyCache, KeyRing, seal
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import open_registry
from schemas.topics import AGGREGATE_GATES, EVENT_TOPICS, INTAKE_STATE, POLICIES, RECIPIENTS, REQUESTED
from streams.catalog import Catalog
from streams.dead_letters import DeadLetters
from streams.event_checks import NOT_IN_FORCE, BadEventError, EventChecks
from streams.forgetting import forget, remember
from streams.headers import caused_by
from streams.roster import StaffRoster
from streams.rules.audience import Roster
from streams.rules.mapping import EventMapping, Mapped, compile_mapping
from streams.rules.memory import AggregateMemory
from streams.rules.slots import Times, times_at
from streams.runtime import Batch, Event, Record, RuntimeApp, View, build_app
from streams.runtime.stream import Batches
from streams.sealing_keys import SealingKeys
from streams.tables import Clinics, Lookup

log = logging.getLogger(__name__)

GATE = "luxe.pipeline.Gate"
REQUEST = "luxe.pipeline.NotificationRequest"
_COUNTS_SECONDS = 60.0  # between two lines of counts in the log


class Intake:
    """The agent's work. ``counts``: what became of events since the process began, by a short name."""

    def __init__(self, codec: Codec, catalog: Catalog, clinics: Clinics, keys: SealingKeys, roster: Roster) -> None:
        self._clinics, self._keys, self._roster = clinics, keys, roster
        self._checks = EventChecks(codec, compile_mapping(catalog))
        self._request = codec.encoder(REQUESTED, REQUEST)
        self._gate = codec.encoder(AGGREGATE_GATES, GATE)
        self._encode = codec.encode
        self.counts: Counter[str] = Counter()

    def work(self, batch: Batch) -> None:
        """One partition's batch, inside its transaction."""
        times = times_at(batch.now_ms)
        for record in batch.records:
            with batch.event(record) as event:
                self._map(event, record, times)
        for timer in batch.due:
            with batch.event(timer) as event:
                forget(event, timer, batch.now_ms)

    def _map(self, event: Event, record: Record, times: Times) -> None:
        mapping, happened = self._checks.read(record, times.now)
        clinic = self._clinics.get(happened["clinic_id"])
        row = "\0".join((happened["clinic_id"], mapping.aggregate_type, mapping.aggregate_id(happened))).encode()
        kept = event.get(row)
        memory = None if kept is None else AggregateMemory.decoded(kept)
        mapped = mapping.map(happened, memory, self._roster, times, clinic.time)
        self.counts[mapped.outcome] += 1
        if mapped.outcome in NOT_IN_FORCE:
            with event.part(record):  # a dead letter, but what it says of its aggregate is remembered
                raise BadEventError(*NOT_IN_FORCE[mapped.outcome])
        else:
            self._send(event, record, mapping, happened, mapped)
        if mapped.memory is not memory:
            event.put(row, mapped.memory.encoded())
        if kept is None:
            remember(event, row, times.now_ms)

    def _send(
        self, event: Event, record: Record, mapping: EventMapping, happened: dict[str, Any], mapped: Mapped
    ) -> None:
        headers = caused_by(record, happened)
        contents: dict[str, bytes | None] = {}
        for request in mapped.requests:
            recipient = request["recipient"]
            if request["kind"] == "notify":
                if recipient not in contents:
                    copy = mapping.copy_for(happened, recipient)
                    contents[recipient] = (
                        record.value if copy is None else self._encode(mapping.topic, mapping.record, copy)
                    )
                key = self._keys.of(recipient, request["clinic_id"])
                content = contents[recipient] or b""
                request["sealed"] = seal(key, "NotificationRequest", request["notification_id"], content)
            event.produce(REQUESTED, recipient.encode(), self._request(request), headers)
        if mapped.gate is not None:
            event.produce(AGGREGATE_GATES, mapped.gate["gate_key"].encode(), self._gate(mapped.gate), headers)


def intake_on(
    codec: Codec, ring: KeyRing, catalog: Catalog, *, recipients: Lookup, policies: Lookup, roster: Roster
) -> tuple[Intake, DeadLetters]:
    """The agent's work and its dead letters, over these tables."""
    keys = KeyCache(ring)
    clinics = Clinics(policies, codec, keys)
    intake = Intake(codec, catalog, clinics, SealingKeys(recipients, codec, keys, clinics), roster)
    return intake, DeadLetters("intake", codec, clinics)


def build_intake(settings: Settings) -> RuntimeApp:
    """The app, ready to run. Raises CatalogError, KeyRingError, RegistryError."""
    auth = settings.schema_registry_auth
    codec = Codec(open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None))
    ring, roster = KeyRing.load(settings.kek_path), StaffRoster(codec)
    # Whole, and in memory: an event's partition says nothing of where its recipients lie, and the roster needs every row read.
    recipients, policies = View(RECIPIENTS, on_change=roster.changed), View(POLICIES)
    intake, dead_letters = intake_on(
        codec, ring, Catalog.load(), recipients=recipients, policies=policies, roster=roster
    )
    app = build_app(
        "intake",
        inputs=EVENT_TOPICS,
        changelog=INTAKE_STATE,
        settings=settings,
        dead_letter=dead_letters,
        partitions=settings.kafka_partitions,
        views=(recipients, policies),
    )

    app.sources.append(
        Read(OUTCOMES, lambda: [(("intake", outcome), count) for outcome, count in intake.counts.copy().items()])
    )

    @app.agent
    async def map_events(batches: Batches) -> None:
        told = time.monotonic()
        async for batch in batches:
            intake.work(batch)
            if time.monotonic() - told > _COUNTS_SECONDS:
                told = time.monotonic()
                log.info("since start: %s", dict(intake.counts))

    return app
