"""What the data plane counts: plain numbers in one object, read by whoever exports them. No name carries a key or a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


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
    queued_records: int = 0  # waiting in this process now
    view_lag_records: dict[str, int] = field(default_factory=dict)  # for each view: records not yet read, now

    def snapshot(self) -> dict[str, object]:
        """All of them by name."""
        return asdict(self)
