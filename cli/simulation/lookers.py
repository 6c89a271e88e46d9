"""Whoever looks on in one partition: all checks, and those that count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.simulation.checks.every import checks_for
from cli.simulation.leads import Leads
from cli.simulation.onlooker import Onlooker
from cli.simulation.outcome import Outcome
from cli.simulation.telling import Counted
from streams.catalog import Catalog


class Lookers:
    """``all``: whom the partition tells, in this order; ``elsewhere``: those of them that learn from other partitions' events."""

    def __init__(self, catalog: Catalog, policy: Mapping[str, Any]) -> None:
        zone = str(policy["time_zone"])
        self._checks = checks_for(catalog, policy)
        self._counted, self._leads = Counted(zone), Leads(zone)
        self.all: tuple[Onlooker, ...] = (*self._checks.onlookers, self._counted, self._leads)
        self.elsewhere = tuple(one for one in self.all if type(one).elsewhere is not Onlooker.elsewhere)

    def finish(self, now_ms: int, timers: int) -> Outcome:
        """The simulation is over. ``timers``: that wait now."""
        checks, counted, leads = self._checks, self._counted, self._leads
        checks.finish(now_ms)
        return Outcome(
            events=counted.events.total(),
            requested=checks.books.requested,
            ended=checks.books.ended,
            waiting=checks.books.waiting,
            timers=timers,
            violations=checks.violations,
            sent=counted.sent,
            hours=counted.hours,
            refused=counted.refused,
            outcomes=counted.outcomes,
            letters=counted.letters,
            booked=leads.booked,
            led=leads.sent,
            reminders=checks.reminders.table,
            shown={check.rule: check.shown for check in checks.all},
        )
