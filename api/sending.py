"""Sending and cancelling by hand: the same key never sends twice, and no answer before Kafka has it."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.asking import SOURCE, NewNotification, actor_of, ask, may_cancel
from api.bodies import JSON, read_model
from api.cursor import UUID
from api.identity import Identity
from api.preference_model import Channel, Strict, milliseconds
from api.problems import Problem, not_found
from api.resources import ASKING, IN_FORCE, POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.explaining.phrases import MESSAGES
from connectors.explaining.recorded import stories
from connectors.postgres import asked as store
from connectors.postgres import deliveries, outbox
from connectors.postgres.outbox import OutboxRow
from connectors.postgres.outbox_sealing import sealed_row
from connectors.postgres.records import GATE, Records
from schemas.events import EVENT_TYPES
from schemas.ids import delivery_id
from schemas.topics import AGGREGATE_GATES, CHANNELS

PATH = "/v1/notifications"
CANCEL_PATH = "/v1/notifications/{notification}/cancel"
# Of the draft: a string of structured fields, with or without its quotes.
_KEY = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,200})"|([\x21\x23-\x5b\x5d-\x7e]{1,200})')
# A plan has at most a step a channel, and catalogues may repeat one.
_MOST_STEPS = 8


class Accepted(Strict):
    """It is in Kafka, and will be decided. Whether, how and when it is sent, its timeline tells."""

    notification_id: str
    request_id: str
    notification_type: str
    recipient: str
    accepted_at: AwareDatetime


class LeftMessage(Strict):
    """A message that left, or may have, before it was cancelled."""

    channel: Channel
    state: Literal["sent", "perhaps_sent"]


class Cancelled(Strict):
    """``cancelled``: nothing had left; ``perhaps_sent``: a call was under way; ``sent``: something had left. No more will."""

    notification_id: str
    outcome: Literal["cancelled", "perhaps_sent", "sent"]
    sentence: str
    messages: list[LeftMessage] = Field(description="What had left, or may have.")


async def send(request: web.Request) -> web.Response:
    """Ask for one. 202 once Kafka has it; the pipeline then decides by consent, preferences, quiet hours and caps, as always.

    The same key with the same body is answered the same and sent once; with another body 422; while the first is being answered
    409. A key is remembered for 35 days, and stands for this one notification for longer.
    """
    key = _key(request)
    wanted = await read_model(request, NewNotification)
    app, identity, now = request.app, identity_of(request), milliseconds(datetime.now(UTC))
    seconds = app[SETTINGS].api_in_force_seconds
    async with app[POOL].connection() as connection:
        made = await ask(connection, app[RECORDS], wanted, key, identity, now)
    if made.again and made.outbox_ids and now < made.asked.asked_at + timedelta(seconds=seconds):
        raise Problem(
            409, "The first request with this key is being answered; ask again.", headers={"Retry-After": "1"}
        )
    await app[IN_FORCE].wait(made.outbox_ids, seconds)
    asked = made.asked
    body = Accepted(
        notification_id=asked.notification_id,
        request_id=asked.request_id,
        notification_type=asked.notification_type,
        recipient=asked.recipient,
        accepted_at=asked.asked_at,
    )
    headers = {"Location": f"{PATH}/{asked.notification_id}"}
    return web.Response(
        body=body.model_dump_json(by_alias=True).encode(), content_type=JSON, status=202, headers=headers
    )


async def cancel(request: web.Request) -> web.Response:
    """Cancel one, whoever asked for it: what waits ends, and what is on its way is stopped before it is handed over.

    Says what had left already. Safe to repeat.
    """
    notification_id = request.match_info["notification"]
    if not UUID.fullmatch(notification_id):
        raise not_found()
    app, identity = request.app, identity_of(request)
    found = await _asked_for(request, notification_id)
    if not identity.works_for(found.clinic_id):
        raise not_found()
    may_cancel(found.notification_type, identity)
    now = milliseconds(datetime.now(UTC))
    rows = [
        _gate(app[RECORDS], notification_id, now),
        _event(app[RECORDS], notification_id, found, identity, now),
    ]
    async with app[POOL].connection() as connection:
        ids = await outbox.add_many(connection, rows)
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    left = await _left(request, notification_id)
    outcome: Any = min((one.state for one in left), key=("sent", "perhaps_sent").index, default="cancelled")
    body = Cancelled(notification_id=notification_id, outcome=outcome, sentence=_sentence(outcome, left), messages=left)
    return web.Response(body=body.model_dump_json(by_alias=True).encode(), content_type=JSON)


def _key(request: web.Request) -> str:
    header = request.headers.getall("Idempotency-Key", [])
    found = _KEY.fullmatch(header[0].strip()) if len(header) == 1 else None
    if found is None:
        raise Problem(
            400, "Send one Idempotency-Key of 1 to 200 visible characters, new for each notification, e.g. a UUID."
        )
    return found[1] or found[2]


class _Found(NamedTuple):
    """What is cancelled, and under which request's id."""

    recipient: str
    clinic_id: str
    notification_type: str
    request_id: str


