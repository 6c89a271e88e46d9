"""What somebody was sent lately, as far as it counts: decided to be sent, and not all of it failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson
from clickhouse_connect.driver.client import Client

from connectors.explaining.facts import Step, Story
from connectors.explaining.recorded import stories

# Nothing of longer ago counts: the longest gap between two is the monthly one, 720 h.
COUNTED = timedelta(hours=720)
# Nobody is told so much in a month; a runaway producer's victim is counted by the newest.
_MOST = 500
# What failed gives its place back; an unknown outcome is no failure yet.
_FAILED = frozenset({"undelivered", "failed", "bounced", "cancelled", "suppressed", "expired"})

_SENT = """
    SELECT notification_id FROM raw_decision
    WHERE recipient = {recipient:String} AND outcome = 'deliver'
      AND decided_at > parseDateTime64BestEffort({since:String}, 3, 'UTC')
    GROUP BY notification_id ORDER BY max(decided_at) DESC LIMIT {most:UInt32}
"""


class Told(NamedTuple):
    """One notification that was sent: ``messages`` at once."""

    notification_id: str
    notification_type: str
    aggregate_id: str
    at: datetime
    messages: int


def told_to(client: Client, recipient: str, until: datetime) -> list[Told]:
    """What counts of somebody's notifications at that time, oldest first. Raises ClickHouseError."""
    parameters = {"recipient": recipient, "since": (until - COUNTED).astimezone(UTC).isoformat(), "most": _MOST}
    answer = client.raw_query(_SENT, parameters=parameters, fmt="JSONEachRow")
    ids = [orjson.loads(line)["notification_id"] for line in answer.splitlines() if line]
    return sorted(filter(None, map(counted, stories(client, ids))), key=lambda one: one.at)


def counted(story: Story) -> Told | None:
    """A story as it counts; None: it takes up nothing."""
    decision = story.last
    if decision is None or decision.outcome != "deliver":
        return None
    first = _first(decision.steps)
    standing = {one.delivery_id: one.status for one in story.deliveries}
    if all(standing.get(step.delivery_id) in _FAILED for step in first):
        return None
    return Told(story.notification_id, story.notification_type, story.aggregate_id, decision.decided_at, len(first))


def _first(steps: Sequence[Step]) -> list[Step]:
    """The steps that are taken at once: the first, and those parallel to it."""
    ends = next((place for place, step in enumerate(steps) if place and not step.parallel), len(steps))
    return list(steps[:ends])
