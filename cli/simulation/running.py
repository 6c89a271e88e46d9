"""One simulation from beginning to end: tables filled, time let pass, its folder removed."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cli.setup import DEMO_POLICY, SYSTEM_POLICY
from cli.simulation.onlooker import Onlooker
from cli.simulation.provider import VirtualProvider
from cli.simulation.tables import Tables
from cli.simulation.world import World
from connectors.demo.script import Happening
from streams.catalog import Catalog
from streams.render.sources import load_templates

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


class Ran(NamedTuple):
    """How it ended. ``timers``: that waited then. ``counts``: what happened, by a short name."""

    timers: int
    counts: Counter[str]


def simulate(
    script: Sequence[Happening],
    *,
    begins_ms: int,
    ends_ms: int,
    seed: int,
    catalog: Catalog,
    onlookers: Iterable[Onlooker],
    policies: Iterable[Mapping[str, Any]] = (SIMULATED_POLICY,),
    progress: Callable[[int], None] = lambda _: None,
) -> Ran:
    """Lets the script happen. Times in ms since the epoch; ``progress`` is told each instant once it is over."""
    with tempfile.TemporaryDirectory(prefix="luxe-simulate-") as folder:
        tables = Tables(Path(folder))
        for policy in (SYSTEM_POLICY, *policies):
            tables.put_policy(policy, begins_ms)
        tables.put_texts(load_templates(catalog))
        world = World(Path(folder), tables, catalog, VirtualProvider(seed), onlookers)
        for now_ms in world.run(script, ends_ms):
            progress(now_ms)
        return Ran(world.timers, world.counts)
