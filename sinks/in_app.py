"""In-app: the message is put into the person's inbox in Postgres, many a statement; that it lies there is its delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from connectors.gathering import Gathered
from connectors.inbox_changes import InboxChanges
from connectors.postgres import inbox_arrivals
from connectors.postgres.inbox_arrivals import Arrival, Placed
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.providers.outcome import Accepted
from connectors.sealing import header_of
from connectors.settings import Settings
from sinks.runtime.channel import Shared
from sinks.runtime.patience import patiently
from sinks.runtime.poison import PoisonError
from sinks.runtime.tuning import Tuning

_SAME = (
    *("recipient", "notification_id", "delivery_id", "event_id", "clinic_id", "notification_type", "category", "lane"),
    *("step", "attempt", "template_id", "template_version", "correlation_id", "occurred_at", "locale", "sealed"),
)


class _Opened(NamedTuple):
    pool: Pool
    records: Records
    changes: InboxChanges


class InApp:
    """The channel; see sinks.runtime.channel.Channel."""

    name = "in_app"
    provider = "in_app"
    # Putting twice is putting once, and Postgres always answers: no doubt is ever left.
    idempotent = True
    accepted_is_delivered = True

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._keep_for = timedelta(days=settings.inbox_days)
        self._retry_seconds = tuning.postgres_retry_seconds
        self._putting: Gathered[Arrival, Placed | psycopg.Error] = Gathered(
            self._put, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )
        self._opened: _Opened | None = None

    def use(self, shared: Shared) -> None:
        """Postgres and Kafka, as the process has them."""
        self._opened = _Opened(shared.pool, shared.records, InboxChanges(shared.producer, shared.records.codec))

    def addresses(self, content: Mapping[str, Any]) -> Sequence[str]:
        """The recipient's key."""
        return (content["to"],)

    async def send(self, message: Mapping[str, Any], content: Mapping[str, Any]) -> Accepted:
        """Put it, wake the person's open connections. Raises PoisonError, psycopg.Error for a fault of the message's own."""
        if header_of(message["sealed"]).scope != "r":
            raise PoisonError(
                "no_inbox", "sealed: by a clinic's key; send in-app messages to known people only", "sealed"
            )
        put = await self._putting.submit(arrival_of(message, content, datetime.now(UTC) + self._keep_for))
        if isinstance(put, psycopg.Error):
            raise put
        return await self._accepted(message, put)

    async def find(self, message: Mapping[str, Any], content: Mapping[str, Any], since: datetime) -> Sequence[Accepted]:
        """What lies in the inbox; its connections are woken again, for whoever put it may have died before they were."""
        pool = self._stores.pool
        found = await patiently(
            lambda: inbox_arrivals.placed(pool, message["recipient"], message["notification_id"]),
            retry_seconds=self._retry_seconds,
        )
        return [] if found is None else [await self._accepted(message, found)]

    async def look_up(self, provider_message_id: str, now: datetime) -> None:
        """No receipt is ever overdue: that it lies there is its delivery."""
        return

    async def close(self) -> None:
        """Nothing of its own is open."""

    @property
    def _stores(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("the channel was not told what to use")
        return self._opened

    async def _accepted(self, message: Mapping[str, Any], put: Placed) -> Accepted:
        await self._stores.changes.arrived(message["recipient"], message["notification_id"], put.version)
        return Accepted(message["delivery_id"])

    async def _put(self, arrivals: Sequence[Arrival]) -> list[Placed | psycopg.Error]:
        """All at once; if the batch has a bad one, one by one, so that it fails alone."""
        pool, records, _ = self._stores
        try:
            return [
                *await patiently(lambda: inbox_arrivals.put(pool, records, arrivals), retry_seconds=self._retry_seconds)
            ]
        except psycopg.Error as error:
            if len(arrivals) == 1:
                return [error]
            ends: list[Placed | psycopg.Error] = []
            for arrival in arrivals:
                ends += await self._put([arrival])
            return ends


def arrival_of(message: Mapping[str, Any], content: Mapping[str, Any], keep_until: datetime) -> Arrival:
    """A ChannelMessage as it lies in its inbox: an alert until it expires, anything else ``keep_until``, as history."""
    data = content["data"]
    acknowledge = data.get("acknowledge", "none")
    alert = acknowledge != "none"
    return Arrival(
        **{name: message[name] for name in _SAME},
        group_key=f"{message['aggregate_type']}:{message['aggregate_id']}",
        acknowledge=acknowledge,
        expires_at=(message["expires_at"] if alert else None) or keep_until,
    )
