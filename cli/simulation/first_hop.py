"""The first hop under the virtual clock: events ► intake ► requests, gates and dead letters, each for its partition.

Nothing of what the second hop does comes back to it, but for alarms, and these are of aggregates of their own
(``cli.simulation.staff``): so it may run ahead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cli.simulation.event_records import EventRecords
from cli.simulation.parts import PATIENTS, STAFF, Given, partition_of
from cli.simulation.tables import Tables
from connectors.demo.script import Happening, Wished
from schemas.topics import DEAD_LETTERS, REQUESTED
from streams.catalog import Catalog
from streams.intake import intake_on
from streams.runtime import Output, Record
from streams.runtime.virtual import VirtualPartition


class FirstHop:
    """Intake, by the script, which is in the order of its times."""

    def __init__(self, script: Sequence[Happening], tables: Tables, catalog: Catalog) -> None:
        self._tables = tables
        intake, letters = intake_on(
            tables.codec,
            tables.ring,
            catalog,
            recipients=tables.recipients,
            policies=tables.policies,
            roster=tables.roster,
        )
        self._intake = VirtualPartition(intake.work, letters)
        self._events = EventRecords(tables.codec)
        self._happenings = iter(script)
        self._ahead = next(self._happenings, None)

    @property
    def timers(self) -> int:
        """Timers that wait now."""
        return self._intake.timers

    def run(self, until_ms: int) -> Mapping[int, list[Given]]:
        """Lets time pass to before ``until_ms``; what it gave out, by partition."""
        found: defaultdict[int, list[Given]] = defaultdict(list)
        while (now_ms := self._next_ms()) is not None and now_ms < until_ms:
            outputs = self._intake.run(self._happened(now_ms), now_ms)
            parts: defaultdict[int, list[Output]] = defaultdict(list)
            for output in outputs:
                for part in _parts_of(output):
                    parts[part].append(output)
            for part, own in parts.items():
                found[part].append(Given(now_ms, own))
        return found

    def _next_ms(self) -> int | None:
        timer_ms = self._intake.earliest_ms
        if self._ahead is None:
            return timer_ms
        return self._ahead.at_ms if timer_ms is None else min(self._ahead.at_ms, timer_ms)

    def _happened(self, now_ms: int) -> list[Record]:
        records = []
        while (ahead := self._ahead) is not None and ahead.at_ms <= now_ms:
            if isinstance(ahead, Wished):
                self._tables.put_person(ahead.cells, now_ms)
            else:
                records.append(self._events.told(ahead))
            self._ahead = next(self._happenings, None)
        return records


def _parts_of(output: Output) -> Iterable[int]:
    if output.topic == REQUESTED:
        return (partition_of((output.key or b"").decode()),)
    # Gates are everybody's, as in the sinks' view of them; dead letters nobody's.
    return (STAFF,) if output.topic == DEAD_LETTERS else range(PATIENTS + 1)
