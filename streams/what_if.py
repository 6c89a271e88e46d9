"""What would be decided about somebody at some time: the pipeline's own rules, asked of what Postgres holds now.

The one part of ``streams`` that the API may import (see pyproject.toml): rules, catalogue, and no runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import psycopg

from connectors.explaining.facts import Decision, RuleVerdict, Step
from connectors.explaining.said import said_of
from connectors.explaining.sentence import Clock, foretold
from connectors.postgres import policies
from connectors.postgres.gates import address_gate, recipient_gate
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import POLICY, SYSTEM_CLINIC, Records
from streams.catalog import Catalog
from streams.catalog_model import NotificationType
from streams.rules.decision import Defer, Deliver, Outcome, decide
from streams.rules.given import Given
from streams.rules.limits import limits_of
from streams.rules.person import Person, person_of, quiet_of
from streams.rules.reasons import Reason
from streams.rules.terms import CHANNELS, Channel, Terms
from streams.rules.timing import known_zone, wall_to_utc, zone

# What only the pipeline's own state, or an event itself, could tell.
NOT_CONSIDERED = (
    "what was sent so far: caps, rate limits and the recipient's frequency count from zero",
    "whether the same was told a moment before, or what it is about was cancelled or changed meanwhile",
)


class NoSuchType(Exception):
    """The catalogue has no such type or event for this recipient; the message says which names there are, or where."""


class NoPolicy(Exception):
    """The installation has no policy yet; the message says what stores the first."""


@cache
def catalog() -> Catalog:
    """The committed catalogue, read once. Raises CatalogError."""
    return Catalog.load()


@cache
def exception_words() -> frozenset[str]:
    """What exceptions of quiet hours may name: types, also in the plural, categories, lanes."""
    return frozenset().union(*(Terms.of(kind).words for kind in catalog().types.values()))


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """``at``: without a zone, by the recipient's clocks, else the clinic's. Exactly one of the two names is given."""

    at: datetime
    notification_type: str | None = None
    event_type: str | None = None
    expires_at: datetime | None = None
    event_opt_outs: Sequence[Channel] = ()


@dataclass(frozen=True, slots=True)
class Foretold:
    """What would be decided about one type. ``zone``: of the sentence's times, the recipient's else the clinic's."""

    notification_type: str
    decision: Decision
    at: datetime
    zone: str
    sentence: str


async def what_if(
    connection: psycopg.AsyncConnection, records: Records, types: Catalog, recipient: Recipient, question: Question
) -> list[Foretold]:
    """The answer for the type asked about, or for each type that the event calls for. Raises NoSuchType, NoPolicy.

    Read in one snapshot only if the caller's transaction gives one; a change meanwhile is as good as one just before or after.
    """
    kinds = _kinds(types, recipient.kind, question)
    policy = await _policy(connection, records, recipient.clinic_id)
    person = person_of(
        {"recipient": recipient.recipient, "version": recipient.version, "active": recipient.active}, recipient.content
    )
    clinic_zone = known_zone(policy["time_zone"]) or "UTC"
    where = person.time_zone or clinic_zone
    at = _instant(question.at, where)
    said = await said_of(connection, recipient.recipient)
    clock = Clock(where, datetime.now(UTC))
    answers = []
    for kind in kinds:
        shut = await _shut(connection, records, person, kind.sender_class, at)
        terms = Terms.of(kind)
        expires_at = question.expires_at
        given = Given(
            terms,
            person,
            _ms(at),
            None if expires_at is None else _ms(expires_at),
            blocked=recipient_gate(person.recipient) in shut,
            suppressed=[
                channel
                for channel in CHANNELS
                if not shut.isdisjoint(_gates(records, person, channel, kind.sender_class))
            ],
            disabled_types=frozenset(policy["disabled_types"]),
            disabled_channels=frozenset(policy["disabled_channels"]),
            event_opt_outs=question.event_opt_outs,
            zone=clinic_zone,
            clinic_quiet=quiet_of(policy["quiet_hours"]),
            limits=limits_of(policy),
        )
        decision = _decision(decide(given), given, policy["version"], types.version, kind.template_id)
        answers.append(
            Foretold(kind.name, decision, at, where, foretold(decision, person.recipient, kind.name, said, clock))
        )
    return answers


