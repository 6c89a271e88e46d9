"""A notification asked for by hand, from its body to its event: whose it is, whether its data fits, and the same once only.

What the HTTP route and ``luxe send`` have in common. A free message is level 3 whoever sends it: it lies in the portal, and
texts, emails and push messages only say that there is one (docs/adr/0019-asking-by-hand.md).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple, Self

import psycopg
from pydantic import AfterValidator, Field, model_validator

from api.identity import Identity
from api.preference_model import Instant, Strict
from api.problems import Problem, unusable
from connectors.postgres import asked as store
from connectors.postgres import outbox, recipient_rows, templates
from connectors.postgres.asked import Asked
from connectors.postgres.records import Records
from schemas.events import EVENT_TYPES
from schemas.ids import derived_id
from schemas.shapes import Violation, shape_of
from streams.requesting import REQUESTED, Expected, data_faults, expected, fields_of, is_marketing, type_named

SOURCE = "luxe-api"
# Further off nobody knows who will still want it; state is kept for no longer either.
FURTHEST = timedelta(days=400)
# An event's own column.
MAX_ACTOR_CHARACTERS = 128
FREE_MESSAGE_LEVEL = 3

Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Value = Annotated[str, Field(max_length=2000)]


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("send a text with something in it")
    return text


class NewNotification(Strict):
    """One notification for one recipient: a type of the catalogue with its data, or a free message."""

    recipient: Annotated[str, Field(pattern=r"^(patient|staff):[^\x00-\x1f\x7f:]{1,120}$")] = Field(
        description="patient:<id> or staff:<id>."
    )
    notification_type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")] | None = Field(
        None, description="A type of the catalogue (docs/catalogue.md); null: a free message."
    )
    data: dict[Key, Value] = Field(
        {},
        max_length=50,
        description="What the type's template says, each as text: dates as YYYY-MM-DD, times as HH:MM.",
    )
    title: Annotated[str, Field(max_length=200), AfterValidator(_said)] | None = Field(
        None, description="Of a free message."
    )
    message: Annotated[str, Field(max_length=2000), AfterValidator(_said)] | None = Field(
        None,
        description="A free message, as plain text. It is read behind sign-in; other channels say that it waits there.",
    )
    urgent: bool = Field(False, description="A free message to a patient: on every channel at once, before others.")
    send_at: Instant | None = Field(None, description="null: now.")
    expires_at: Instant | None = Field(None, description="After that it is not sent any more; null: three days.")
    correlation_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="Carried to every record that comes of it."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.notification_type is None) == (self.message is None):
            raise ValueError("send one of notificationType and message")
        if self.notification_type is None and self.data:
            raise ValueError("data belongs to a notificationType; leave it out of a free message")
        if self.notification_type is not None and (self.title is not None or self.urgent):
            raise ValueError("title and urgent belong to a free message; a type has its own words and lane")
        if self.send_at is not None and self.expires_at is not None and self.expires_at <= self.send_at:
            raise ValueError("expiresAt lies before sendAt; send a later one")
        return self


class Made(NamedTuple):
    """The request as stored. ``outbox_ids``: what has to be in Kafka before it is answered. ``again``: it was there before."""

    asked: Asked
    outbox_ids: list[int]
    again: bool


async def ask(
    connection: psycopg.AsyncConnection,
    records: Records,
    wanted: NewNotification,
    key: str,
    identity: Identity,
    now: datetime,
) -> Made:
    """Store the request and its event in the caller's transaction, unless they are there; nothing is sent twice for one key.

    ``now``: in whole milliseconds. Raises Problem: 403 for a type that is not the caller's to send, 422 for what cannot be sent,
    and for a key that stands for something else.
    """
    request_id = derived_id("request", identity.actor, key)
    body_hash = _body_hash(records, wanted)
    found = await store.find(connection, request_id)
    if found is not None:
        return _again(found, body_hash)
    clinic_id = await _clinic_of(connection, wanted.recipient, identity)
    await _check(connection, wanted, identity, now)
    event = _event(wanted, request_id, clinic_id, identity, now)
    made = _expected(event, now)
    asked = Asked(request_id, body_hash, made.notification_id, made.notification_type, wanted.recipient, clinic_id, now)
    if not await store.add(connection, asked):
        found = await store.find(connection, request_id)
        if found is None:  # deleted in between, 35 days old
            raise Problem(409, "Somebody sent the same at the same moment; send it again.")
        return _again(found, body_hash)
    contract = EVENT_TYPES[REQUESTED]
    wire = records.codec.encode(contract.topic, contract.record, event)
    outbox_id = await outbox.add(connection, contract.topic, request_id.encode(), wire)
    await store.note_event(connection, request_id, outbox_id)
    return Made(asked, [outbox_id], again=False)


def may_cancel(notification_type: str, identity: Identity) -> None:
    """Raises Problem 403: whoever sends marketing only stops marketing only, not somebody's reminder."""
    if identity.role == "marketing" and not is_marketing(notification_type):
        raise Problem(403, "The role marketing cancels marketing only.")


