"""How a code gets to its address: as an event that our own pipeline turns into a message, like every other."""

from __future__ import annotations

import uuid
from datetime import datetime

import psycopg

from connectors.postgres import outbox
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from schemas.events import EVENT_TYPES

EVENT_TYPE = "notification.requested"
# The catalogue's type: to one address, though it is not verified yet; essential, and at once.
NOTIFICATION_TYPE = "address_verification"
SOURCE = "luxe-api"


async def ask_for_code(
    connection: psycopg.AsyncConnection,
    records: Records,
    recipient: Recipient,
    *,
    channel: str,
    address: str,
    code: str,
    expires_at: datetime,
    now: datetime,
    requested_by: str,
) -> list[int]:
    """Add the event to the caller's transaction; ids of the outbox rows.

    The event's topic keeps the code in clear, as it does every event's fields; it is good for minutes, and for one address.
    """
    name, topic = EVENT_TYPES[EVENT_TYPE]
    request_id = str(uuid.uuid4())
    event = {
        "event_id": str(uuid.uuid4()),
        "event_type": EVENT_TYPE,
        "occurred_at": now,
        "schema_version": "1.0",
        "source": SOURCE,
        "correlation_id": None,
        "clinic_id": recipient.clinic_id,
        "aggregate_id": request_id,
        "aggregate_version": 1,
        "metadata": {},
        "request_id": request_id,
        "recipient": recipient.recipient,
        "notification_type": NOTIFICATION_TYPE,
        "title": None,
        "message": None,
        "message_level": 1,
        "data": {"code": code, "channel": channel, "address": address},
        "send_at": None,
        "expires_at": expires_at,
        "urgent": True,
        "requested_by": requested_by,
    }
    value = records.codec.encode(topic, name, event)
    return [await outbox.add(connection, topic, request_id.encode(), value)]
