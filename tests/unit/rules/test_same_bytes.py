"""The same inputs, the same bytes: the whole decision record, in whatever order mappings and sets are kept, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.ids import notification_id
from schemas.registry import FileRegistry
from streams.decisions import Decisions, concluded
from streams.requests import Asked
from streams.rules.decision import decide
from streams.rules.given import Given
from streams.rules.limits import Limits
from streams.rules.person import Quiet
from streams.waiting import at_ms
from tests.unit.rules.people import SARAH, TYPES, preferring
from tests.unit.rules.test_lattice import NOW_MS, givens

EVENT_ID = "00000000-0000-4000-8000-000000000001"
AT = datetime(2023, 11, 14, 12, 0, tzinfo=UTC)
DECISIONS = Decisions(Codec(FileRegistry()), "c-1")
Item = TypeVar("Item")


def asked(case: Given) -> Asked:
    terms, recipient = case.terms, case.person.recipient
    request = {
        "notification_id": notification_id(EVENT_ID, terms.name, recipient, 0),
        "event_id": EVENT_ID,
        "event_type": "appointment.created",
        "notification_type": terms.name,
        "recipient": recipient,
        "clinic_id": "c1",
        "aggregate_type": "appointment",
        "aggregate_id": "A-1",
        "aggregate_version": 1,
        "occurrence": 0,
        "category": terms.category,
        "lane": "normal",
        "occurred_at": AT - timedelta(hours=1),
        "correlation_id": None,
    }
    return Asked(request, b"", ("notifications.requested", 0, 7), 0, ())


def record(case: Given) -> bytes:
    """The decision record, as it lies in Kafka."""
    this = asked(case)
    return DECISIONS.record(this, concluded(this.request, case, 4, decide(case)), at_ms(case.now_ms))


def shuffled(random: Random, items: Iterable[Item]) -> list[Item]:
    found = list(items)
    random.shuffle(found)
    return found


def reordered(value: Any, random: Random) -> Any:
    """The same mapping, its keys inserted in another order, all the way down."""
    if not isinstance(value, dict):
        return value
    return {key: reordered(value[key], random) for key in shuffled(random, value)}


def permuted(case: Given, random: Random) -> Given:
    """The same facts: every mapping and every collection without an order of its own is built in another one."""
    person, limits = case.person, case.limits
    quiet = person.quiet and person.quiet._replace(exceptions=frozenset(shuffled(random, person.quiet.exceptions)))
    return replace(
        case,
        person=replace(
            person,
            addresses=reordered(dict(person.addresses), random),
            consents=reordered(dict(person.consents), random),
            preferences=reordered(dict(person.preferences), random),
            unverified=frozenset(shuffled(random, person.unverified)),
            quiet=quiet,
        ),
        suppressed=shuffled(random, case.suppressed),
        disabled_types=shuffled(random, case.disabled_types),
        disabled_channels=tuple(shuffled(random, case.disabled_channels)),
        event_opt_outs=shuffled(random, case.event_opt_outs),
        limits=limits._replace(
            by_category=reordered(dict(limits.by_category), random),
            digest_categories=shuffled(random, limits.digest_categories),
        ),
    )


@settings(max_examples=200)
@given(givens(), st.randoms(use_true_random=False))
def test_the_same_inputs_give_the_same_bytes_in_whatever_order_they_are_kept(case: Given, random: Random) -> None:
    assert record(permuted(case, random)) == record(case)


@settings(max_examples=40)
@given(st.lists(givens(), min_size=2, max_size=4))
def test_what_was_decided_before_changes_no_byte(cases: list[Given]) -> None:
    """Hours, verdicts and encoded rules are cached: neither hits nor misses may show."""
    alone = [record(case) for case in cases]
    assert [record(case) for case in reversed(cases)] == alone[::-1]


def digest_of_many() -> str:
    """A hash over the records of every type in a dozen situations; what the child process below prints."""
    person = replace(SARAH, quiet=Quiet("20:00", "08:00", exceptions=frozenset({"critical", "marketing", "clinical"})))
    situations: tuple[dict[str, Any], ...] = (
        {},
        {"suppressed": {"sms", "email", "push"}},
        {"disabled_channels": {"push", "in_app"}, "event_opt_outs": {"sms", "email"}},
        {"person": replace(person, unverified=frozenset({"sms", "email"}))},
        {"person": preferring(person, do_not_disturb=True)},
        {"limits": Limits(1, {"marketing": 1, "clinical": 1}, 1, 1, 9, frozenset({"membership", "clinical"}))},
        {"blocked": True, "disabled_types": set(TYPES)},
    )
    found = blake2b(digest_size=16)
    for terms in TYPES.values():
        for situation in situations:
            facts: dict[str, Any] = {"terms": terms, "person": person, "now_ms": NOW_MS}
            found.update(record(Given(**facts | situation)))
    return found.hexdigest()


def test_another_process_with_another_hash_seed_decides_the_same_bytes() -> None:
    """Sets of strings are iterated in another order there."""
    program = "from tests.unit.rules.test_same_bytes import digest_of_many; print(digest_of_many())"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {digest_of_many()}
