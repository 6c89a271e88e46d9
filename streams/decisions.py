"""Decision records: what was decided about a request, by which rules and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.codec import Codec
from schemas.definitions import definition
from schemas.ids import decision_id, delivery_id
from schemas.topics import DECISIONS
from schemas.writer import Encoded, compile_array_writer
from streams.requests import Asked
from streams.rules.decision import Defer, Deliver, Outcome, Verdict
from streams.rules.given import Given
from streams.rules.plan import PlannedStep
from streams.rules.reasons import Reason
from streams.waiting import at_ms

DECISION = "luxe.pipeline.Decision"
# Taken over from the request as they are.
_OF_REQUEST = (
    "notification_id",
    "event_id",
    "event_type",
    "notification_type",
    "recipient",
    "clinic_id",
    "aggregate_type",
    "aggregate_id",
    "aggregate_version",
    "occurrence",
    "category",
    "lane",
    "occurred_at",
    "correlation_id",
)


_encode_rules = compile_array_writer(definition(DECISION), "rules")
# Most decisions of a day share a few dozen combinations of verdicts; encoded once, each is some hundred bytes.
_RULES_CACHED = 4096


@dataclass(slots=True)
class Conclusion:
    """What a decision came to. ``steps``: the plan, as PlanStep records; those taken at once name their template."""

    outcome: str
    reason: Reason
    rules: Sequence[Verdict] = ()
    until: datetime | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    recipient_version: int = 0
    policy_version: int = 0
    template_id: str = ""
    consent_versions: Mapping[str, int] = field(default_factory=dict)
    digest_id: str = ""


def concluded(request: Mapping[str, Any], given: Given, policy_version: int, outcome: Outcome) -> Conclusion:
    """What an outcome comes to on record; nothing is rendered yet."""
    made = Conclusion(
        "suppress",
        Reason.DELIVER if isinstance(outcome, Deliver) else outcome.reason,
        outcome.verdicts,
        recipient_version=given.person.version,
        policy_version=policy_version,
        consent_versions=consent_versions(given),
    )
    if isinstance(outcome, Deliver):
        made.outcome, made.steps = "deliver", plan_steps(request, outcome.steps)
    elif isinstance(outcome, Defer):
        made.outcome, made.until = "defer", at_ms(outcome.until_ms)
    return made


def consent_versions(given: Given) -> dict[str, int]:
    """The consents that the type needs, as the decision found them."""
    known = given.person.consents
    return {consent: known[consent].version for _, consent in given.terms.consents if consent in known} if known else {}


def plan_steps(request: Mapping[str, Any], planned: Sequence[PlannedStep], base: int = 0) -> list[dict[str, Any]]:
    """The plan as PlanStep records, numbered from ``base``; nothing is rendered yet."""
    notification_id = request["notification_id"]
    return [
        {
            "step": number,
            "channel": step.channel,
            "delivery_id": delivery_id(notification_id, step.channel, number),
            "success": step.success,
            "timeout_seconds": step.timeout_seconds,
            "parallel": step.parallel,
            "template_version": 0,
        }
        for number, step in enumerate(planned, base)
    ]


class Decisions:
    """Makes decision records. ``catalog_version``: of the catalogue that decides."""

    def __init__(self, codec: Codec, catalog_version: str) -> None:
        self._encode = codec.encoder(DECISIONS, DECISION)
        self._catalog_version = catalog_version
        self._rules: dict[tuple[Verdict, ...], Encoded] = {}

    def _encoded_rules(self, rules: tuple[Verdict, ...]) -> Encoded:
        found = self._rules.get(rules)
        if found is None:
            if len(self._rules) >= _RULES_CACHED:
                self._rules.clear()
            found = self._rules[rules] = _encode_rules([verdict._asdict() for verdict in rules])
        return found

    def record(self, asked: Asked, made: Conclusion, now: datetime) -> bytes:
        """One decision, encoded."""
        request = asked.request
        value: dict[str, Any] = {name: request[name] for name in _OF_REQUEST}
        value["decision_id"] = decision_id(request["notification_id"], asked.sequence)
        value["sequence"] = asked.sequence
        value["outcome"] = made.outcome
        value["reason"] = str(made.reason)
        value["until"] = made.until
        value["steps"] = made.steps
        value["rules"] = self._encoded_rules(tuple(made.rules))
        value["recipient_version"] = made.recipient_version
        value["policy_version"] = made.policy_version
        value["catalog_version"] = self._catalog_version
        value["template_id"] = made.template_id
        value["consent_versions"], value["digest_id"] = made.consent_versions, made.digest_id
        value["source_topic"], value["source_partition"], value["source_offset"] = asked.source
        value["decided_at"] = now
        value["sealed"] = None
        return self._encode(value)
