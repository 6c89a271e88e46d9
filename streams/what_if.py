"""What would be decided about somebody at some time: the pipeline's own rules, asked of what Postgres holds now.

The one part of ``streams`` that the API may import (see pyproject.toml): rules, catalogue, and no runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, NamedTuple

import psycopg

from connectors.explaining.counted import Told
from connectors.explaining.facts import Decision, RuleVerdict, Step
from connectors.explaining.said import said_of
from connectors.explaining.sentence import Clock, foretold
from connectors.postgres import policies
from connectors.postgres.gates import address_gate, recipient_gate
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import POLICY, SYSTEM_CLINIC, Records
from schemas.shapes import Violation
from streams.catalog import Catalog
from streams.catalog_model import NotificationType
from streams.rules import adjusting
from streams.rules.decision import Defer, Deliver, Outcome, decide
from streams.rules.given import Given
from streams.rules.limits import GAPPED, HOUR_MS, NOTHING_SENT, Limits, Sent, Tally, day_of, limits_of
from streams.rules.person import Person, person_of, quiet_of
from streams.rules.reasons import Reason
from streams.rules.terms import CHANNELS, Channel, Terms
from streams.rules.timing import known_zone, wall_to_utc, zone


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
    """``at``: without a zone, by the recipient's clocks, else the clinic's. Exactly one of the two names is given.

    ``about``: the appointment, payment … that it would be about; who was told the same of it within the type's window is not
    told again. ``as_optional``: as if the type were neither critical nor essential, so that nights hold it and preferences
    close it.
    """

    at: datetime
    notification_type: str | None = None
    event_type: str | None = None
    expires_at: datetime | None = None
    event_opt_outs: Sequence[Channel] = ()
    about: str | None = None
    as_optional: bool = False


class Counts(NamedTuple):
    """What counted against the limits: notifications of that calendar day, those of the type's category, messages of the hour
    before; and when the last one of its frequency's class (marketing, reviews) was sent."""

    that_day: int
    of_category: int
    messages_that_hour: int
    last_of_class: datetime | None


@dataclass(frozen=True, slots=True)
class Foretold:
    """What would be decided about one type. ``zone``: of the sentence's times, the recipient's else the clinic's.

    ``counts`` None: nothing was known of what was sent so far.
    """

    notification_type: str
    decision: Decision
    at: datetime
    zone: str
    sentence: str
    counts: Counts | None = None


def not_considered(question: Question, told: Sequence[Told] | None) -> list[str]:
    """What only the pipeline's own state, the time itself, or an event that there is not yet, could tell."""
    return [
        "what was sent so far (ClickHouse does not answer): caps, rate limits and frequency count from zero"
        if told is None
        else "what will be sent until then, and what was sent in the last few seconds",
        "what the event itself says: whether it replaces or cancels, or asks for another time"
        if question.about
        else "whether the same was told a moment before, or what it is about was cancelled or changed meanwhile",
    ]


def timing_faults(timings: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """What is wrong with a policy's ``timings``, each with its path."""
    return adjusting.timing_faults(timings, catalog().types)


async def what_if(
    connection: psycopg.AsyncConnection,
    records: Records,
    types: Catalog,
    recipient: Recipient,
    question: Question,
    told: Sequence[Told] | None,
) -> list[Foretold]:
    """The answer for the type asked about, or for each type that the event calls for. Raises NoSuchType, NoPolicy.

    ``told``: what the recipient was sent lately, see ``connectors.explaining.counted``; None: nobody knows.

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
    limits = limits_of(policy)
    tally = _tally(types, limits, told or (), at)
    answers = []
    for kind in kinds:
        shut = await _shut(connection, records, person, kind.sender_class, at)
        terms = Terms.of(kind)
        if question.as_optional:
            terms = replace(terms, critical=False, essential=False)
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
            is_duplicate=_is_duplicate(terms, question, told or (), at),
            limits=limits,
            tally=tally if limits.counts(terms) else NOTHING_SENT,
        )
        decision = _decision(decide(given), given, policy["version"], types.version, kind.template_id)
        said_so = foretold(decision, person.recipient, kind.name, said, clock)
        counts = None if told is None else _counts(given, tally, where)
        answers.append(Foretold(kind.name, decision, at, where, said_so, counts))
    return answers


def _tally(types: Catalog, limits: Limits, told: Sequence[Told], at: datetime) -> Tally:
    """As notify would have it then: what is limited now counts, and nothing that comes after."""
    sent = []
    for one in told:
        kind = types.types.get(one.notification_type)
        if kind is not None and one.at <= at and limits.counts(terms := Terms.of(kind)):
            sent.append(Sent(_ms(one.at), one.notification_id, terms.category, terms.frequency_class, one.messages))
    return Tally(tuple(sent)).recent(_ms(at))


def _is_duplicate(terms: Terms, question: Question, told: Sequence[Told], at: datetime) -> bool:
    """Was the same told of the same within the type's window? What would be said is taken to be what was said."""
    return question.about is not None and any(
        one.notification_type == terms.name
        and one.aggregate_id == question.about
        and 0 <= _ms(at) - _ms(one.at) < terms.dedupe_ms
        for one in told
    )


def _counts(given: Given, tally: Tally, where: str) -> Counts:
    today = [one for one in tally.sent if one.at_ms >= day_of(where, given.now_ms).start_ms]
    last_ms = tally.last_of(given.terms.frequency_class) if given.terms.frequency_class in GAPPED else None
    return Counts(
        len(today),
        sum(one.category == given.terms.category for one in today),
        len(tally.messages_since(given.now_ms - HOUR_MS)),
        None if last_ms is None else datetime.fromtimestamp(last_ms / 1000, UTC),
    )


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
