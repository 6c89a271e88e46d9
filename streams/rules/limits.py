"""How much one recipient is told: the clinic's limits, and what they were told lately."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import time
from functools import lru_cache
from typing import Any, NamedTuple

from streams.rules.hours import Hours, Period
from streams.rules.terms import Terms

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# The longest gap there is: monthly, 720 h. Counts are of a day, and a day has at most 25 hours.
LONGEST_GAP_MS = 720 * HOUR_MS
_COUNTED_MS = 2 * DAY_MS
# Classes with a minimum gap between two of them.
GAPPED = frozenset({"marketing", "reviews"})


class Limits(NamedTuple):
    """A clinic's, to one recipient; 0: none. ``digest_hour``: of the recipient's day."""

    daily: int = 0
    by_category: Mapping[str, int] = {}
    per_minute: int = 0
    per_hour: int = 0
    digest_hour: int = 9
    digest_categories: Collection[str] = ()

    def counts(self, terms: Terms) -> bool:
        """Must notifications of this type be counted, since something limits them or others?"""
        capped = terms.of_patients and (self.daily or terms.category in self.by_category)
        return bool(capped or self.per_minute or self.per_hour or terms.frequency_class in GAPPED)


NO_LIMITS = Limits()


def limits_of(policy: Mapping[str, Any]) -> Limits:
    """From a ClinicPolicy."""
    return Limits(
        policy["daily_cap"],
        policy["category_caps"],
        policy["messages_per_minute"],
        policy["messages_per_hour"],
        policy["digest_hour"] % 24,
        frozenset(policy["digest_categories"]),
    )


class Sent(NamedTuple):
    """One notification that was sent: ``messages``, at once."""

    at_ms: int
    notification: str
    category: str
    frequency_class: str
    messages: int


class Tally(NamedTuple):
    """What one recipient was sent lately, oldest first."""

    sent: tuple[Sent, ...] = ()

    def __repr__(self) -> str:
        return f"<Tally of {len(self.sent)}>"

    def with_(self, one: Sent) -> Tally:
        """With one more; the same notification on the same day counts once."""
        return Tally((*(other for other in self.sent if other.notification != one.notification), one))

    def without(self, notification: str) -> Tally:
        """Without one that did not arrive, or that is decided again."""
        return Tally(tuple(one for one in self.sent if one.notification != notification))

    def recent(self, now_ms: int) -> Tally:
        """What can still count."""
        return Tally(
            tuple(
                one
                for one in self.sent
                if one.at_ms > now_ms - (LONGEST_GAP_MS if one.frequency_class in GAPPED else _COUNTED_MS)
            )
        )

    def last_of(self, frequency_class: str) -> int | None:
        """When the last one of a class was sent; None: none was."""
        return max((one.at_ms for one in self.sent if one.frequency_class == frequency_class), default=None)

    def messages_since(self, after_ms: int) -> list[int]:
        """The time of each message after that instant, oldest first."""
        return sorted(at for one in self.sent if one.at_ms > after_ms for at in _times(one))


NOTHING_SENT = Tally()


def _times(one: Sent) -> Iterable[int]:
    return (one.at_ms for _ in range(one.messages))


@lru_cache(maxsize=1024)  # a zone each
def _days(zone_name: str) -> Hours:
    return Hours(time(), time(), frozenset(), zone_name)


def day_of(zone_name: str, now_ms: int) -> Period:
    """The calendar day there: from midnight to midnight, 23 to 25 hours. Raises UnknownZoneError."""
    return _days(zone_name).period(now_ms)


@lru_cache(maxsize=1024)  # zones and the few hours clinics choose
def _digest_hours(zone_name: str, hour: int) -> Hours:
    return Hours(time(hour), time(hour), frozenset(), zone_name)


def next_digest(zone_name: str, hour: int, now_ms: int) -> int:
    """When clocks there show this hour next. Raises UnknownZoneError."""
    return _digest_hours(zone_name, hour).period(now_ms).end_ms
