"""Stopping services: those nobody needs any more at once, then what they needed; politely first, each within its grace."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable

from connectors.stack.process import ProcessRecord, kill_group, send_signal
from connectors.stack.service import ServiceSpec, in_start_order

POLL_SECONDS = 0.05


def in_stop_waves(specs: Iterable[ServiceSpec]) -> list[list[ServiceSpec]]:
    """The specifications in the order of stopping. None of a wave is needed by another of it or of a later one."""
    left = in_start_order(specs)
    waves = []
    while left:
        needed = {name for spec in left for name in spec.depends_on}
        wave = [spec for spec in left if spec.name not in needed]
        waves.append(wave)
        left = [spec for spec in left if spec.name in needed]
    return waves


def stop_services(
    specs: Iterable[ServiceSpec],
    record_of: Callable[[ServiceSpec], ProcessRecord | None],
    stopping: Callable[[ServiceSpec], None],
    stopped: Callable[[ServiceSpec], None],
) -> None:
    """Stops the recorded process of every service, and kills what has not ended within its grace.

    ``stopping`` is told of a service before its signal, ``stopped`` once its process is gone.
    """
    for wave in in_stop_waves(specs):
        ending: list[tuple[ServiceSpec, ProcessRecord | None, float]] = []
        for spec in wave:
            stopping(spec)
            record = record_of(spec)
            if record is not None:
                send_signal(record, signal.Signals(spec.stop_signal))
            ending.append((spec, record, time.monotonic() + spec.grace_seconds))
        while ending:
            for entry in list(ending):
                spec, record, deadline = entry
                if record is None or not record.is_alive():
                    ending.remove(entry)
                    stopped(spec)
                elif time.monotonic() > deadline:
                    kill_group(record)
            time.sleep(POLL_SECONDS if ending else 0)
