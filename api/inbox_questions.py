"""Buttons of messages that ask about an appointment: confirm it, or ask for another time, as a reply by text does (ADR 24).

What is said is about the version that the message asked about. One answer a message: said again it is answered as it was first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from aiohttp import web

from api import access
from api.bodies import JSON
from api.documents import as_json
from api.identity import Identity
from api.inbox import ITEM, ITEM_ID, item_of, viewer_of
from api.inbox_marking import marking
from api.preference_model import Strict
from api.problems import Problem, not_found
from api.resources import IN_FORCE, POOL, RECORDS, SETTINGS, WITHDRAWALS, identity_of
from api.routes import Answer, Handler, Route
from connectors.answering.asked import AskedAppointments
from connectors.answering.replying import BY_INBOX
from connectors.postgres import outbox, text_questions
from connectors.postgres.in_force import unpublished
from connectors.postgres.outbox_sealing import sealed_row
from connectors.postgres.text_questions import Meant, Put
from schemas.events import EVENT_TYPES

# ``asked``: it can be answered; everything else is an outcome. Empty: the item asks nothing.
Standing = Literal["", "asked", "confirmed", "moving", "changed", "begun"]
SAID: Mapping[Meant, Standing] = {"confirm": "confirmed", "reschedule": "moving"}
# The gates of a new process are read within moments.
READ_SECONDS = 3.0
_REFUSALS: Mapping[Standing, str] = {
    "changed": "The appointment was changed or called off since this message; the newest message says how it is.",
    "begun": "It is too late to answer this message; call the clinic.",
}
_mark_read = marking("read")


class AppointmentAnswered(Strict):
    """What the clinic was told."""

    appointment: Literal["confirmed", "moving"]


async def with_questions(
    app: web.Application, connection: psycopg.AsyncConnection, identity: Identity, items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Items as served, each with how its question stands (``question``, a Standing)."""
    standings: dict[str, Standing] = {}
    asking = [item["id"] for item in items if any(action["name"] == "confirm" for action in item["actions"])]
    if asking and identity.role == "patient":
        now = datetime.now(UTC)
        for put in await text_questions.put_to(connection, viewer_of(identity).recipient, asking):
            standings[put.notification_id] = _standing(app, put, now)
    return [{**item, "question": standings.get(item["id"], "")} for item in items]


async def say(request: web.Request, meant: Meant) -> Standing:
    """Answer an item's question; how it stands then. Returns once Kafka has the event. Raises Problem, TimeoutError."""
    app = request.app
    await app[WITHDRAWALS].wait_until_current(READ_SECONDS)
    async with app[POOL].connection() as connection:
        standing, ids = await _said(app, connection, await _put(connection, request), meant)
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    await _mark_read(request)
    return standing


async def _said(
    app: web.Application, connection: psycopg.AsyncConnection, put: Put, meant: Meant
) -> tuple[Standing, list[int]]:
    question, records = put.question, app[RECORDS]
    answer_id = text_questions.BUTTON + question.delivery_id
    answer = await text_questions.answered(connection, answer_id)
    if answer is not None:
        topic = EVENT_TYPES["appointment.confirmed"].topic
        return SAID[answer.meant], await unpublished(connection, [(topic, question.aggregate_id.encode())])
    if put.said == meant == "confirm":
        return SAID[meant], []  # a text said so before, and was an event
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as events carry it
    standing = _standing(app, put._replace(said=None), now)
    if standing != "asked":
        return standing, []
    await text_questions.answer(connection, answer_id, now, meant, 1, question)
    event = await AskedAppointments(records).event(
        connection, question.delivery_id, meant, via=BY_INBOX, message_id=question.delivery_id, at=now
    )
    if event is None:
        raise not_found()  # erased this moment
    contract = EVENT_TYPES[event["event_type"]]
    wire = records.codec.encode(contract.topic, contract.record, event)
    row = sealed_row(records.ring, contract.topic, event["aggregate_id"].encode(), wire)
    return SAID[meant], await outbox.add_many(connection, [row])


async def _put(connection: psycopg.AsyncConnection, request: web.Request) -> Put:
    identity = identity_of(request)
    if identity.role != "patient":
        raise not_found()
    found = await text_questions.put_to(connection, viewer_of(identity).recipient, [item_of(request)])
    if not found:
        raise not_found()
    return found[0]


def _standing(app: web.Application, put: Put, now: datetime) -> Standing:
    question = put.question
    if put.said is not None:
        return SAID[put.said]
    version = question.aggregate_version
    if app[WITHDRAWALS].overtook(question.clinic_id, question.aggregate_type, question.aggregate_id, version):
        return "changed"
    return "asked" if now < question.starts_at else "begun"


def pressing(meant: Meant) -> Handler:
    """A handler of the page's button."""

    async def handle(request: web.Request) -> web.StreamResponse:
        """How it stands then."""
        return _told(await say(request, meant))

    return handle


async def read_question(request: web.Request) -> web.StreamResponse:
    """How an item's question stands; nothing is changed."""
    async with request.app[POOL].connection() as connection:
        standing = _standing(request.app, await _put(connection, request), datetime.now(UTC))
    return _told(standing)


def _told(standing: Standing) -> web.Response:
    return web.Response(body=as_json({"question": standing}), content_type=JSON)


def answering(meant: Meant) -> Handler:
    """A handler of the API that answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        """It is about the appointment as this message told it. 404: it asks nothing; 409: the appointment changed or began, or
        the other was said before."""
        standing = await say(request, meant)
        if standing != SAID[meant]:
            raise Problem(
                409, _REFUSALS.get(standing, f"It was answered before: {standing}. Call the clinic to change that.")
            )
        return web.Response(body=as_json({"appointment": standing}), content_type=JSON)

    return handle


def _route(step: str, meant: Meant, summary: str) -> Route:
    return Route(
        "POST",
        f"{ITEM}/{step}",
        answering(meant),
        access.OWN_INBOX,
        summary,
        (Answer(200, "What the clinic was told", AppointmentAnswered),),
        parameters=(ITEM_ID,),
        problems=(404, 409),
        tag="inbox",
    )


ROUTES = (
    _route("confirm", "confirm", "Confirm the appointment that a message asks about"),
    _route("reschedule", "reschedule", "Ask for another time than a message says"),
)
