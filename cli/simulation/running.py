"""One simulation from beginning to end: tables filled, time let pass a day at a time, what came of it put together."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.setup import DEMO_POLICY, SYSTEM_POLICY
from cli.simulation.first_hop import FirstHop
from cli.simulation.lookers import Lookers
from cli.simulation.outcome import Outcome, together
from cli.simulation.parts import PATIENTS, STAFF, Given, placed
from cli.simulation.provider import VirtualProvider
from cli.simulation.second_hop import SecondHop
from cli.simulation.staff import Staff
from cli.simulation.tables import Keys, Tables, made_templates
from cli.simulation.workers import Worker, working
from connectors.demo.script import Happening
from streams.catalog import Catalog

# The demo clinic, with limits and hours that a year runs into: so few a day that caps hold, and a quiet night.
SIMULATED_POLICY: dict[str, Any] = DEMO_POLICY | {
    "daily_cap": 6,
    "category_caps": {"marketing": 1},
    "messages_per_hour": 8,
    "quiet_hours": {
        "start": "21:30",
        "end": "07:30",
        "exceptions": ["appointment_reminders"],
    },
}
_SLICE_MS = 24 * 60 * 60 * 1000
# The first hop is so many slices ahead of who works slowest: enough for nobody to wait for it, few enough to hold in memory.
_AHEAD = 3


def simulate(
    script: Sequence[Happening],
    *,
    begins_ms: int,
    ends_ms: int,
    seed: int,
    catalog: Catalog,
    policy: Mapping[str, Any] = SIMULATED_POLICY,
    workers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Lets the script happen. Times in ms since the epoch; ``progress`` is told each day once it is over.

    ``workers``: processes that share the partitions of patients, 1 to ``PATIENTS``; what comes of it does not depend on them. No
    other thread may run. Raises WorkerLost.
    """
    with tempfile.TemporaryDirectory(prefix="luxe-simulate-") as folder:
        keys = Keys(Path(folder))
        keys.make(script)
        templates = made_templates(keys.codec, catalog)

        def tables() -> Tables:
            made = Tables(keys, templates)
            for one in (SYSTEM_POLICY, policy):
                made.put_policy(one, begins_ms)
            return made

        provider = VirtualProvider(seed)
        everything = placed(script)
        hops = [
            SecondHop(part, everything, tables(), catalog, provider, Lookers(catalog, policy))
            for part in range(PATIENTS)
        ]
        staff = Staff(STAFF, everything, tables(), catalog, provider, Lookers(catalog, policy))
        first = FirstHop(script, tables(), catalog)
        with working(hops, workers) as crew:
            # What is due when it ends belongs to it.
            slices = [*range(begins_ms + _SLICE_MS, ends_ms + 1, _SLICE_MS), ends_ms + 1]
            _pass(first, crew, staff, slices, progress)
            outcomes = dict(one for worker in crew for one in worker.finish(ends_ms))
        found = together([*(outcomes[part] for part in range(PATIENTS)), staff.finish(ends_ms)])
        return found.with_timers(first.timers)


def _pass(
    first: FirstHop,
    crew: Sequence[Worker],
    staff: Staff,
    slices: Sequence[int],
    progress: Callable[[int], None],
) -> None:
    """Slice after slice, each to before one of ``slices``: the first hop, patients (several at once), then staff."""
    given_out: deque[tuple[int, Sequence[Given]]] = deque()

    def settle() -> None:
        until_ms, given = given_out.popleft()
        for worker in crew:
            staff.hear(worker.take())
        staff.run(until_ms, given)
        progress(until_ms)

    for until_ms in slices:
        given = first.run(until_ms)
        for worker in crew:
            worker.give(until_ms, given)
        given_out.append((until_ms, given.get(STAFF, ())))
        if len(given_out) > _AHEAD:
            settle()
    while given_out:
        settle()
