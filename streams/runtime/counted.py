"""What a stream's process counts, for the exporter: read in its thread, so only copies of plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from connectors.metrics import catalogue, streamed
from connectors.metrics.counting import Labels, Read, Source, one
from streams.runtime.partition import Phase
from streams.runtime.plane import DataPlane

_SHOWN = (Phase.OPENING, Phase.RUNNING, Phase.SUSPENDED)


def sources_of(plane: DataPlane) -> list[Source]:
    """Everything the data plane of one app knows of itself."""
    app, metrics = plane.plan.app, plane.metrics

    def numbers() -> list[Source]:
        plain: dict[catalogue.Metric, Callable[[], float]] = {
            streamed.EVENTS: lambda: metrics.events,
            streamed.TIMERS_FIRED: lambda: metrics.timers_fired,
            streamed.TIMERS_PENDING: lambda: sum(metrics.timers.copy().values()),
            streamed.TIMERS_LATE: late_seconds,
            streamed.SKIPPED: lambda: metrics.skipped,
            streamed.OUTPUTS: lambda: metrics.outputs,
            streamed.QUEUED: lambda: metrics.queued_records,
            streamed.RESTORED: lambda: metrics.restored_records,
            streamed.RESTORE_LEFT: lambda: sum(metrics.restoring.copy().values()),
            streamed.REBALANCES: lambda: metrics.rebalances,
            streamed.POSITIONS_LOST: lambda: metrics.positions_lost,
        }
        return [Read(metric, one(read, app)) for metric, read in plain.items()]

    def late_seconds() -> float:
        due = [partition.known_due_ms for partition in plane.partitions.copy().values()]
        earliest_ms = min((known for known in due if known is not None), default=None)
        return 0.0 if earliest_ms is None else max(0.0, (plane.plan.clock_ms() - earliest_ms) / 1000)

    def phases() -> list[tuple[Labels, float]]:
        here = Counter(partition.phase for partition in plane.partitions.copy().values())
        here[Phase.OPENING] += plane.opening
        return [((app, phase.value), here[phase]) for phase in _SHOWN]

    return [
        *numbers(),
        Read(streamed.PARTITIONS, phases),
        Read(
            catalogue.LAG,
            lambda: [((topic, str(number)), lag) for (topic, number), lag in metrics.input_lag_records.items()],
        ),
        Read(streamed.VIEW_LAG, lambda: [((app, view), lag) for view, lag in metrics.view_lag_records.copy().items()]),
        Read(
            catalogue.DEAD_LETTERS,
            lambda: [((app, code), count) for code, count in metrics.dead_letter_codes.copy().items()],
        ),
        metrics.work_seconds,
        metrics.commit_seconds,
    ]
