"""Quiet hours: the recipient's, the clinic's, and those that the law sets for texts. They put off, they never drop.

The recipient's are read in their own zone, else the recipient's, else the clinic's. Critical notifications, what answers the
recipient, and what the hours' exceptions name are not held; nor is news that would come too late for the time it tells of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.rules.deadlines import missed
from streams.rules.findings import NOT_APPLICABLE, Finding, held, passed
from streams.rules.given import Given
from streams.rules.hours import NEVER_MS, Hours, hours
from streams.rules.reasons import Reason
from streams.rules.telephone import hours_of
from streams.rules.terms import Channel

# Not everybody who slept until eight is written to at eight sharp: providers' rates, and the clinic's telephone, are glad of it.
SPREAD_MS = 10 * 60 * 1000
_SPREADS = 1 << 16
# So long before quiet hours it is sent: a text needs minutes at worst, and it must not be late for them.
AHEAD_MS = 15 * 60 * 1000
# No quiet hours hold longer than a day, and the spread after them.
LONGEST_NIGHT_MS = 25 * 60 * 60 * 1000 + SPREAD_MS
# How often hours may follow upon each other without a gap before we take them to have no end.
_CHAINED = 16
_SMS: tuple[Channel, ...] = ("sms",)


class Window(NamedTuple):
    """Hours, the channels they hold, and whose they are."""

    hours: Hours
    channels: tuple[Channel, ...]
    reason: Reason


def windows(given: Given) -> tuple[Window, ...]:
    """All that hold this notification, now or later; not a channel that would be free too late for what it tells of."""
    found = _windows(given)
    hurried = _hurried(given, found)
    if not hurried:
        return found
    return tuple(one._replace(channels=tuple(c for c in one.channels if c not in hurried)) for one in found)


def hurried(given: Given) -> Mapping[Channel, int]:
    """Channels that are used although it is quiet, since it would be too late after that → before when (ms since the epoch)."""
    return _hurried(given, _windows(given)) if given.deadlines else {}


def _hurried(given: Given, found: tuple[Window, ...]) -> Mapping[Channel, int]:
    if not given.deadlines:
        return {}
    now_ms, earliest = given.now_ms, {}
    for channel in given.terms.all_channels:
        free_ms = free_from(found, channel, now_ms)
        if free_ms > now_ms and (at_ms := missed(given.deadlines, now_ms, free_ms + SPREAD_MS)) is not None:
            earliest[channel] = at_ms
    return earliest


def _windows(given: Given) -> tuple[Window, ...]:
    terms, person = given.terms, given.person
    if terms.critical or terms.answers:
        return ()
    found: list[Window] = []
    zone = person.time_zone or given.zone
    quiet = person.quiet
    if quiet is not None and terms.words.isdisjoint(quiet.exceptions):
        _add(
            found, hours(quiet.start, quiet.end, quiet.weekdays, quiet.zone or zone), quiet.channels, Reason.QUIET_HOURS
        )
    quiet = given.clinic_quiet
    if quiet is not None and terms.of_patients and terms.words.isdisjoint(quiet.exceptions):
        held_by_clinic = hours(quiet.start, quiet.end, quiet.weekdays, zone)
        _add(found, held_by_clinic, quiet.channels, Reason.CLINIC_QUIET_HOURS)
    if not terms.essential and "sms" in terms.all_channels and (number := person.addresses.get("sms")) is not None:
        lawful = hours_of(number)
        if lawful is not None:
            (start, end), zones = lawful
            for name in (person.time_zone,) if person.time_zone else zones or (given.zone,):
                _add(found, hours(start, end, (), name), _SMS, Reason.TELEPHONE_HOURS)
    return tuple(found)


def quiet_hours(given: Given) -> Finding:
    """Channels that are quiet now."""
    if given.terms.critical or given.terms.answers:
        return NOT_APPLICABLE
    closed: dict[Channel, Reason] = {}
    for window in windows(given):
        if window.hours.quiet_until(given.now_ms) is not None:
            for channel in window.channels:
                closed.setdefault(channel, window.reason)
    if closed or not given.deadlines or not hurried(given):
        return held(closed)
    return passed(Reason.IN_TIME_FOR)


def free_from(found: Iterable[Window], channel: Channel, at_ms: int) -> int:
    """The first instant from ``at_ms`` at which nothing holds the channel."""
    mine = [window.hours for window in found if channel in window.channels]
    for _ in range(_CHAINED):
        ends = [end for one in mine if (end := one.quiet_until(at_ms)) is not None]
        if not ends:
            break
        at_ms = max(ends)
    return at_ms


def released_at(given: Given, found: Iterable[Window], channels: Iterable[Channel], not_before_ms: int) -> int:
    """When it is decided again: as soon as one of these channels is free, and some minutes later, each notification its own."""
    free_ms, channel = min((free_from(found, channel, not_before_ms), channel) for channel in channels)
    room_ms = min(SPREAD_MS, (free_ms - given.now_ms) // 4)
    if given.expires_at_ms is not None:
        room_ms = min(room_ms, max(0, (given.expires_at_ms - free_ms) // 2))
    spread_ms = free_ms + room_ms * given.spread // _SPREADS
    return spread_ms if free_from(found, channel, spread_ms) == spread_ms else free_ms


def before_quiet(given: Given, due_ms: int) -> int | None:
    """When to send what is due later, in quiet hours, and would expire before they end: just before they begin, if that is ahead.

    None: it is sent when it is due, or waits for the end of the quiet hours then.
    """
    found = windows(given)
    if not found or given.expires_at_ms is None:
        return None
    terms, addresses = given.terms, given.person.addresses
    first = [channel for channel in terms.channels if channel in addresses]
    if not first or min(free_from(found, channel, due_ms) for channel in first) < given.expires_at_ms:
        return None
    before_ms = max(_free_until(found, channel, due_ms) for channel in first) - AHEAD_MS
    return before_ms if before_ms > given.now_ms else None


def _free_until(found: Iterable[Window], channel: Channel, at_ms: int) -> int:
    """The last instant before ``at_ms`` at which something begins to hold the channel, after nothing did."""
    mine = [window.hours for window in found if channel in window.channels]
    for _ in range(_CHAINED):
        starts = [period.start_ms for one in mine if (period := one.period(at_ms - 1)).start_ms < at_ms]
        if not starts:
            break
        at_ms = min(starts)
    return at_ms


def quiet_from(found: Iterable[Window], channel: Channel, at_ms: int) -> int | None:
    """When the channel is quiet next, at or after ``at_ms``; None: never."""
    starts = [window.hours.period(at_ms).start_ms for window in found if channel in window.channels]
    return None if not starts or (first := min(starts)) >= NEVER_MS else max(at_ms, first)


def _add(found: list[Window], these: Hours | None, channels: tuple[Channel, ...], reason: Reason) -> None:
    if these is not None:
        found.append(Window(these, channels, reason))
