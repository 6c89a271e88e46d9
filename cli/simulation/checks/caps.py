"""Nobody is sent more than the clinic's caps allow, or advertising more often than they wish."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from cli.simulation.checks.check import Check, at
from cli.simulation.checks.wishes import Wishes

_HOUR_MS = 60 * 60 * 1000
_DAY_MS = 24 * _HOUR_MS
# The specification's gaps between two of marketing; weekly where nobody was asked.
_GAPS_MS = {"daily": 24 * _HOUR_MS, "weekly": 168 * _HOUR_MS, "monthly": 720 * _HOUR_MS}
_KEPT_MS = 31 * _DAY_MS
_LONGEST_DAY_MS = 26 * _HOUR_MS  # the one that has an hour twice, and one more
_COLLECTS = frozenset({"digest", "daily_cap", "category_cap"})


class _Sent(NamedTuple):
    """A notification that was sent, and has not failed so far."""

    at_ms: int
    notification_id: str
    category: str
    marketing: bool


_at_ms = attrgetter("at_ms")


class Caps(Check):
    """Counts what was sent and never failed on any channel: less than notify counts, so what is above is above for both.
    Staff have no caps.

    One a day may be above them: the digest, or the one thing that was collected for it. ``marketing``: types that the wish for
    marketing's frequency is about; ``free``: types that are critical, or answer the recipient; ``digests``: those of digests.
    """

    rule = "caps"

    def __init__(
        self,
        wishes: Wishes,
        policy: Mapping[str, Any],
        marketing: Collection[str],
        free: Collection[str],
        digests: Collection[str],
    ) -> None:
        super().__init__()
        self._wishes, self._marketing, self._free = wishes, frozenset(marketing), frozenset(free)
        self._digests = frozenset(digests)
        self._collected: set[str] = set()
        self._digest_of: dict[str, date] = {}  # recipient → the day of their last digest
        self._daily: int = policy.get("daily_cap", 0)
        self._by_category: Mapping[str, int] = policy.get("category_caps", {})
        self._zone: str = policy["time_zone"]
        self._sent: defaultdict[str, list[_Sent]] = defaultdict(list)
        self._counted: set[str] = set()
        self._judged: set[str] = set()
        self._failed: set[str] = set()

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what waits for a digest: as long as the hour of digests says, and for a reason that collects."""
        if value["outcome"] == "defer" and value["reason"] in _COLLECTS:
            self._collected.add(value["notification_id"])

    def message(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts a notification by its first message, judges it by the first that may disturb: the portal alone never does."""
        name, recipient = value["notification_id"], value["recipient"]
        kind, category = value["notification_type"], value["category"]
        is_marketing = kind in self._marketing
        sent = self._sent[recipient]
        if value["channel"] != "in_app" and name not in self._judged:
            self._judged.add(name)
            if recipient.startswith("patient:") and not value["essential"] and kind not in self._free:
                # What came before its own first message: a next channel takes the place that was taken then.
                reach_ms = _KEPT_MS if is_marketing else _LONGEST_DAY_MS
                start = 0 if name in self._counted else bisect_left(sent, at_ms - reach_ms, key=_at_ms)
                earlier = itertools.takewhile(lambda one: one.notification_id != name, sent[start:])
                before = [one for one in earlier if one.notification_id not in self._failed]
                self._judge(value, before, at_ms, is_marketing)
        if name in self._counted:
            return
        self._counted.add(name)
        if sent and sent[0].at_ms < at_ms - 2 * _KEPT_MS:
            self._sent[recipient] = sent = [one for one in sent if one.at_ms >= at_ms - _KEPT_MS]
        sent.append(_Sent(at_ms, name, category, is_marketing))

    def _judge(self, value: Mapping[str, Any], sent: list[_Sent], at_ms: int, is_marketing: bool) -> None:
        name, kind, recipient = value["notification_id"], value["notification_type"], value["recipient"]
        zone = self._wishes.zone(recipient, self._zone)
        day = at(at_ms).astimezone(zone).date()
        if (name in self._collected or kind in self._digests) and self._digest_of.get(recipient) != day:
            self._digest_of[recipient] = day
            return
        today = [one for one in sent if at(one.at_ms).astimezone(zone).date() == day]
        if self._daily and len(today) >= self._daily:
            self.violates(name, f"{kind} is number {len(today) + 1} of the day; the clinic sends {self._daily}")
        limit = self._by_category.get(value["category"], 0)
        of_category = sum(one.category == value["category"] for one in today)
        if limit and of_category >= limit:
            self.violates(
                name, f"{kind} is number {of_category + 1} of its category that day; the clinic sends {limit}"
            )
        if not is_marketing:
            return
        wanted = self._wishes.of(recipient).get("frequency_marketing", "weekly")
        last_ms = max((one.at_ms for one in sent if one.marketing), default=None)
        if wanted in ("never", "none"):
            self.violates(name, f"{kind} to who wants no marketing")
        elif last_ms is not None and at_ms - last_ms < _GAPS_MS[wanted]:
            self.violates(name, f"{kind} {(at_ms - last_ms) / _HOUR_MS:.0f} h after the last; {wanted} is wanted")

    def status(self, value: Mapping[str, Any], at_ms: int) -> None:
        """What failed, or was stopped before the call, may be given back."""
        if value["status"] not in ("sent", "delivered", "read"):
            self._failed.add(value["notification_id"])
