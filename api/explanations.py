"""Why somebody did, or did not, get a notification: one, or all of a recipient's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from api import access
from api.bodies import JSON, recipient_of, whole_number
from api.cursor import UUID, moment_of, place_of, token_of
from api.explanation_model import NotificationExplanation, NotificationList, served
from api.identity import EVERY_CLINIC, Identity
from api.preferences import ID
from api.problems import not_found
from api.recipients import seen
from api.resources import ASKING, POOL, identity_of
from api.routes import Answer, Parameter, Route
from connectors.explaining.explain import explained
from connectors.explaining.facts import Story
from connectors.explaining.recorded import places_of, stories
from connectors.postgres import recipient_rows

PATH = "/v1/notifications/{notification}/explanation"
LIST_PATH = "/v1/recipients/{id}/notifications"
MAX_PAGE = 100
# What a front desk is asked about happened lately.
DEFAULT_SINCE = timedelta(days=7)


async def read(request: web.Request) -> web.Response:
    """One notification."""
    identity = identity_of(request)
    notification_id = request.match_info["notification"]
    if not UUID.fullmatch(notification_id):
        raise not_found()
    found = await request.app[ASKING].ask(lambda client: stories(client, [notification_id]))
    if not found:
        raise not_found()
    (story,) = found
    async with request.app[POOL].connection() as connection:
        row = (await recipient_rows.read(connection, [story.recipient])).get(story.recipient)
        if (row is not None and row.erased) or not _may_see(identity, story):
            raise not_found()
        # Another clinic's patient by now: what this clinic sent is its own to explain, what they said is not.
        known = row is not None and identity.may_see(story.recipient, row.clinic_id)
        (one,) = await explained(connection, found, datetime.now(UTC), lambda _recipient: known)
    return _answer(served(one))


async def read_all(request: web.Request) -> web.Response:
    """A recipient's, newest first."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    now = datetime.now(UTC)
    limit = whole_number(request, "limit", 20, 1, MAX_PAGE)
    since = moment_of(request, "since", now - DEFAULT_SINCE)
    before = place_of(request, "before", now)
    every = identity.is_self(found.recipient) or EVERY_CLINIC in identity.clinics
    clinics = None if every else sorted(identity.clinics)
    places = await request.app[ASKING].ask(
        lambda client: places_of(client, found.recipient, since, before, limit + 1, clinics)
    )
    page = [place.notification_id for place in places[:limit]]
    told = await request.app[ASKING].ask(lambda client: stories(client, page))
    async with request.app[POOL].connection() as connection:
        explanations = await explained(connection, told, now)
    more = places[limit - 1] if len(places) > limit else None
    return _answer(
        NotificationList(
            notifications=[served(one) for one in explanations], next=None if more is None else token_of(more)
        )
    )


def _may_see(identity: Identity, story: Story) -> bool:
    return identity.may_see(story.recipient, story.clinic_id)


def _answer(served_: NotificationExplanation | NotificationList) -> web.Response:
    return web.Response(body=served_.model_dump_json(by_alias=True).encode(), content_type=JSON)


ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_EXPLANATIONS,
        "Why a notification was, or was not, sent",
        (Answer(200, "The explanation", NotificationExplanation),),
        parameters=(Parameter("notification", "path", "The notification's id.", required=True),),
        problems=(404,),
        tag="explanations",
    ),
    Route(
        "GET",
        LIST_PATH,
        read_all,
        access.READ_EXPLANATIONS,
        "A recipient's notifications, explained, newest first",
        (Answer(200, "A page of them", NotificationList),),
        parameters=(
            ID,
            Parameter(
                "since", "query", "From then on; default: 7 days ago.", {"type": "string", "format": "date-time"}
            ),
            Parameter("before", "query", "`next` of the page before."),
            Parameter("limit", "query", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
        ),
        problems=(404, 422),
        tag="explanations",
    ),
)
