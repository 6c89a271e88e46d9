"""The caller's own inbox: lists, counts, search, one item. Nobody sees another's; staff see what is of clinics they work for."""

from __future__ import annotations

import re

from aiohttp import web

from api import access
from api.bodies import JSON, entity_tag, read_model, whole_number
from api.documents import IF_NONE_MATCH, as_json, known_already
from api.identity import EVERY_CLINIC, Identity
from api.inbox_model import (
    DEFAULT_PAGE,
    MAX_PAGE,
    InboxCounts,
    InboxGroups,
    InboxItemInFull,
    InboxPage,
    InboxSearched,
    Openings,
    Search,
    counted,
    in_full,
    served,
)
from api.inbox_search import says_all
from api.problems import not_found, unusable
from api.resources import POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.postgres import data_keys, inbox
from connectors.postgres.inbox import View, Viewer
from schemas.shapes import Violation, shape_of

PATH = "/v1/inbox"
ITEM = PATH + "/items/{item}"
_VIEWS: tuple[View, ...] = ("open", "archived", "snoozed", "all")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GROUP_CHARACTERS = 300


def viewer_of(identity: Identity) -> Viewer:
    """Whose inbox the caller's is. Raises Problem 404 for a service, which is nobody."""
    if identity.role == "service":
        raise not_found()
    if identity.role == "patient":
        return Viewer(f"patient:{identity.subject}")
    everywhere = EVERY_CLINIC in identity.clinics
    return Viewer(f"staff:{identity.subject}", None if everywhere else identity.clinics)


def item_of(request: web.Request) -> str:
    """The item's id. Raises Problem 404 for what is none."""
    found: str = request.match_info["item"]
    if _ID.fullmatch(found) is None:
        raise not_found()
    return found


async def read_page(request: web.Request) -> web.Response:
    """What is open, unless `view` says otherwise. The counts are of what is open in any case."""
    viewer = viewer_of(identity_of(request))
    view = _choice(request)
    unread = _flag(request, "unread")
    group = request.query.get("group")
    if group is not None and (not group or len(group) > _GROUP_CHARACTERS or "\x00" in group):
        raise unusable([Violation("group", shape_of(group), "send an item's `group`")])
    limit, before = _limit(request), _cursor(request)
    async with request.app[POOL].connection() as connection:
        # The version first: what comes in between is listed now and told again, never missed.
        (counts,) = await inbox.counts(connection, [viewer])
        items = await inbox.page(
            connection, viewer, view=view, unread=unread, group_key=group, before=before, limit=limit
        )
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    listed = Openings(request.app[RECORDS]).listed(items, key)
    following = str(items[-1].number) if len(items) == limit else None
    return _json({**counted(counts), "items": listed, "next": following})


async def read_counts(request: web.Request) -> web.Response:
    """How many are unread."""
    viewer = viewer_of(identity_of(request))
    async with request.app[POOL].connection() as connection:
        (counts,) = await inbox.counts(connection, [viewer])
    return _json(counted(counts))


async def read_groups(request: web.Request) -> web.Response:
    """What is open, by what it is about."""
    viewer = viewer_of(identity_of(request))
    limit, before = _limit(request), _cursor(request)
    async with request.app[POOL].connection() as connection:
        groups = await inbox.groups(connection, viewer, before=before, limit=limit)
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    openings = Openings(request.app[RECORDS])
    told = [
        {"group": group.group_key, "items": group.items, "unread": group.unread, "latest": latest}
        for group in groups
        for latest in openings.listed([group.latest], key)
    ]
    following = str(groups[-1].latest.number) if len(groups) == limit else None
    return _json({"groups": told, "next": following})


async def search(request: web.Request) -> web.Response:
    """Words are PHI: they come in the body. What lies sealed is opened to be searched, so many items a request."""
    viewer = viewer_of(identity_of(request))
    asked = await read_model(request, Search)
    most = request.app[SETTINGS].inbox_search_items
    before = None if asked.cursor is None else int(asked.cursor)
    async with request.app[POOL].connection() as connection:
        items = await inbox.page(connection, viewer, view="all", before=before, limit=most)
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    opened = Openings(request.app[RECORDS]).contents(items, key)
    found = [served(item, content) for item, content in opened if says_all(content, asked.words)]
    following = str(items[-1].number) if len(items) == most else None
    return _json({"items": found, "searched": len(items), "next": following})


