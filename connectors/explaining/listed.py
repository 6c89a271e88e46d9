"""Notifications by what they are: whose, about what, of which type, in which state, by which channel, when; newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from connectors.explaining.facts import Story
from connectors.explaining.recorded import Place, places_in, stories
from schemas.events import EVENT_TYPES

# Read at once: their ids fit into a request's line.
LOOKED_AT_ONCE = 100
# A state is told by all that is recorded of a notification, so it is looked at one by one; so many, and the page ends.
MOST_LOOKED_AT = 300

_MATCHING = """
    SELECT notification_id, min(at) AS asked_at FROM (
        SELECT notification_id, requested_at AS at, clinic_id, recipient, notification_type, aggregate_type, aggregate_id
        FROM raw_notification_request WHERE kind = 'notify'
        UNION ALL
        SELECT notification_id, decided_at AS at, clinic_id, recipient, notification_type, aggregate_type, aggregate_id
        FROM raw_decision
    )
    WHERE ({every:UInt8} OR clinic_id IN {clinics:Array(String)})
      AND ({recipient:String} = '' OR recipient = {recipient:String})
      AND ({type:String} = '' OR notification_type = {type:String})
      AND ({aggregate_id:String} = ''
           OR (aggregate_id = {aggregate_id:String} AND aggregate_type = {aggregate_type:String}))
      AND ({channel:String} = '' OR notification_id IN
           (SELECT notification_id FROM raw_channel_message WHERE channel = {channel:String}))
    GROUP BY notification_id
    HAVING asked_at >= parseDateTime64BestEffort({since:String}, 3, 'UTC')
       AND (asked_at, notification_id) < (parseDateTime64BestEffort({before:String}, 3, 'UTC'), {before_id:String})
    ORDER BY asked_at DESC, notification_id DESC
    LIMIT {limit:UInt32}
"""


# As event types begin.
AGGREGATE_TYPES = tuple(sorted({name.partition(".")[0] for name in EVENT_TYPES}))


class About(NamedTuple):
    """One thing that events tell of. ``aggregate_type``: the part of their type before the point."""

    aggregate_type: str
    aggregate_id: str

    @classmethod
    def read(cls, text: str) -> About | None:
        """``appointment:A-7``; None: it is not written so. Ids may hold colons."""
        kind, _, id_ = text.partition(":")
        return cls(kind, id_) if kind in AGGREGATE_TYPES and id_ else None


class Filter(NamedTuple):
    """What to list; empty, None: any. ``clinics`` None: of all. ``channel``: a message was made for it."""

    since: datetime
    recipient: str = ""
    notification_type: str = ""
    state: str = ""
    channel: str = ""
    clinics: Sequence[str] | None = None
    about: About | None = None


class Page(NamedTuple):
    """``next``: the place behind which the next page begins; None: this was the last. It may hold fewer than were asked for."""

    stories: list[Story]
    next: Place | None


def listed(client: Client, wanted: Filter, before: Place, limit: int) -> Page:
    """At most ``limit`` of them behind ``before``. Raises ClickHouseError."""
    found: list[Story] = []
    looked_at = 0
    while looked_at < MOST_LOOKED_AT:
        places = _places(client, wanted, before, LOOKED_AT_ONCE)
        told = {one.notification_id: one for one in stories(client, [place.notification_id for place in places])}
        for place in places:
            story = told.get(place.notification_id)
            if story is not None and wanted.state in ("", story.state):
                if len(found) == limit:
                    return Page(found, before)
                found.append(story)
            before = place
        if len(places) < LOOKED_AT_ONCE:
            return Page(found, None)
        looked_at += len(places)
    return Page(found, before)


def _places(client: Client, wanted: Filter, before: Place, limit: int) -> list[Place]:
    about = wanted.about or About("", "")
    parameters = {
        **about._asdict(),
        "every": int(wanted.clinics is None),
        "clinics": list(wanted.clinics or ()),
        "recipient": wanted.recipient,
        "type": wanted.notification_type,
        "channel": wanted.channel,
        "since": wanted.since.astimezone(UTC).isoformat(),
        "before": before.asked_at.astimezone(UTC).isoformat(),
        "before_id": before.notification_id,
        "limit": limit,
    }
    return places_in(client, _MATCHING, parameters)
