"""What each recipient agreed to and wishes, as their lines of the import say it, and what the specification says of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cli.simulation.checks.check import at
from cli.simulation.onlooker import Onlooker

# The specification's defaults, where they are not yes: nobody is written to about these without having asked for it.
_NO_BY_DEFAULT = frozenset({"marketing", "membership", "reviews"})


class Wishes(Onlooker):
    """Of everybody, as of now: shared by the checks that need to know it, and told before them."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, str]] = {}

    def wished(self, cells: Mapping[str, str], at_ms: int) -> None:
        """Keeps what a line says; what it does not name stands."""
        recipient = f"{cells.get('kind') or 'patient'}:{cells['recipient_id']}"
        filled = {name: text for name, text in cells.items() if text}
        self._cells.setdefault(recipient, {}).update(filled)

    def of(self, recipient: str) -> Mapping[str, str]:
        """All that is known; nothing of a stranger."""
        return self._cells.get(recipient, {})

    def opted_in(self, recipient: str, channel: str, opt_in: str) -> bool:
        """One of a channel's opt-ins."""
        said = self.of(recipient).get(f"{channel}_opt_in.{opt_in}")
        return said == "true" if said is not None else opt_in not in _NO_BY_DEFAULT

    def zone(self, recipient: str, otherwise: str) -> ZoneInfo:
        """Where they live; the clinic's where that is unknown."""
        return ZoneInfo(self.of(recipient).get("time_zone", otherwise))

    def undisturbed(self, recipient: str, now_ms: int) -> bool:
        """Is do-not-disturb on?"""
        cells = self.of(recipient)
        until = cells.get("do_not_disturb_until")
        return cells.get("do_not_disturb") == "true" and (until is None or datetime.fromisoformat(until) > at(now_ms))

    def is_quiet(self, recipient: str, channel: str, words: frozenset[str], otherwise: str, now_ms: int) -> bool:
        """Is it within their quiet hours, for a message that ``words`` (its type, category, lane) name?"""
        cells = self.of(recipient)
        start, end = cells.get("quiet_hours.start"), cells.get("quiet_hours.end")
        if start is None or end is None or cells.get("quiet_hours.enabled") == "false":
            return False
        if channel not in ("sms", "push") and cells.get("quiet_hours.apply_to_all_channels") == "false":
            return False
        if not words.isdisjoint(listed(cells, "quiet_hours.exceptions")):
            return False
        days = {int(day) for day in listed(cells, "quiet_hours.weekdays")}
        zone = ZoneInfo(cells.get("quiet_hours.time_zone") or cells.get("time_zone") or otherwise)
        return within(start, end, zone, now_ms, days)


def listed(cells: Mapping[str, str], name: str) -> list[str]:
    """A cell of several words."""
    return [word.strip() for word in cells.get(name, "").split(";") if word.strip()]


def within(start: str, end: str, zone: ZoneInfo, now_ms: int, weekdays: set[int] | None = None) -> bool:
    """Is it now from ``start`` to before ``end`` (HH:MM) on the clocks of the zone, in a period begun on one of the days?

    Found by the instants of both ends, so that the hour that comes twice in autumn counts from its first time.
    """
    now = at(now_ms)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        if weekdays and day.isoweekday() not in weekdays:
            continue
        begins = datetime.combine(day, datetime.min.time().fromisoformat(start), zone)
        last = day if end > start else day + timedelta(days=1)
        ends = datetime.combine(last, datetime.min.time().fromisoformat(end), zone)
        if begins.timestamp() * 1000 <= now_ms < ends.timestamp() * 1000:
            return True
    return False


def words_of(message: Mapping[str, str]) -> frozenset[str]:
    """By what an exception may name a message: its type, also in the plural and without its hours, its category, its lane."""
    name = message["notification_type"]
    base, _, tail = name.rpartition("_")
    bare = base if tail.removesuffix("h").isdigit() and tail.endswith("h") else name
    return frozenset({name, f"{name}s", f"{bare}s", message["category"], message["lane"]})
