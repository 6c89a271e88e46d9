"""The app of the second hop, put together: views, tables, what decides and what renders."""

from __future__ import annotations

import logging
import time

from connectors.metrics.counting import Read
from connectors.metrics.streamed import OUTCOMES
from connectors.sealing import KeyCache, KeyRing
from connectors.settings import Settings
from connectors.unsubscribing.links import Links
from schemas.codec import Codec
from schemas.registry import open_registry
from schemas.topics import GATES, NOTIFY_STATE, POLICIES, RECIPIENTS, REQUESTED, STATUS, TEMPLATES
from streams.catalog import Catalog
from streams.dead_letters import DeadLetters
from streams.decisions import Decisions
from streams.digests import Digests
from streams.joins import Joins
from streams.messages import Messages
from streams.notify import Notify
from streams.requests import Requests
from streams.runtime import RuntimeApp, View, build_app
from streams.runtime.stream import Batches
from streams.tables import Clinics, Gates, Lookup, Recipients, Templates

log = logging.getLogger(__name__)

_COUNTS_SECONDS = 60.0  # between two lines of counts in the log


def notify_on(
    codec: Codec,
    ring: KeyRing,
    catalog: Catalog,
    *,
    recipients: Lookup,
    policies: Lookup,
    gates: Lookup,
    templates: Templates,
    links: Links,
    email_from: str,
) -> tuple[Notify, DeadLetters]:
    """The agent's work and its dead letters, over these tables."""
    keys = KeyCache(ring)
    clinics = Clinics(policies, codec, keys)
    requests = Requests(catalog, codec, clinics)
    sender_classes = {name: kind.sender_class for name, kind in catalog.types.items()}
    joins = Joins(
        requests, Recipients(recipients, codec, keys, ring), clinics, Gates(gates, codec), sender_classes, ring
    )
    notify = Notify(
        codec,
        requests,
        joins,
        Messages(catalog, templates, codec, links, email_from),
        Decisions(codec, catalog.version),
        Digests(catalog, codec),
    )
    return notify, DeadLetters("notify", codec, clinics)


def build_notify(settings: Settings) -> RuntimeApp:
    """The app, ready to run. Raises CatalogError, KeyRingError, RegistryError."""
    auth = settings.schema_registry_auth
    codec = Codec(open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None))
    templates = Templates(codec)
    recipients = View(RECIPIENTS, partitions="assigned", kept="disk")
    policies, gates = View(POLICIES), View(GATES)
    texts = View(TEMPLATES, on_change=templates.changed)
    ring = KeyRing.load(settings.kek_path)
    notify, dead_letters = notify_on(
        codec,
        ring,
        Catalog.load(),
        recipients=recipients,
        policies=policies,
        gates=gates,
        templates=templates,
        links=Links.of(settings, ring),
        email_from=settings.email_from,
    )
    app = build_app(
        "notify",
        inputs=(REQUESTED, STATUS),
        changelog=NOTIFY_STATE,
        settings=settings,
        dead_letter=dead_letters,
        partitions=settings.kafka_partitions,
        views=(recipients, policies, gates, texts),
    )

    app.sources.append(
        Read(OUTCOMES, lambda: [(("notify", outcome), count) for outcome, count in notify.counts.copy().items()])
    )

    @app.agent
    async def decide_and_render(batches: Batches) -> None:
        told = time.monotonic()
        async for batch in batches:
            notify.work(batch)
            if time.monotonic() - told > _COUNTS_SECONDS:
                told = time.monotonic()
                log.info("since start: %s", dict(notify.counts))

    return app
