"""Every limit of the data plane in one typed object, each with its unit, reason and bounds."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Tuning(BaseSettings):
    """Limits and time-outs; from the environment as ``LUXE_STREAMS_…``. The defaults are what was measured to be good."""

    model_config = SettingsConfigDict(
        env_prefix="LUXE_STREAMS_", extra="ignore", hide_input_in_errors=True, frozen=True
    )

    instance: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Static group member id of this worker, unique in its app. None: host name and first free slot.",
    )

    # One transaction. Bigger ones cost less an event, smaller ones wait less; 1000 records take about 70 ms of work.
    batch_records: int = Field(1000, ge=1, le=10_000)
    batch_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    batch_seconds: float = Field(
        0.25, gt=0, le=5, description="Work aimed at in one batch: slow work makes them smaller."
    )
    # A storm of due timers is paced by these: half a batch at least is theirs, and all that records leave.
    batch_timers: int = Field(500, ge=1, le=10_000, description="Due timers fired in one transaction, at most.")
    catch_up_seconds: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="After an absence, how long timers wait for the input that lies there: it may withdraw them.",
    )
    clock_settle_seconds: float = Field(
        5.0, ge=0, le=300, description="A wall clock that steps forward is believed after so long."
    )
    transaction_timeout_seconds: float = Field(
        30.0, ge=10, le=60, description="After it the broker aborts a silent owner's."
    )
    linger_ms: float = Field(3.0, ge=0, le=50)
    output_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Largest output, where its topic does not take less.",
    )

    # Back-pressure, for each partition. A paused one is fetched again when half of it has been worked off.
    queue_records: int = Field(4000, ge=1, le=1_000_000)
    queue_bytes: int = Field(16 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    # A fetch returns as soon as there is anything. A partition that begins while one waits is asked for when that returns.
    fetch_wait_ms: int = Field(100, ge=5, le=1500)
    fetch_partition_bytes: int = Field(1024 * 1024, ge=1024, le=256 * 1024 * 1024)

    # Membership: a dead worker's partitions move after the session time-out, so it is the length of an outage.
    session_timeout_seconds: float = Field(6.0, ge=1, le=300)
    heartbeat_seconds: float = Field(1.0, ge=0.1, le=60)
    commit_hint_seconds: float = Field(
        1.0, ge=0.1, le=60, description="How often group offsets, only a hint, are written."
    )

    # RocksDB: one block cache for all stores of a process (Faust's driver: 2 GiB for each partition).
    block_cache_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, le=64 * 1024**3)
    write_buffer_bytes: int = Field(16 * 1024 * 1024, ge=64 * 1024, le=1024**3, description="Memtable of each store.")
    open_files: int = Field(64, ge=8, le=4096, description="Open files of each store.")
    # A compacted topic forgets a tombstone after delete.retention.ms (Kafka's default: 24 h). A store that has not read
    # for longer might keep what was deleted, so an older one is not reused.
    store_reuse_hours: float = Field(12.0, gt=0, le=24 * 365)

    restore_records: int = Field(20_000, ge=100, le=1_000_000, description="Records in one bulk write of a restore.")
    open_timeout_seconds: float = Field(
        120.0, ge=1, le=3600, description="Fencing the former owner; restoring has no limit."
    )
    stall_seconds: float = Field(60.0, ge=1, le=3600, description="Work waiting and nothing moved for this long: exit.")
    drain_seconds: float = Field(
        10.0, ge=0.1, le=120, description="At SIGTERM and revocation: to end what is in flight."
    )
    commit_threads: int = Field(16, ge=1, le=256, description="Partitions whose commits may be in flight at once.")