def _kinds(types: Catalog, recipient_kind: str, question: Question) -> list[NotificationType]:
    if question.notification_type is not None:
        found = [types.types[question.notification_type]] if question.notification_type in types.types else []
    else:
        entries = types.for_event(question.event_type or "")
        found = list({entry.type.name: entry.type for entry in entries}.values())
    mine = [kind for kind in found if kind.recipient_kind == recipient_kind and not kind.answers]
    if not mine:
        raise NoSuchType(f"nothing of that name is told to a {recipient_kind} unasked; docs/catalogue.md lists what is")
    return mine


async def _policy(connection: psycopg.AsyncConnection, records: Records, clinic_id: str) -> dict[str, Any]:
    """The clinic's policy as the pipeline reads it, defaults filled in; the stand-in's where it has none."""
    current = await policies.current(connection, clinic_id) or await policies.current(connection, SYSTEM_CLINIC)
    if current is None:
        raise NoPolicy("no policy for any clinic is stored; run `luxe up`, which stores the first")
    record = {
        **current.content,
        "holidays": [date.fromisoformat(day) for day in current.content["holidays"]],
        "clinic_id": clinic_id,
        "version": current.version,
        "wrapped_key": b"",
        "updated_at": current.updated_at,
        "updated_by": current.updated_by,
    }
    return records.codec.decode_bare(POLICY, records.codec.encode_bare(POLICY, record))


def _gates(records: Records, person: Person, channel: Channel, sender_class: str) -> list[str]:
    address = person.addresses.get(channel)
    if address is None or channel == "in_app":
        return []
    try:
        digest = records.ring.address_hash(channel, address)
    except ValueError:
        return []  # nobody's number: the sink refuses it with its own reason
    return [
        address_gate(channel, "marketing" if sender_class == "marketing" else "care", digest),
        address_gate(channel, "*", digest),
    ]


async def _shut(
    connection: psycopg.AsyncConnection, records: Records, person: Person, sender_class: str, at: datetime
) -> frozenset[str]:
    """Which of the gates before a person are shut now, and would still be at that time."""
    keys = [recipient_gate(person.recipient)]
    for channel in CHANNELS:
        keys += _gates(records, person, channel, sender_class)
    cursor = await connection.execute(
        "SELECT DISTINCT gate_key FROM suppressions WHERE gate_key = ANY(%s) AND (expires_at IS NULL OR expires_at > %s)",
        (keys, at),
    )
    return frozenset(key for (key,) in await cursor.fetchall())


def _instant(at: datetime, where: str) -> datetime:
    return at.astimezone(UTC) if at.tzinfo is not None else wall_to_utc(at.date(), at.time(), zone(where))


def _decision(outcome: Outcome, given: Given, policy_version: int, catalog_version: str, template_id: str) -> Decision:
    """The outcome in the shape of a decision that was made."""
    delivered, deferred = isinstance(outcome, Deliver), isinstance(outcome, Defer)
    consents = {
        type_: given.person.consents[type_].version
        for _, type_ in given.terms.consents
        if type_ in given.person.consents
    }
    return Decision(
        0,
        "deliver" if delivered else "defer" if deferred else "suppress",
        Reason.DELIVER.value if isinstance(outcome, Deliver) else outcome.reason.value,
        datetime.fromtimestamp(outcome.until_ms / 1000, UTC) if isinstance(outcome, Defer) else None,
        datetime.fromtimestamp(given.now_ms / 1000, UTC),
        tuple(_steps(outcome)),
        tuple(RuleVerdict(*verdict) for verdict in outcome.verdicts),
        given.person.version,
        policy_version,
        catalog_version,
        consents,
        template_id if delivered else "",
        "",
    )


def _steps(outcome: Outcome) -> Iterable[Step]:
    if isinstance(outcome, Deliver):
        for number, step in enumerate(outcome.steps):
            yield Step(number, step.channel, "", step.success, step.timeout_seconds, step.parallel, 0)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
