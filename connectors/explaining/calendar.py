"""What was asked for about one thing, an appointment say, in the order in which it goes out, or would have. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from connectors.explaining.facts import Story
from connectors.explaining.sentence import LEFT


def calendar(stories: Iterable[Story]) -> list[tuple[datetime, Story]]:
    """Each with its moment, earliest first; at the same moment, older versions first."""
    return sorted(((moment_of(one), one) for one in stories), key=_place)


def moment_of(story: Story) -> datetime:
    """When it went out; else until when it waits; else when it was due; else when it was decided, or asked for."""
    left = [at for one in story.deliveries if (at := one.at(*LEFT)) is not None]
    if left:
        return min(left)
    decision = story.last
    if decision is not None and decision.outcome == "defer" and decision.until is not None:
        return decision.until
    if story.due_at is not None:
        return story.due_at
    if decision is not None:
        return decision.decided_at
    return story.requested_at or story.occurred_at


def _place(entry: tuple[datetime, Story]) -> tuple[datetime, int, str, str]:
    moment, story = entry
    return moment, story.aggregate_version, story.notification_type, story.notification_id
