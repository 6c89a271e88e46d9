"""Which time a sweep asks the provider about, and which of the texts found are new. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from connectors.providers.twilio import Received

# Twilio gives up on a webhook after 15 s: what is younger is perhaps being taken just now.
GRACE = timedelta(seconds=30)
# The provider's list may show a text later than it came.
OVERLAP = timedelta(minutes=10)
SLICE = timedelta(hours=1)


class Window(NamedTuple):
    """[since, until) of the provider's clock. ``cut``: texts before ``since`` are not asked for, though nobody swept them."""

    since: datetime
    until: datetime
    cut: bool


def window(through: datetime, now: datetime, look_back: timedelta) -> Window:
    """What is not swept yet, and a little of what is. Twilio counts whole seconds."""
    until = (now - GRACE).replace(microsecond=0)
    since = (through - OVERLAP).replace(microsecond=0)
    earliest = until - look_back
    return Window(min(max(since, earliest), until), until, through < earliest)


def slices(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The window in pieces of an hour at most, the oldest first: after a day's outage the first hour is done first."""
    while since < until:
        end = min(since + SLICE, until)
        yield since, end
        since = end


def news(found: Iterable[Received], known: Collection[str]) -> list[Received]:
    """Those that were not taken, each once, the oldest first: what was said later holds."""
    fresh = {one.message_id: one for one in found if one.message_id not in known}
    return sorted(fresh.values(), key=lambda one: (one.at, one.message_id))
