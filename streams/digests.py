"""Digests: what was collected for a recipient, told in one message at their hour.

Rows: ``q`` + notification id → Timer, the collected request; ``g`` + recipient, digest's type and notification id, to find it by.
Timer ``g`` + recipient and digest's type. What is withdrawn meanwhile is found by its waiting row, as anything that waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from connectors.sealing import DataKey, seal
from schemas.codec import Codec
from schemas.ids import notification_id
from schemas.topics import event_topic
from streams.catalog import Catalog
from streams.requests import Asked
from streams.rules.terms import CHANNELS, Channel, Terms

EVENT_TYPE = "notification.requested"
EVENT = "luxe.events.NotificationRequested"
# Which type tells what was collected: its own sender, consents and texts.
OF_PATIENTS, OF_STAFF = "patient_digest", "staff_digest"
OF_DIGESTS = "digest"  # their aggregates' type


class Item(NamedTuple):
    """Something collected that may be sent: what was asked, the channels it may use, and what it is called at level 1."""

    asked: Asked
    channels: frozenset[Channel]
    title: str


def digest_type(terms: Terms) -> str:
    """The type of the digest that notifications of these terms go into."""
    return OF_PATIENTS if terms.of_patients else OF_STAFF


class Digests:
    """Makes the request for a digest."""

    def __init__(self, catalog: Catalog, codec: Codec) -> None:
        self._codec, self._version = codec, catalog.version
        self._kinds = {name: catalog.types[name] for name in (OF_PATIENTS, OF_STAFF)}

    def request(self, name: str, items: Sequence[Item], key: DataKey, now: Any) -> dict[str, Any]:
        """A request of our own, with a sealed event that says what was collected. ``now``: aware, UTC."""
        first, kind = items[0].asked.request, self._kinds[name]
        event_id = first["notification_id"]
        identity = notification_id(event_id, name, first["recipient"], 0)
        said = {
            "event_id": event_id,
            "event_type": EVENT_TYPE,
            "occurred_at": now,
            "schema_version": "1",
            "source": "luxe-notify",
            "correlation_id": None,
            "clinic_id": first["clinic_id"],
            "aggregate_id": event_id,
            "aggregate_version": 1,
            "metadata": {},
            "request_id": event_id,
            "recipient": first["recipient"],
            "notification_type": name,
            "title": None,
            "message": None,
            "message_level": 1,
            "data": {
                "digest_count": str(len(items)),
                "digest_items": "\n".join(f"- {title}" for title in dict.fromkeys(item.title for item in items)),
            },
            "send_at": None,
            "expires_at": None,
            "urgent": False,
            "requested_by": "luxe-notify",
        }
        wire = self._codec.encode(event_topic(EVENT_TYPE), EVENT, said)
        return {
            "notification_id": identity,
            "kind": "notify",
            "event_id": event_id,
            "event_type": EVENT_TYPE,
            "notification_type": name,
            "recipient": first["recipient"],
            "clinic_id": first["clinic_id"],
            "aggregate_type": OF_DIGESTS,
            "aggregate_id": event_id,
            "aggregate_version": 1,
            "occurrence": 0,
            "category": kind.category,
            "lane": kind.lane,
            "withdraws": "none",
            "due_at": None,
            "expires_at": min(_expiries(items), default=None),
            "occurred_at": now,
            "requested_at": now,
            "correlation_id": None,
            "catalog_version": self._version,
            "sealed": seal(key, "NotificationRequest", identity, wire),
        }


def closed_to(items: Sequence[Item]) -> tuple[Channel, ...]:
    """Channels that one of them at least may not use: their digest may not either."""
    return tuple(channel for channel in CHANNELS if any(channel not in item.channels for item in items))


def _expiries(items: Sequence[Item]) -> list[Any]:
    found: list[Mapping[str, Any]] = [item.asked.request for item in items]
    return [request["expires_at"] for request in found if request["expires_at"] is not None]
