"""`make bench`: all benchmarks, or those named. Prints a table, writes build/bench.json.

python -m tests.bench [NAME…] [--list]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.bench import (
    api,
    clickhouse,
    codec,
    decision,
    lanes,
    latency,
    live,
    pipeline,
    postgres,
    sealing,
    segments,
    sinks,
    streams_runtime,
    timers,
)
from tests.bench.report import RESULTS, Figure, write
from tests.bench.stack import running_stack
from tests.conftest import Stack

Say = Callable[[str], None]


class Bench(NamedTuple):
    """What measures, which services it wants beside Kafka and Postgres, and a program that is no part of the project."""

    figures: Callable[[Stack, Say], list[Figure]]
    services: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    tool: str | None = None


# What several partitions share is part of what these compare. Latency is measured on the stack as `luxe up` makes it.
SEVERAL_PARTITIONS = {"LUXE_KAFKA_PARTITIONS": "4"}

# Those that need no stack.
ALONE: Mapping[str, Callable[[], list[Figure]]] = {
    "codec": codec.figures,
    "sealing": sealing.figures,
    "decision": decision.figures,
}
ON_A_STACK: Mapping[str, Bench] = {
    "pipeline": Bench(pipeline.figures, ("relay",), SEVERAL_PARTITIONS),
    "latency": Bench(latency.figures, ("relay", "intake", "notify", "sms"), latency.ENVIRONMENT),
    "live": Bench(live.figures, ("relay", "api", "in_app")),
    "api": Bench(api.figures, ("relay", "api"), tool=api.TOOL),
    "runtime": Bench(
        lambda stack, say: [Figure(**raced) for raced in streams_runtime.benchmarks(stack.settings, say=say)],
        environment=SEVERAL_PARTITIONS,
    ),
    "timers": Bench(lambda stack, say: timers.figures(stack.settings, say)),
    "sinks": Bench(sinks.figures, environment=SEVERAL_PARTITIONS),
    "lanes": Bench(lanes.figures, environment=SEVERAL_PARTITIONS),
    "postgres": Bench(postgres.figures, environment=SEVERAL_PARTITIONS),
    "segments": Bench(segments.figures),
    "clickhouse": Bench(clickhouse.figures, environment=SEVERAL_PARTITIONS),
}
NAMES = (*ALONE, *ON_A_STACK)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Benchmarks; see docs/benchmarks.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="only print the names")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(NAMES))
        return 0
    if unknown := [name for name in chosen.names if name not in NAMES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    began = time.monotonic()
    found: list[Figure] = []
    for name in chosen.names or NAMES:
        found += _measure(name, began)
        write(found)
    print(_table(found))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores shared with the broker; {RESULTS} written.")
    return 0


def _measure(name: str, began: float) -> list[Figure]:
    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {name}: {text}", file=sys.stderr, flush=True)

    if name in ALONE:
        say("measuring")
        return ALONE[name]()
    bench = ON_A_STACK[name]
    if bench.tool is not None and shutil.which(bench.tool) is None:
        say(f"NOT MEASURED: {bench.tool} is not installed (Debian: apt-get install {bench.tool})")
        return []
    say("starting a stack of its own")
    with running_stack(*bench.services, environment=bench.environment) as stack:
        return bench.figures(stack, say)


def _table(figures: Sequence[Figure]) -> str:
    rows = [("", "ours", "reference", "ratio", "goal", "")]
    for figure in figures:
        ours, reference = (f"{value:,.0f} {figure.unit}" for value in (figure.ours, figure.reference))
        met = "met" if figure.is_met else "MISSED"
        rows.append((figure.name, ours, reference, f"{figure.ratio:.2f}", f"≥ {figure.goal:g}", met))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers, met in rows:
        cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, met]).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
