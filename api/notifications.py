"""Notifications listed, and one of them from beginning to end. What is recorded, from ClickHouse; why, each in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import psycopg
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, whole_number
from api.cursor import UUID, moment_of, place_of, token_of
from api.identity import EVERY_CLINIC, Identity
from api.preference_model import Channel, Strict
from api.problems import not_found, unusable
from api.resources import ASKING, POOL, identity_of
from api.routes import Answer, Parameter, Route
from connectors.accounting import State
from connectors.explaining.explain import explained
from connectors.explaining.facts import Explanation, Story
from connectors.explaining.listed import AGGREGATE_TYPES, About, Filter, listed
from connectors.explaining.recorded import Place, stories
from connectors.explaining.sentence import Clock
from connectors.explaining.timeline import Entry, timeline
from connectors.postgres import asked as store
from connectors.postgres import recipient_rows
from connectors.postgres.asked import Asked
from schemas.shapes import Violation, shape_of

PATH = "/v1/notifications"
ONE_PATH = "/v1/notifications/{notification}"
MAX_PAGE = 100
DEFAULT_SINCE = timedelta(days=7)
MAX_TEXT_CHARACTERS = 200


class Listed(Strict):
    """One notification in short. ``sentence``: what became of it; its times are in ``timeZone``, the clinic's."""

    notification_id: str
    notification_type: str
    category: str = Field(description="Empty, as `lane`, until ClickHouse has what was just sent by hand.")
    lane: str
    recipient: str
    clinic_id: str
    state: State
    reason: str
    sentence: str
    time_zone: str
    event_type: str
    correlation_id: str | None
    requested_at: AwareDatetime | None
    due_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    channels: list[Channel] = Field(description="By which a message was made.")


class NotificationPage(Strict):
    """Newest first. ``next``: of the next page's `before`; null on the last. A page may be short, and not the last."""

    notifications: list[Listed]
    next: str | None


class TimelineEntry(Strict):
    """One step. ``code``: the event's type, the decision's reason, the status, or a dead letter's cause."""

    at: AwareDatetime
    kind: Literal["asked", "decided", "message", "status", "dead_letter"]
    sentence: str
    code: str
    channel: Channel | None
    delivery_id: str | None
    attempt: int | None


class NotificationTimeline(Listed):
    """One notification, and everything that is recorded of it in the order in which it came about."""

    timeline: list[TimelineEntry]


async def read_all(request: web.Request) -> web.Response:
    """Newest first: a patient's own; for everybody else, their clinics'."""
    identity = identity_of(request)
    now = datetime.now(UTC)
    limit = whole_number(request, "limit", 20, 1, MAX_PAGE)
    until = moment_of(request, "until", now + timedelta(minutes=5))
    before = min(place_of(request, "before", now), Place(until, ""))
    wanted = _filter(request, identity, moment_of(request, "since", now - DEFAULT_SINCE))
    page = await request.app[ASKING].ask(lambda client: listed(client, wanted, before, limit))
    async with request.app[POOL].connection() as connection:
        erased = await _erased(connection, [story.recipient for story in page.stories])
        shown = [story for story in page.stories if story.recipient not in erased]
        # What people said is for those who may see their record; this list tells what was recorded.
        explanations = await explained(connection, shown, now, lambda _recipient: False)
    body = NotificationPage(
        notifications=[Listed.model_validate(_short(one)) for one in explanations],
        next=None if page.next is None else token_of(page.next),
    )
    return web.Response(body=body.model_dump_json(by_alias=True).encode(), content_type=JSON)


async def read(request: web.Request) -> web.Response:
    """One notification's timeline. One that was just sent by hand is `undecided` until ClickHouse has it, seconds later."""
    identity = identity_of(request)
    notification_id = request.match_info["notification"]
    if not UUID.fullmatch(notification_id):
        raise not_found()
    found = await request.app[ASKING].ask(lambda client: stories(client, [notification_id]))
    async with request.app[POOL].connection() as connection:
        if not found:
            asked = await store.find_by_notification(connection, notification_id)
            if asked is None:
                raise not_found()
            found = [_just_asked(asked.asked)]
        (story,) = found
        is_erased = bool(await _erased(connection, [story.recipient]))
        if is_erased or not identity.may_see(story.recipient, story.clinic_id):
            raise not_found()
        now = datetime.now(UTC)
        (one,) = await explained(connection, found, now, lambda _recipient: False)
    steps = [_entry(entry) for entry in timeline(story, Clock(one.zone, now))]
    body = NotificationTimeline.model_validate({**_short(one), "timeline": steps})
    return web.Response(body=body.model_dump_json(by_alias=True).encode(), content_type=JSON)


