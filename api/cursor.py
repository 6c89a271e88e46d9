"""Times and places of lists that begin with the newest: what a query says, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from aiohttp import web

from api.problems import unusable
from connectors.explaining.recorded import Place
from schemas.shapes import Violation

# Clocks of our processes may be a little apart.
AHEAD = timedelta(minutes=5)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def moment_of(request: web.Request, name: str, default: datetime) -> datetime:
    """A time of the query. Raises Problem."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and EARLIEST <= moment < LATEST:
            return moment
    except (ValueError, OverflowError):
        pass  # told like a time that lies outside
    raise unusable([Violation(name, f"string of {len(text)} characters", "send a time as YYYY-MM-DDTHH:MM:SSZ")])


def token_of(place: Place) -> str:
    """A place as the next request names it."""
    return base64.urlsafe_b64encode(f"{place.asked_at.isoformat()} {place.notification_id}".encode()).decode()


def place_of(request: web.Request, name: str, now: datetime) -> Place:
    """The place that the query names; without one, before everything. Raises Problem."""
    token = request.query.get(name)
    if token is None:
        return Place(now + AHEAD, "")
    try:
        text, _, notification_id = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(" ")
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and EARLIEST <= moment < LATEST and UUID.fullmatch(notification_id):
            return Place(moment, notification_id)
    except (binascii.Error, UnicodeError, ValueError, OverflowError):
        pass  # told like a token that is none of ours
    raise unusable([Violation(name, f"string of {len(token)} characters", "send `next` of the page before")])
