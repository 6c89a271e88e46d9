"""The work of one event, the same in every contestant: decode, look up, render two messages, encode two outputs."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from typing import Any

import fastavro
from jinja2 import Environment

_STRINGS = [
    "event_id",
    "event_type",
    "version",
    "source",
    "appointment_id",
    "patient_id",
    "patient_name",
    "patient_phone",
    "service",
    "provider",
    "provider_id",
    "appointment_time",
    "status",
]
EVENT = fastavro.parse_schema(
    {
        "type": "record",
        "name": "AppointmentCreated",
        "fields": [
            *({"name": name, "type": "string"} for name in _STRINGS),
            {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "appointment_date", "type": {"type": "int", "logicalType": "date"}},
            {"name": "patient_email", "type": ["null", "string"]},
            {"name": "duration", "type": "int"},
            {"name": "sms_opt_in", "type": "boolean"},
            {"name": "email_opt_in", "type": "boolean"},
            {"name": "metadata", "type": {"type": "map", "values": "string"}},
        ],
    }
)
_OUT_STRINGS = [
    "notification_id",
    "event_id",
    "patient_id",
    "type",
    "category",
    "priority",
    "channel",
    "template_id",
    "recipient",
    "locale",
    "body",
]
MESSAGE = fastavro.parse_schema(
    {
        "type": "record",
        "name": "ChannelMessage",
        "fields": [
            *({"name": name, "type": "string"} for name in _OUT_STRINGS),
            {"name": "template_version", "type": "int"},
            {"name": "subject", "type": ["null", "string"]},
            {"name": "html", "type": ["null", "string"]},
            {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
)

_TEMPLATES = Environment(autoescape=True)
_CHANNELS = (
    (
        "sms",
        _TEMPLATES.from_string(
            "Hi {{ first_name }}! Your appointment is confirmed for {{ date }} at {{ time }}. Reply STOP to opt out."
        ),
    ),
    (
        "email",
        _TEMPLATES.from_string(
            "<html><body><div>Hi {{ first_name }}! Your {{ service }} appointment is confirmed for {{ date }} at {{ time }} "
            "with {{ provider }}</div><a href='{{ url }}'>Unsubscribe</a></body></html>"
        ),
    ),
)
_PREFERENCES: dict[str, Any] = {
    "p1": {"language": "en-US", "channels": {"sms": {"enabled": True}, "email": {"enabled": True}}}
}


def encoded_event() -> bytes:
    """One event's bytes."""
    return _encode(
        EVENT,
        {
            **dict.fromkeys(_STRINGS, "x"),
            "event_id": str(uuid.UUID(int=7)),
            "patient_id": "p1",
            "patient_name": "Ada Example",
            "patient_phone": "+15550100000",
            "appointment_time": "14:00",
            "timestamp": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            "appointment_date": dt.date(2026, 12, 1),
            "patient_email": "ada@example.com",
            "duration": 30,
            "sms_opt_in": True,
            "email_opt_in": True,
            "metadata": {},
        },
    )


def _encode(schema: Any, value: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)
    return buffer.getvalue()


def work(event: bytes) -> list[bytes]:
    """The outputs of one event."""
    decoded: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(event), EVENT, None)  # type: ignore[assignment]
    preferences = _PREFERENCES[decoded["patient_id"]]
    context = {
        "first_name": decoded["patient_name"].split()[0],
        "date": decoded["appointment_date"].strftime("%b %d, %Y"),
        "time": decoded["appointment_time"],
        "service": decoded["service"],
        "provider": decoded["provider"],
        "url": "https://example.com/unsubscribe?token=abc",
    }
    outputs: list[bytes] = []
    for channel, template in _CHANNELS:
        if preferences["channels"][channel]["enabled"]:
            message = {
                "notification_id": str(uuid.uuid5(uuid.NAMESPACE_OID, decoded["event_id"] + channel)),
                "event_id": decoded["event_id"],
                "patient_id": decoded["patient_id"],
                "type": "appointment_confirmation",
                "category": "appointment",
                "priority": "high",
                "channel": channel,
                "template_id": "appointment_confirmation",
                "recipient": decoded["patient_phone"],
                "locale": "en-US",
                "body": template.render(context),
                "template_version": 1,
                "subject": None,
                "html": None,
                "created_at": decoded["timestamp"],
            }
            outputs.append(_encode(MESSAGE, message))
    return outputs