def actor_of(identity: Identity) -> str:
    """Who asked, as an event names them."""
    return identity.actor[:MAX_ACTOR_CHARACTERS]


def _again(found: store.Found, body_hash: bytes) -> Made:
    if not hmac.compare_digest(found.asked.body_hash, body_hash):
        raise unusable(
            [Violation("Idempotency-Key", "the key of another request", "send another body with another key")],
            "This key was sent before, with another body.",
        )
    return Made(found.asked, [] if found.outbox_id is None else [found.outbox_id], again=True)


def _body_hash(records: Records, wanted: NewNotification) -> bytes:
    # Not of the bytes that were sent: the same request written otherwise is the same request.
    secret = bytes.fromhex(records.ring.address_hash("request", "body"))
    return hmac.new(secret, wanted.model_dump_json().encode(), hashlib.sha256).digest()


async def _clinic_of(connection: psycopg.AsyncConnection, recipient: str, identity: Identity) -> str:
    """The clinic in whose name it is sent: the recipient's own."""
    row = (await recipient_rows.read(connection, [recipient])).get(recipient)
    if row is None or row.erased or row.version == 0 or not identity.works_for(row.clinic_id):
        mend = "name somebody of your clinic who is known: patient:<id> or staff:<id>"
        raise unusable([Violation("recipient", shape_of(recipient), mend)])
    return row.clinic_id


async def _check(
    connection: psycopg.AsyncConnection, wanted: NewNotification, identity: Identity, now: datetime
) -> None:
    faults: list[Violation] = []
    if wanted.expires_at is not None and wanted.expires_at <= now:
        faults.append(Violation("expiresAt", "a time that is past", "send a later one, or leave it out"))
    for name, moment in (("sendAt", wanted.send_at), ("expiresAt", wanted.expires_at)):
        if moment is not None and moment > now + FURTHEST:
            faults.append(Violation(name, "a time far off", f"send one within {FURTHEST.days} days"))
    if wanted.notification_type is None:
        _may_send("administrative", marketing=False, critical=False, identity=identity)
    else:
        faults += await _type_faults(connection, wanted, wanted.notification_type, identity)
    if faults:
        raise unusable(faults)


async def _type_faults(
    connection: psycopg.AsyncConnection, wanted: NewNotification, name: str, identity: Identity
) -> list[Violation]:
    kind = type_named(name)
    if kind is None or kind.recipient_kind != wanted.recipient.partition(":")[0]:
        mend = "name a type of docs/catalogue.md that goes to such a recipient, and is not only sent of itself"
        return [Violation("notificationType", shape_of(name), mend)]
    _may_send(
        kind.category,
        marketing=kind.consent_scope == "marketing",
        critical=kind.lane == "critical",
        identity=identity,
    )
    fields = fields_of(kind, await templates.variables_of(connection, kind.template_id))
    if fields is None:
        mend = "publish its event (docs/producers-guide.md): it says that event's own words"
        return [Violation("notificationType", shape_of(name), mend)]
    return list(data_faults(fields, wanted.data))


def _may_send(category: str, *, marketing: bool, critical: bool, identity: Identity) -> None:
    if identity.role in ("admin", "service"):
        return
    if critical or marketing != (identity.role == "marketing"):
        whose = (
            "admin and service" if critical else "marketing, admin and service" if marketing else "staff and provider"
        )
        raise Problem(403, f"What is {'critical' if critical else category} is sent by the roles {whose}.")


def _event(
    wanted: NewNotification, request_id: str, clinic_id: str, identity: Identity, now: datetime
) -> dict[str, Any]:
    """The event. Its id is made of the caller and the key: the pipeline knows it again should our store forget it."""
    return {
        "event_id": derived_id("requested", request_id),
        "event_type": REQUESTED,
        "occurred_at": now,
        "schema_version": "1.0",
        "source": SOURCE,
        "correlation_id": wanted.correlation_id,
        "clinic_id": clinic_id,
        "aggregate_id": request_id,
        "aggregate_version": int(now.timestamp() * 1000),
        "metadata": {},
        "request_id": request_id,
        "recipient": wanted.recipient,
        "notification_type": wanted.notification_type,
        "title": wanted.title,
        "message": wanted.message,
        "message_level": FREE_MESSAGE_LEVEL,
        "data": dict(wanted.data),
        "send_at": wanted.send_at,
        "expires_at": wanted.expires_at,
        "urgent": wanted.urgent,
        "requested_by": actor_of(identity),
    }


def _expected(event: Mapping[str, Any], now: datetime) -> Expected:
    made = expected(event, now)
    if made is None:
        raise unusable([Violation("expiresAt", "a time before it is due", "send a later one, or leave it out")])
    return made
