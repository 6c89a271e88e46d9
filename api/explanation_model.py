"""Explanations as they are served: ids, codes, times and sentences; no name, no address, no text of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import AwareDatetime, Field

from api.preference_model import Channel, Strict
from connectors.accounting import State
from connectors.explaining.facts import Decision, Delivery, Explanation
from schemas.records import Outcome

_OUTCOMES: Mapping[str, Outcome] = {outcome: outcome for outcome in get_args(Outcome)}


class ServedVerdict(Strict):
    """What one rule said; ``channel`` null: of the whole."""

    rule: str
    channel: Channel | None
    verdict: Literal["pass", "veto", "narrow", "defer", "not_applicable"]
    reason: str


class ServedStep(Strict):
    """One planned step."""

    step: int
    channel: Channel
    success: Literal["accepted", "delivered", "seen", "acknowledged"]
    timeout_seconds: int = Field(description="How long success is waited for before the next; 0: until it failed.")
    parallel: bool = Field(description="Taken together with the step before it.")


class Versions(Strict):
    """What the decision went by; ``recipient`` (preferences, consents, addresses) 0: unknown."""

    recipient: int
    policy: int
    catalog: str
    template: str
    consents: dict[str, int]


class ServedDecision(Strict):
    """One decision."""

    sequence: int
    outcome: Outcome
    reason: str
    until: AwareDatetime | None
    decided_at: AwareDatetime
    versions: Versions
    rules: list[ServedVerdict]
    steps: list[ServedStep]
    digest_id: str | None


class ServedReceipt(Strict):
    """One status."""

    status: str
    at: AwareDatetime
    attempt: int
    reason: str
    provider: str
    provider_status: str | None
    error_class: str | None
    error_code: str | None


class Call(Strict):
    """The call to the provider, as the ledger knows it."""

    provider: str
    state: str
    attempt: int
    updated_at: AwareDatetime


class ServedDelivery(Strict):
    """One step that was taken."""

    delivery_id: str
    step: int
    channel: Channel
    status: str
    template_id: str
    template_version: int
    locale: str
    created_at: AwareDatetime
    call: Call | None
    receipts: list[ServedReceipt]


class ConsentUsed(Strict):
    """A consent as the last decision found it."""

    consent_type: str
    version: int
    status: str
    consent_date: AwareDatetime
    method: str
    source: str


class Event(Strict):
    """What it was sent for."""

    event_id: str
    event_type: str
    occurred_at: AwareDatetime
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int


class NotificationExplanation(Strict):
    """One notification. ``sentence`` can be said to the recipient; its times are in ``timeZone``, the clinic's."""

    notification_id: str
    notification_type: str
    category: str
    lane: str
    recipient: str
    clinic_id: str
    state: State
    reason: str
    sentence: str
    time_zone: str
    event: Event
    requested_at: AwareDatetime | None
    due_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    decisions: list[ServedDecision]
    consents: list[ConsentUsed]
    deliveries: list[ServedDelivery]
    dead_letter: str | None


class NotificationList(Strict):
    """Newest first. ``next``: of the next page's `before`; null on the last."""

    notifications: list[NotificationExplanation]
    next: str | None


def served(one: Explanation) -> NotificationExplanation:
    """An explanation as it is served."""
    story = one.story
    return NotificationExplanation.model_validate(
        {
            **{name: getattr(story, name) for name in _OF_STORY},
            "sentence": one.sentence,
            "time_zone": one.zone,
            "event": {name: getattr(story, name) for name in Event.model_fields},
            "decisions": [decision_served(decision) for decision in story.decisions],
            "consents": [{name: getattr(c, name) for name in ConsentUsed.model_fields} for c in one.consents],
            "deliveries": [_delivery(delivery, one) for delivery in story.deliveries],
        }
    )


_OF_STORY = (
    *("notification_id", "notification_type", "category", "lane", "recipient", "clinic_id", "state", "reason"),
    *("requested_at", "due_at", "expires_at", "dead_letter"),
)


def decision_served(decision: Decision) -> ServedDecision:
    """A decision, made or foretold, as it is served."""
    return ServedDecision(
        sequence=decision.sequence,
        outcome=_OUTCOMES[decision.outcome],
        reason=decision.reason,
        until=decision.until,
        decided_at=decision.decided_at,
        versions=Versions(
            recipient=decision.recipient_version,
            policy=decision.policy_version,
            catalog=decision.catalog_version,
            template=decision.template_id,
            consents=dict(decision.consent_versions),
        ),
        rules=[ServedVerdict.model_validate(verdict._asdict()) for verdict in decision.rules],
        steps=[
            ServedStep.model_validate({name: getattr(step, name) for name in ServedStep.model_fields})
            for step in decision.steps
        ],
        digest_id=decision.digest_id or None,
    )


def _delivery(delivery: Delivery, one: Explanation) -> dict[str, Any]:
    row = one.ledger.get(delivery.delivery_id)
    return {
        **{name: getattr(delivery, name) for name in _OF_DELIVERY},
        "call": None if row is None else {name: getattr(row, name) for name in Call.model_fields},
        "receipts": [
            {
                **{name: value for name, value in receipt._asdict().items() if name != "status_at"},
                "at": receipt.status_at,
            }
            for receipt in delivery.receipts
        ],
    }


_OF_DELIVERY = (
    *("delivery_id", "step", "channel", "status", "template_id", "template_version", "locale", "created_at"),
)
