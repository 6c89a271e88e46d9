"""All checks of one simulation, in the order in which they are told: what people wish first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cli.simulation.checks.agreed import Agreed
from cli.simulation.checks.announced import Announced
from cli.simulation.checks.books import Books, Once
from cli.simulation.checks.caps import Caps
from cli.simulation.checks.ceilings import Ceilings
from cli.simulation.checks.check import Check, Violation
from cli.simulation.checks.in_time import InTime, Living
from cli.simulation.checks.needed import Needed
from cli.simulation.checks.reminders import Promised, Reminders
from cli.simulation.checks.undisturbed import Undisturbed
from cli.simulation.checks.wishes import Wishes
from cli.simulation.onlooker import Onlooker
from streams.catalog import Catalog
from streams.catalog_model import NotificationType

REMINDERS = ("appointment_reminder_48h", "appointment_reminder_24h", "appointment_reminder_2h")


class Checks(NamedTuple):
    """See the module. ``reminders`` and ``books`` have figures of their own."""

    wishes: Wishes
    reminders: Reminders
    books: Books
    others: tuple[Check, ...]

    @property
    def onlookers(self) -> tuple[Onlooker, ...]:
        """Whom the world tells, in this order."""
        return (self.wishes, *self.all)

    @property
    def all(self) -> tuple[Check, ...]:
        """Every check."""
        return (self.reminders, self.books, *self.others)

    def finish(self, now_ms: int) -> None:
        """The simulation is over."""
        for check in self.all:
            check.finish(now_ms)

    @property
    def violations(self) -> int:
        """Of all checks together."""
        return sum(check.count for check in self.all)

    def shown(self) -> Iterator[Violation]:
        """The first of each check's."""
        for check in self.all:
            yield from check.shown


def checks_for(catalog: Catalog, policy: Mapping[str, Any]) -> Checks:
    """What the catalogue promises (which types are advertising, when a reminder comes) is read as data, not asked of rules."""
    kinds = catalog.types
    marketing = [name for name, kind in kinds.items() if kind.consent_scope == "marketing"]
    answers = [name for name, kind in kinds.items() if kind.answers]
    wishes = Wishes()
    return Checks(
        wishes,
        Reminders(
            wishes,
            {name: _promised(kinds[name]) for name in REMINDERS},
            policy["time_zone"],
            [name for name in REMINDERS if kinds[name].asks == "confirmation"],
        ),
        Books(),
        (
            Once(),
            Agreed(wishes, marketing, [name for name, kind in kinds.items() if kind.consent_scope == "none"]),
            Undisturbed(wishes, policy, answers),
            InTime(),
            Living(),
            Needed(),
            Announced(policy["time_zone"]),
            Ceilings(wishes),
            Caps(
                wishes,
                policy,
                [name for name, kind in kinds.items() if kind.frequency_class == "marketing"],
                [name for name, kind in kinds.items() if kind.answers or kind.lane == "critical"],
                [name for name in kinds if name.endswith("_digest")],
            ),
        ),
    )


def _promised(kind: NotificationType) -> Promised:
    """When a reminder comes, as each of its triggers says. Raises ValueError where they differ."""
    timings = [timing for trigger in kind.triggers if trigger.timing != "immediate" for timing in trigger.timing]
    found = {Promised(str(timing.before), str(timing.skip_if_within or "PT0M")) for timing in timings}
    if len(found) != 1:
        raise ValueError(f"{kind.name}: comes at {len(found)} times, where the check of reminders knows of one")
    return found.pop()