def _filter(request: web.Request, identity: Identity, since: datetime) -> Filter:
    query = request.query
    for name in ("recipient", "type", "state", "channel", "about"):
        text = query.get(name, "")
        if len(text) > MAX_TEXT_CHARACTERS or "\x00" in text:
            raise unusable([Violation(name, shape_of(text), f"send at most {MAX_TEXT_CHARACTERS} characters, no NUL")])
    for name, known in (("state", get_args(State)), ("channel", get_args(Channel))):
        if query.get(name, known[0]) not in known:
            raise unusable([Violation(name, shape_of(query[name]), f"send one of {', '.join(known)}")])
    about = About.read(query["about"]) if query.get("about") else None
    if query.get("about") and about is None:
        mend = f"send a kind of thing and its id, appointment:<id> say; kinds are {', '.join(AGGREGATE_TYPES)}"
        raise unusable([Violation("about", shape_of(query["about"]), mend)])
    recipient = query.get("recipient", "")
    if recipient and not recipient.startswith(("patient:", "staff:")):
        raise unusable([Violation("recipient", shape_of(recipient), "send patient:<id> or staff:<id>")])
    if identity.role == "patient":
        own = f"patient:{identity.subject}"
        if recipient not in ("", own):
            raise not_found()
        recipient = own
    every = identity.role == "patient" or EVERY_CLINIC in identity.clinics
    return Filter(
        since,
        recipient,
        query.get("type", ""),
        query.get("state", ""),
        query.get("channel", ""),
        None if every else sorted(identity.clinics),
        about,
    )


async def _erased(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> frozenset[str]:
    rows = await recipient_rows.read(connection, sorted(set(recipients)))
    return frozenset(recipient for recipient, row in rows.items() if row.erased)


def _just_asked(asked: Asked) -> Story:
    """What is known of one that was sent by hand before ClickHouse knows of it."""
    return Story(
        notification_id=asked.notification_id,
        notification_type=asked.notification_type,
        category="",
        lane="",
        recipient=asked.recipient,
        clinic_id=asked.clinic_id,
        event_id="",
        event_type="notification.requested",
        aggregate_type="notification",
        aggregate_id=asked.request_id,
        aggregate_version=0,
        occurred_at=asked.asked_at,
        requested_at=asked.asked_at,
        due_at=None,
        expires_at=None,
        correlation_id=None,
        state="undecided",
        reason="",
        decisions=(),
        deliveries=(),
        dead_letter=None,
    )


def _short(one: Explanation) -> dict[str, object]:
    story = one.story
    return {
        **{name: getattr(story, name) for name in _OF_STORY},
        "sentence": one.sentence,
        "time_zone": one.zone,
        "channels": list(dict.fromkeys(delivery.channel for delivery in story.deliveries)),
    }


_OF_STORY = (
    *("notification_id", "notification_type", "category", "lane", "recipient", "clinic_id", "state", "reason"),
    *("event_type", "correlation_id", "requested_at", "due_at", "expires_at"),
)


def _entry(entry: Entry) -> dict[str, object]:
    return entry._asdict()


_TEXT = {"type": "string", "maxLength": MAX_TEXT_CHARACTERS}
_TIME = {"type": "string", "format": "date-time"}

ROUTES = (
    Route(
        "GET",
        PATH,
        read_all,
        access.READ_NOTIFICATIONS,
        "List notifications, newest first",
        (Answer(200, "A page of them", NotificationPage),),
        parameters=(
            Parameter("recipient", "query", "patient:<id> or staff:<id>; a patient's own otherwise.", _TEXT),
            Parameter("type", "query", "A type of the catalogue.", _TEXT),
            Parameter(
                "about", "query", "What it is about: appointment:<id>, say; everything that events asked for.", _TEXT
            ),
            Parameter("state", "query", "How it stands.", {"type": "string", "enum": list(get_args(State))}),
            Parameter(
                "channel", "query", "A message was made for it.", {"type": "string", "enum": list(get_args(Channel))}
            ),
            Parameter("since", "query", "Asked for from then on; default: 7 days ago.", _TIME),
            Parameter("until", "query", "Asked for before then; default: now.", _TIME),
            Parameter("before", "query", "`next` of the page before."),
            Parameter("limit", "query", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
        ),
        problems=(404, 422),
        tag="notifications",
    ),
    Route(
        "GET",
        ONE_PATH,
        read,
        access.READ_NOTIFICATIONS,
        "Read one notification's timeline",
        (Answer(200, "It, from beginning to end", NotificationTimeline),),
        parameters=(
            Parameter("notification", "path", "The notification's id.", {"type": "string", "format": "uuid"}, True),
        ),
        problems=(404,),
        tag="notifications",
    ),
)