async def _asked_for(request: web.Request, notification_id: str) -> _Found:
    """Raises Problem 404."""
    async with request.app[POOL].connection() as connection:
        found = await store.find_by_notification(connection, notification_id)
    if found is not None:
        asked = found.asked
        return _Found(asked.recipient, asked.clinic_id, asked.notification_type, asked.request_id)
    # Asked for by an event: what is cancelled is this one, and nothing else of the event's aggregate.
    told = await request.app[ASKING].ask(lambda client: stories(client, [notification_id]))
    if not told:
        raise not_found()
    (story,) = told
    return _Found(story.recipient, story.clinic_id, story.notification_type, notification_id)


def _gate(records: Records, notification_id: str, now: datetime) -> OutboxRow:
    """What the sinks look at just before each call. Intake shuts it too, a hop later: the answer must not wait for that."""
    key = f"notification:{notification_id}"
    gate = {
        "gate_key": key,
        "kind": "notification",
        "reason": "cancelled",
        "source": "api",
        "aggregate_version": None,
        "created_at": now,
        "expires_at": None,
    }
    return OutboxRow(AGGREGATE_GATES, key.encode(), records.codec.encode(AGGREGATE_GATES, GATE, gate))


def _event(records: Records, notification_id: str, found: _Found, identity: Identity, now: datetime) -> OutboxRow:
    contract = EVENT_TYPES["notification.cancelled"]
    event = {
        # New each time: one that intake has seen would be a dead letter, and to cancel twice is no mistake.
        "event_id": str(uuid.uuid4()),
        "event_type": "notification.cancelled",
        "occurred_at": now,
        "schema_version": "1.0",
        "source": SOURCE,
        "correlation_id": None,
        "clinic_id": found.clinic_id,
        "aggregate_id": found.request_id,
        "aggregate_version": int(now.timestamp() * 1000),
        "metadata": {},
        "request_id": found.request_id,
        "notification_id": notification_id,
        "recipient": found.recipient,
        "reason": None,
        "cancelled_by": actor_of(identity),
    }
    wire = records.codec.encode(contract.topic, contract.record, event)
    return sealed_row(records.ring, contract.topic, found.request_id.encode(), wire)


async def _left(request: web.Request, notification_id: str) -> list[LeftMessage]:
    """By the attempt ledger, once the gate is in Kafka. What a sink began in that very moment its timeline shows."""
    ids = [delivery_id(notification_id, channel, step) for channel in CHANNELS for step in range(_MOST_STEPS)]
    found = (await deliveries.find(request.app[POOL], ids)).values()
    states: dict[str, Literal["sent", "perhaps_sent"]] = {
        "accepted": "sent",
        "attempting": "perhaps_sent",
        "unknown": "perhaps_sent",
    }
    return [
        LeftMessage.model_validate({"channel": one.channel, "state": states[one.state]})
        for one in sorted(found, key=lambda one: one.step)
        if one.state in states
    ]


def _sentence(outcome: str, left: list[LeftMessage]) -> str:
    by = " and ".join(MESSAGES[one.channel] for one in left if one.state == outcome)
    if outcome == "sent":
        return f"It had gone out by {by} before it was cancelled; nothing more of it will be sent."
    if outcome == "perhaps_sent":
        return f"It was being handed over as a {by} and may arrive; nothing more of it will be sent."
    return "Nothing of it had gone out; nothing will be sent."


_NOTIFICATION = Parameter("notification", "path", "The notification's id.", {"type": "string", "format": "uuid"}, True)

ROUTES = (
    Route(
        "POST",
        PATH,
        send,
        access.SEND_NOTIFICATIONS,
        "Send a notification",
        (Answer(202, "It is in Kafka, and will be decided", Accepted),),
        takes=NewNotification,
        parameters=(
            Parameter(
                "Idempotency-Key",
                "header",
                "New for each notification, e.g. a UUID; the same again for a repetition.",
                {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[\x21\x23-\x5b\x5d-\x7e]+$"},
                required=True,
            ),
        ),
        problems=(403, 409),
        tag="notifications",
    ),
    Route(
        "POST",
        CANCEL_PATH,
        cancel,
        access.CANCEL_NOTIFICATIONS,
        "Cancel a notification",
        (Answer(200, "Cancelled, and in force; with what had left before", Cancelled),),
        parameters=(_NOTIFICATION,),
        problems=(403, 404),
        tag="notifications",
    ),
)
