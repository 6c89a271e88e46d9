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

    # One call of the provider, connecting included: architecture §7's. An attachment is megabytes; a late push is of no use.
    sms_call_seconds: float = Field(30.0, gt=0, le=300)
    email_call_seconds: float = Field(30.0, gt=0, le=300)
    attachments_call_seconds: float = Field(60.0, gt=0, le=300, description="An email with attachments.")
    push_call_seconds: float = Field(10.0, gt=0, le=300)
    in_app_call_seconds: float = Field(10.0, gt=0, le=300)
    # An attempt that has not ended when its lease is over counts as unknown. Its call must be over by then, whatever it waits
    # for between ledger and call; so a lease is the channel's longest call and this.
    lease_margin_seconds: float = Field(10.0, ge=1, le=300)
    commit_interval_seconds: float = Field(
        0.5, ge=0.05, le=60, description="More often costs the broker, less often repeats."
    )
    drain_seconds: float = Field(15.0, ge=0, le=280, description="At SIGTERM and revocation: to end what is in flight.")
    session_timeout_seconds: float = Field(10.0, ge=6, le=300, description="A dead sink's partitions move after it.")
    # Gates that are not known to their end for this long may lack what came into force: sending waits. Ends are asked for every
    # second, so less than three would wait for nothing.
    gates_stale_seconds: float = Field(5.0, ge=3, le=60)
    retry_delay_seconds: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="Not before then is a transient failure tried again, where the provider does not say: notify waits longer.",
    )
    postgres_retry_seconds: float = Field(1.0, ge=0.05, le=60, description="Between tries while Postgres is away.")

    # An overdue receipt (sinks/runtime/overdue.py): how often its message is asked for, how soon again; each time twice as late.
    receipt_asks: int = Field(5, ge=1, le=20)
    receipt_ask_again_seconds: float = Field(2.0, ge=0.01, le=300)

    # Forms on file (sinks/runtime/form_files.py). A mail of 5 MiB is 7 MB as base64: most mailboxes take 10. What is replaced or
    # removed may still go out while it is kept. Emails with forms under way take some 40 MB each at most.
    forms_most: int = Field(5, ge=0, le=20, description="Forms that one email carries.")
    forms_bytes: int = Field(5 * 1024 * 1024, ge=0, le=20 * 1024 * 1024, description="All of them together.")
    forms_kept_seconds: float = Field(60.0, ge=0, le=3600)
    forms_kept_bytes: int = Field(64 * 1024 * 1024, ge=0, le=1024 * 1024 * 1024)
    forms_at_once: int = Field(8, ge=1, le=1_000, description="Emails with forms that are being sent at one time.")

    # The breaker (sinks/runtime/breaker.py). One refusal of the account opens it, or so many failures in a row: fewer would take
    # two unlucky messages for an outage, more would spend more of their attempts.
    breaker_failures: int = Field(5, ge=2, le=1_000)
    breaker_first_probe_seconds: float = Field(5.0, ge=0.1, le=3600)
    breaker_longest_probe_seconds: float = Field(60.0, ge=0.1, le=3600, description="Each probe comes twice as late.")
    breaker_calm_seconds: float = Field(
        300.0, ge=0, le=86_400, description="A pause is told to be over once it has not come back for so long."
    )
    # What receipts say of our own senders (sinks/runtime/sender_refusals.py) is asked for so often: between a first such receipt
    # and the pause, texts are taken in vain.
    refusals_poll_seconds: float = Field(1.0, ge=0.05, le=300)
    # A failure that may be the first of an outage is not told before it is known not to be, or this is over.
    breaker_doubt_seconds: float = Field(1.0, ge=0, le=30)
    throttle_longest_seconds: float = Field(
        900.0, ge=0, le=86_400, description="The most of a Retry-After by which the whole account pauses."
    )
    # Messages of a lane that wait for what others need not wait for (their sender's pause, room for forms) and leave their slots
    # to those. Each takes some kilobytes; past it the lane waits with them.
    waiting_aside: int = Field(500, ge=0, le=100_000)
    # Messages of a partition taken behind its oldest that has not ended, before nothing more is taken from it: so many at most
    # are read again after a restart (some 2,000 a second, none is sent again), and each takes some 50 bytes until then.
    behind_oldest: int = Field(20_000, ge=100, le=10_000_000)

    @model_validator(mode="after")
    def _probes_come_later_and_later(self) -> Self:
        if self.breaker_longest_probe_seconds < self.breaker_first_probe_seconds:
            raise ValueError(
                "LUXE_SINKS_BREAKER_LONGEST_PROBE_SECONDS must not be below LUXE_SINKS_BREAKER_FIRST_PROBE_SECONDS"
            )
        return self

    def longest_call_seconds(self, channel: str) -> float:
        """The time-out of a channel's longest call."""
        seconds: dict[str, float] = {
            "sms": self.sms_call_seconds,
            "email": max(self.email_call_seconds, self.attachments_call_seconds),
            "push": self.push_call_seconds,
            "in_app": self.in_app_call_seconds,
        }
        return seconds[channel]

    def lease_seconds(self, channel: str) -> float:
        """How long an attempt of this channel is its worker's."""
        return self.longest_call_seconds(channel) + self.lease_margin_seconds

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
