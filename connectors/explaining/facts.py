"""What is known of one notification, gathered: asked for, decided, planned, sent, told of by receipts. No content, no address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from connectors.accounting import State


class RuleVerdict(NamedTuple):
    """What one rule said; ``channel`` None: of the whole."""

    rule: str
    channel: str | None
    verdict: str
    reason: str


class Step(NamedTuple):
    """One planned step. ``template_version`` 0: not rendered yet."""

    step: int
    channel: str
    delivery_id: str
    success: str
    timeout_seconds: int
    parallel: bool
    template_version: int


# Reasons of decisions that take a plan further which was made before.
CARRIES_OUT = frozenset({"tried_again", "next_channel"})


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, with the versions that it went by."""

    sequence: int
    outcome: str
    reason: str
    until: datetime | None
    decided_at: datetime
    steps: tuple[Step, ...]
    rules: tuple[RuleVerdict, ...]
    recipient_version: int
    policy_version: int
    catalog_version: str
    consent_versions: Mapping[str, int]
    template_id: str
    digest_id: str

    @property
    def handed_over(self) -> tuple[str, ...]:
        """Channels of the steps that it took at once: its first, and those parallel to it."""
        rest = takewhile(lambda step: step.parallel, self.steps[1:])
        return tuple(step.channel for step in (*self.steps[:1], *rest))

    @property
    def later(self) -> tuple[str, ...]:
        """Channels of the steps after those."""
        return tuple(step.channel for step in self.steps[len(self.handed_over) :])

    @property
    def closed(self) -> dict[str, str]:
        """Channel → the first reason that closed it."""
        found: dict[str, str] = {}
        for verdict in self.rules:
            if verdict.verdict == "narrow" and verdict.channel is not None:
                found.setdefault(verdict.channel, verdict.reason)
        return found

    @property
    def waited(self) -> str | None:
        """For what it would have had to wait: the first reason; None: for nothing."""
        return next((verdict.reason for verdict in self.rules if verdict.verdict == "defer"), None)


class Receipt(NamedTuple):
    """One status of a delivery, ours or the provider's."""

    status: str
    status_at: datetime
    attempt: int
    reason: str
    provider: str
    provider_status: str | None
    error_class: str | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One step that was taken. ``status``: where it stands; ``ledger``: what Postgres knows of the call to the provider."""

    delivery_id: str
    channel: str
    step: int
    status: str
    template_id: str
    template_version: int
    locale: str
    created_at: datetime
    receipts: tuple[Receipt, ...]

    def at(self, *statuses: str) -> datetime | None:
        """When it first had one of these."""
        return min((one.status_at for one in self.receipts if one.status in statuses), default=None)

    @property
    def why(self) -> str:
        """The reason or error class of its end, empty for none."""
        return next(
            (one.reason or one.error_class or "" for one in reversed(self.receipts) if one.reason or one.error_class),
            "",
        )


@dataclass(frozen=True, slots=True)
class Story:
    """One notification. ``state`` and ``reason`` as in the account. Prints without its recipient."""

    notification_id: str
    notification_type: str
    category: str
    lane: str
    recipient: str
    clinic_id: str
    event_id: str
    event_type: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    occurred_at: datetime
    requested_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    correlation_id: str | None
    state: State
    reason: str
    decisions: tuple[Decision, ...]
    deliveries: tuple[Delivery, ...]
    dead_letter: str | None

    def __repr__(self) -> str:
        return f"<Story {self.notification_id} {self.state}>"

    @property
    def last(self) -> Decision | None:
        """The decision that counts."""
        return self.decisions[-1] if self.decisions else None

    @property
    def planned_by(self) -> Decision | None:
        """The decision that its plan is of; later ones only carry it out."""
        plans = (one for one in reversed(self.decisions) if one.outcome == "deliver" and one.reason not in CARRIES_OUT)
        return next(plans, self.last)


class ConsentSaid(NamedTuple):
    """One version of one consent, from the history."""

    consent_type: str
    version: int
    status: str
    consent_date: datetime
    method: str
    source: str
    updated_by: str


class OptOutSaid(NamedTuple):
    """One no that came by text, link or page."""

    at: datetime
    path: str
    channel: str
    scope: str


class Blocked(NamedTuple):
    """One reason of an address's gate that stands now."""

    channel: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What the recipient, or somebody for them, said: the system of record's side of an explanation."""

    consents: Sequence[ConsentSaid] = ()
    opt_outs: Sequence[OptOutSaid] = ()
    blocked: Sequence[Blocked] = ()

    def consent(self, decision: Decision, channel: str) -> ConsentSaid | None:
        """The consent for a channel as the decision found it."""
        return next(
            (
                one
                for one in self.consents
                if channel_of(one.consent_type) == channel
                and decision.consent_versions.get(one.consent_type) == one.version
            ),
            None,
        )


NOTHING_SAID = Said()
_PORTAL = {"push_notifications": "push", "portal_notifications": "in_app"}


def channel_of(consent_type: str) -> str:
    """Which channel one of the six consents is about."""
    return _PORTAL.get(consent_type) or consent_type.partition("_")[0]


class LedgerRow(NamedTuple):
    """The call to the provider, as the delivery ledger knows it."""

    delivery_id: str
    provider: str
    state: str
    attempt: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """A story with what was said before it, and the sentence. ``zone``: the clinic's; the sentence's times are in it."""

    story: Story
    consents: tuple[ConsentSaid, ...]
    ledger: Mapping[str, LedgerRow] = field(default_factory=dict)
    zone: str = "UTC"
    sentence: str = ""
