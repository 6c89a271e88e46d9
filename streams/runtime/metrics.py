"""What the data plane counts: plain numbers in one object, read by whoever exports them. No name carries a key or a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

from connectors.metrics import streamed
from connectors.metrics.counting import Timings


@dataclass(slots=True)
class Metrics:
    """Counters since the process began, unless the comment says otherwise."""

    events: int = 0  # event scopes left without an exception (records and timers)
    timers_fired: int = 0
    dead_letters: int = 0
    skipped: int = 0  # records below the stored position: already in an earlier transaction
    outputs: int = 0
    batches: int = 0
    commits: int = 0
    commit_ms: float = 0.0  # sum over commits; divide by commits
    commit_ms_max: float = 0.0
    restored_records: int = 0
    restore_seconds: float = 0.0  # sum over restores; records / seconds is the rate
    rebalances: int = 0
    positions_lost: int = 0  # times the log no longer held the next record: retention took unread input. Alarm on any
    stalls: int = 0
    partitions: int = 0  # running now
    timers: dict[int, int] = field(default_factory=dict)  # partition: timers set that have not fired, now
    queued_records: int = 0  # waiting in this process now
    view_lag_records: dict[str, int] = field(default_factory=dict)  # for each view: records not yet read, now
    input_lag_records: dict[tuple[str, int], int] = field(
        default_factory=dict
    )  # (topic, partition): not fetched, lately
    restoring: dict[int, int] = field(default_factory=dict)  # partition: changelog offsets still to read, now
    dead_letter_codes: Counter[str] = field(default_factory=Counter)
    work_seconds: Timings = field(default_factory=lambda: Timings(streamed.WORK))
    commit_seconds: Timings = field(default_factory=lambda: Timings(streamed.COMMITS))

    def buried(self, error: Exception) -> None:
        """A dead letter goes out; what is nobody's contract has no code of its own."""
        code = getattr(error, "code", None)
        self.dead_letters += 1
        self.dead_letter_codes[code if isinstance(code, str) else "unexpected_error"] += 1

    def snapshot(self) -> dict[str, object]:
        """Every plain number by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int | float)}
