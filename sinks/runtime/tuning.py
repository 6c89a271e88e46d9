"""Every limit of the delivery runtime in one typed object, each with its unit, reason and bounds."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Tuning(BaseSettings):
    """Limits and time-outs of one sink process; from the environment as ``LUXE_SINKS_…``."""

    model_config = SettingsConfigDict(env_prefix="LUXE_SINKS_", extra="ignore", hide_input_in_errors=True, frozen=True)

    # Messages taken from the log and not finished yet, for each lane. Every lane has slots of its own, so bulk can never
    # take those of urgent ones. A provider that answers in 200 ms needs 200 of them for 1,000 messages/s.
    slots_critical: int = Field(256, ge=1, le=10_000)
    slots_high: int = Field(128, ge=1, le=10_000)
    slots_normal: int = Field(128, ge=1, le=10_000)
    slots_low: int = Field(64, ge=1, le=10_000)

    # Group commit: rows for Postgres are gathered while the write before them runs, and at most this long.
    batch_rows: int = Field(200, ge=1, le=5_000)
    batch_linger_ms: float = Field(1.0, ge=0, le=100, description="An idle sink adds this to a message's way, twice.")
    # Statuses lie off the message's way to its provider. 10 ms makes a fifth of the broker's requests of 2 ms.
    status_linger_ms: float = Field(10.0, ge=0, le=1000)

    call_timeout_seconds: float = Field(
        10.0, gt=0, le=120, description="One call of the provider, connecting included."
    )
    # An attempt that has not ended when its lease is over counts as unknown. Its call must be over by then.
    lease_seconds: float = Field(30.0, gt=0, le=600)
    commit_interval_seconds: float = Field(
        0.5, ge=0.05, le=60, description="More often costs the broker, less often repeats."
    )
    drain_seconds: float = Field(15.0, ge=0, le=280, description="At SIGTERM and revocation: to end what is in flight.")
    session_timeout_seconds: float = Field(10.0, ge=6, le=300, description="A dead sink's partitions move after it.")
    # A gates reader that has not come round for this long may be missing what came into force: sending waits.
    gates_stale_seconds: float = Field(5.0, ge=0.5, le=60)
    retry_delay_seconds: float = Field(
        30.0, ge=1, le=3600, description="When to try a transient failure again, where the provider does not say."
    )
    postgres_retry_seconds: float = Field(1.0, ge=0.05, le=60, description="Between tries while Postgres is away.")

    @model_validator(mode="after")
    def _call_ends_within_its_lease(self) -> Self:
        if self.call_timeout_seconds >= self.lease_seconds:
            raise ValueError(
                "LUXE_SINKS_CALL_TIMEOUT_SECONDS must be below LUXE_SINKS_LEASE_SECONDS: a call that outlives its lease "
                "may be made twice"
            )
        return self

    @property
    def connections(self) -> int:
        """Connections to the provider: one a slot, so that no message waits for one behind those of another lane."""
        return self.slots_critical + self.slots_high + self.slots_normal + self.slots_low

    def slots(self, lane: str) -> int:
        """In-flight messages of one lane."""
        slots: dict[str, int] = {
            "critical": self.slots_critical,
            "high": self.slots_high,
            "normal": self.slots_normal,
            "low": self.slots_low,
        }
        return slots[lane]