async def read_item(request: web.Request) -> web.Response:
    """All that it says. It is not marked as read by that."""
    viewer = viewer_of(identity_of(request))
    notification_id = item_of(request)
    async with request.app[POOL].connection() as connection:
        item = await inbox.find(connection, viewer, notification_id)
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    if item is None:
        raise not_found()
    if (unchanged := known_already(request, item.version)) is not None:
        return unchanged
    for _, content in Openings(request.app[RECORDS]).contents([item], key):
        return web.Response(
            body=as_json(in_full(item, content)), content_type=JSON, headers={"ETag": entity_tag(item.version)}
        )
    raise not_found()


def _choice(request: web.Request) -> View:
    said = request.query.get("view", "open")
    for view in _VIEWS:
        if said == view:
            return view
    raise unusable([Violation("view", shape_of(said), f"send one of {', '.join(_VIEWS)}")])


def _flag(request: web.Request, name: str) -> bool:
    said = request.query.get(name, "false")
    if said not in ("true", "false"):
        raise unusable([Violation(name, shape_of(said), "send true or false")])
    return said == "true"


def _limit(request: web.Request) -> int:
    return whole_number(request, "limit", DEFAULT_PAGE, 1, MAX_PAGE)


def _cursor(request: web.Request) -> int | None:
    return whole_number(request, "cursor", 0, 0, 10**18) if "cursor" in request.query else None


def _json(told: object) -> web.Response:
    return web.Response(body=as_json(told), content_type=JSON)


ITEM_ID = Parameter("item", "path", "The item's `id`.", {"type": "string", "format": "uuid"}, True)
_LIMIT = Parameter(
    "limit",
    "query",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
)
_CURSOR = Parameter("cursor", "query", "`next` of the page before.", {"type": "string", "pattern": "^[0-9]{1,18}$"})
_VIEW = Parameter("view", "query", "Which items; by default what is open.", {"type": "string", "enum": list(_VIEWS)})
_UNREAD = Parameter("unread", "query", "Only what was not read.", {"type": "string", "enum": ["true", "false"]})
_GROUP = Parameter(
    "group", "query", "Only with this `group`.", {"type": "string", "minLength": 1, "maxLength": _GROUP_CHARACTERS}
)

ROUTES = (
    Route(
        "GET",
        PATH,
        read_page,
        access.OWN_INBOX,
        "List the inbox",
        (Answer(200, "Newest first", InboxPage),),
        parameters=(_VIEW, _UNREAD, _GROUP, _LIMIT, _CURSOR),
        problems=(422,),
        tag="inbox",
    ),
    Route(
        "GET",
        PATH + "/count",
        read_counts,
        access.OWN_INBOX,
        "Count what is unread",
        (Answer(200, "The counts", InboxCounts),),
        tag="inbox",
    ),
    Route(
        "GET",
        PATH + "/groups",
        read_groups,
        access.OWN_INBOX,
        "List the inbox by what its items are about",
        (Answer(200, "That with the newest item first", InboxGroups),),
        parameters=(_LIMIT, _CURSOR),
        problems=(422,),
        tag="inbox",
    ),
    Route(
        "POST",
        PATH + "/search",
        search,
        access.OWN_INBOX,
        "Search the inbox",
        (Answer(200, "What says all of the words, newest first", InboxSearched),),
        takes=Search,
        tag="inbox",
    ),
    Route(
        "GET",
        ITEM,
        read_item,
        access.OWN_INBOX,
        "Read one item in full",
        (Answer(200, "The item", InboxItemInFull, etag=True), Answer(304, "It has not changed")),
        parameters=(ITEM_ID, IF_NONE_MATCH),
        tag="inbox",
    ),
)
