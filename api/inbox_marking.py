"""What the caller does with their inbox: read, see, archive, snooze, acknowledge. Other tabs learn of it at once.

Marking twice is marking once. That something was read, or taken, goes to Kafka by the outbox, in the transaction that marks it:
the answer need not wait for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web
from pydantic import BaseModel

from api import access
from api.bodies import JSON, read_model
from api.documents import as_json
from api.inbox import ITEM, ITEM_ID, PATH, item_of, viewer_of
from api.inbox_model import MAX_SNOOZE_DAYS, InboxItem, Marked, Openings, Snooze, UpTo, counted
from api.problems import Problem, not_found, unusable
from api.resources import INBOX_CHANGES, POOL, RECORDS, identity_of
from api.routes import Answer, Handler, Route
from connectors.postgres import data_keys, inbox, inbox_marks
from connectors.postgres.inbox import Counts, Viewer
from connectors.postgres.inbox_marks import MARK_ROWS, Mark
from schemas.shapes import Violation

# Of one request; who has more unread sends it again.
MAX_MARKS = 5_000


async def mark_all(app: web.Application, viewer: Viewer, how: Mark, up_to: int) -> tuple[Counts, int]:
    """Mark everything up to a number, at most MAX_MARKS; what counts then, and how many were changed."""
    changed = 0
    while changed < MAX_MARKS:
        async with app[POOL].connection() as connection:
            marked = await inbox_marks.mark(connection, app[RECORDS], viewer, how, up_to=up_to)
        app[INBOX_CHANGES].changed(marked.versions, None)
        changed += len(marked.items)
        if len(marked.items) < MARK_ROWS:
            break
    async with app[POOL].connection() as connection:
        (counts,) = await inbox.counts(connection, [viewer])
    return counts, changed


def marking_all(how: Mark) -> Handler:
    """A handler that marks everything up to a number."""

    async def handle(request: web.Request) -> web.Response:
        """All items up to the one named, not those that came since. `changed` of 5000: there may be more, send it again."""
        viewer = viewer_of(identity_of(request))
        up_to = (await read_model(request, UpTo)).up_to
        counts, changed = await mark_all(request.app, viewer, how, up_to)
        return web.Response(body=as_json({**counted(counts), "changed": changed}), content_type=JSON)

    return handle


def marking(how: Mark) -> Handler:
    """A handler that marks one item."""

    async def handle(request: web.Request) -> web.Response:
        """The item as it is then; one that is marked so already stays as it is."""
        return await _mark(request, how)

    return handle


async def snooze(request: web.Request) -> web.Response:
    """Until then it is in no list but that of the snoozed, and counts for nothing."""
    until = (await read_model(request, Snooze)).until
    now = datetime.now(UTC)
    if not now < until <= now + timedelta(days=MAX_SNOOZE_DAYS):
        raise unusable(
            [Violation("until", "a time past or far away", f"send one within the next {MAX_SNOOZE_DAYS} days")]
        )
    return await _mark(request, "snooze", until)


async def acknowledge(request: web.Request) -> web.Response:
    """Take an alert upon oneself. A shared one is gone for everybody whom it was sent to; taken before, it says by whom."""
    viewer = viewer_of(identity_of(request))
    notification_id = item_of(request)
    app = request.app
    async with app[POOL].connection() as connection:
        marked = await inbox_marks.acknowledge(connection, app[RECORDS], viewer, notification_id)
        if marked is None:
            there = await inbox.find(connection, viewer, notification_id)
            raise not_found() if there is None else Problem(409, "It is no alert: mark it as read.")
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    app[INBOX_CHANGES].changed(marked.versions, notification_id)
    own = [item for item in marked.items if item.recipient == viewer.recipient]
    return _item(Openings(app[RECORDS]).listed(own, key))


async def _mark(request: web.Request, how: Mark, until: datetime | None = None) -> web.Response:
    viewer = viewer_of(identity_of(request))
    notification_id = item_of(request)
    app = request.app
    async with app[POOL].connection() as connection:
        marked = await inbox_marks.mark(
            connection, app[RECORDS], viewer, how, notification_id=notification_id, until=until
        )
        item = marked.items[0] if marked.items else await inbox.find(connection, viewer, notification_id)
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    if item is None:
        raise not_found()
    app[INBOX_CHANGES].changed(marked.versions, notification_id)
    return _item(Openings(app[RECORDS]).listed([item], key))


def _item(listed: list[dict[str, object]]) -> web.Response:
    if not listed:
        raise not_found()
    return web.Response(body=as_json(listed[0]), content_type=JSON)


def _one(method: str, step: str, handler: Handler, summary: str, takes: type[BaseModel] | None = None) -> Route:
    return Route(
        "POST" if method == "POST" else "DELETE",
        f"{ITEM}/{step}",
        handler,
        access.OWN_INBOX,
        summary,
        (Answer(200, "The item as it is now", InboxItem),),
        takes=takes,
        parameters=(ITEM_ID,),
        problems=(409,) if step == "acknowledge" else (),
        tag="inbox",
    )


def _all(step: str, how: Mark, summary: str) -> Route:
    return Route(
        "POST",
        f"{PATH}/{step}",
        marking_all(how),
        access.OWN_INBOX,
        summary,
        (Answer(200, "How many were marked", Marked),),
        takes=UpTo,
        tag="inbox",
    )


ROUTES = (
    _all("read", "read", "Mark everything as read"),
    _all("seen", "seen", "Note that the list was looked at"),
    _one("POST", "read", marking("read"), "Mark an item as read"),
    _one("DELETE", "read", marking("unread"), "Mark an item as unread"),
    _one("POST", "archive", marking("archive"), "Archive an item"),
    _one("DELETE", "archive", marking("unarchive"), "Take an item back from the archive"),
    _one("POST", "snooze", snooze, "Put an item off", Snooze),
    _one("DELETE", "snooze", marking("unsnooze"), "Bring an item back now"),
    _one("POST", "acknowledge", acknowledge, "Acknowledge an alert"),
)
