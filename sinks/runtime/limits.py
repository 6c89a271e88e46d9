"""Which rate limits a message falls under, as its account's, sender's and clinic's are set."""

from __future__ import annotations

import math
from functools import lru_cache

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.postgres.rate_limits import Limit

DAY_SECONDS = 86_400.0
MINUTE_SECONDS = 60.0
_WINDOWS = {DAY_SECONDS: "day", MINUTE_SECONDS: "minute"}
# A second's limit is kept in slices, so that no second, wherever it begins, holds more than the limit and one slice. A slice
# of fewer tokens than these would round too much of them away.
SLICES = 5
LEAST_SLICE_TOKENS = 20
# What a worker may hold idle until its window ends: a hundredth. Three workers then use 98 % of a limit at the least. One that is
# killed takes its block with it, so of a long window it holds no more than a second or so uses: else a day's fifty crashes
# would use up half a day's texts.
BLOCKS = 100
MOST_BLOCK = 100
MAX_OWN = 10_000  # senders × clinics whose limits are remembered, not made anew for each message


class RateLimits(BaseSettings):
    """Messages to a provider; from the environment as ``LUXE_LIMIT_…``. 0: no limit. Days are UTC's.

    The account's are the specification's ("Rate Limiting Strategy": Twilio's and SendGrid's). It names 100 a minute for one
    telephone number; a messaging service has many, so a sender's is for who sends from one to set.
    """

    model_config = SettingsConfigDict(env_prefix="LUXE_LIMIT_", extra="ignore", hide_input_in_errors=True, frozen=True)

    sms_per_second: int = Field(100, ge=0, le=1_000_000)
    sms_per_day: int = Field(50_000, ge=0, le=1_000_000_000)
    sms_sender_per_minute: int = Field(0, ge=0, le=1_000_000, description="Of each sender, care and marketing.")
    sms_clinic_per_minute: int = Field(0, ge=0, le=1_000_000, description="Of each clinic.")
    sms_clinic_per_day: int = Field(0, ge=0, le=1_000_000_000)
    email_per_second: int = Field(500, ge=0, le=1_000_000)
    email_per_day: int = Field(100_000, ge=0, le=1_000_000_000)
    email_sender_per_minute: int = Field(0, ge=0, le=1_000_000)
    email_clinic_per_minute: int = Field(0, ge=0, le=1_000_000)
    email_clinic_per_day: int = Field(0, ge=0, le=1_000_000_000)
    # The specification has none for push. Firebase's own is 10,000 a second: https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas
    push_per_second: int = Field(0, ge=0, le=1_000_000)
    push_per_day: int = Field(0, ge=0, le=1_000_000_000)
    push_sender_per_minute: int = Field(0, ge=0, le=1_000_000)
    push_clinic_per_minute: int = Field(0, ge=0, le=1_000_000)
    push_clinic_per_day: int = Field(0, ge=0, le=1_000_000_000)

    critical_share: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="Of each window's tokens, kept for critical messages; it melts as the window passes.",
    )


class ChannelLimits:
    """The limits of one ``channel``. ``account``: those that every message falls under."""

    def __init__(self, limits: RateLimits, channel: str) -> None:
        self._limits = limits
        self.channel = channel
        self.account = tuple(
            limit
            for limit in (
                self._per_second("account", self._of("per_second")),
                self._per("account", self._of("per_day"), DAY_SECONDS),
            )
            if limit is not None
        )
        self._own = lru_cache(MAX_OWN)(self._own_of)

    def own(self, sender: str, clinic_id: str) -> tuple[Limit, ...]:
        """Those of a message's sender and clinic."""
        return self._own(sender, clinic_id)

    def _own_of(self, sender: str, clinic_id: str) -> tuple[Limit, ...]:
        found = (
            self._per(f"sender {sender}", self._of("sender_per_minute"), MINUTE_SECONDS),
            self._per(f"clinic {clinic_id}", self._of("clinic_per_minute"), MINUTE_SECONDS),
            self._per(f"clinic {clinic_id}", self._of("clinic_per_day"), DAY_SECONDS),
        )
        return tuple(limit for limit in found if limit is not None)

    def _of(self, name: str) -> int:
        # in_app has none: its provider is our own Postgres.
        return int(getattr(self._limits, f"{self.channel}_{name}", 0))

    def _per_second(self, whose: str, tokens: int) -> Limit | None:
        slices = max(1, min(SLICES, tokens // LEAST_SLICE_TOKENS))
        return self._per(whose, tokens // slices, 1.0 / slices)

    def _per(self, whose: str, tokens: int, seconds: float) -> Limit | None:
        if not tokens:
            return None
        return Limit(
            name=f"{self.channel} {whose} {seconds * 1000:.0f}ms",
            tokens=tokens,
            window_seconds=seconds,
            reserved=min(math.ceil(tokens * self._limits.critical_share), tokens - 1),
            block=max(1, min(MOST_BLOCK, tokens // BLOCKS)),
            kind=f"{whose.partition(' ')[0]}_{_WINDOWS.get(seconds, 'second')}",
        )
