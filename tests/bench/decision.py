"""One full decision, every rule with something to look at: against its budget of 60 µs.

python -m tests.bench decision
"""

from __future__ import annotations

import time
from dataclasses import replace

from streams.catalog import Catalog
from streams.rules.decision import decide
from streams.rules.given import Given
from streams.rules.limits import HOUR_MS, Limits, Sent, Tally
from streams.rules.person import NEVER_ASKED, ConsentState, Person, Quiet
from streams.rules.terms import Terms
from tests.bench.report import Figure

BUDGET_MICROSECONDS = 60.0
CALLS = 2_000
ROUNDS = 15
NOON_MS = 1_782_921_600_000  # 2026-07-01T12:00-04:00


def givens() -> list[Given]:
    """Every type, at noon and at midnight, for somebody with quiet hours, consents, caps and a week of messages."""
    preferences = {
        **NEVER_ASKED,
        "sms_opt_in": dict.fromkeys(NEVER_ASKED["sms_opt_in"], True),
        "email_opt_in": dict.fromkeys(NEVER_ASKED["email_opt_in"], True),
        "push_opt_in": dict.fromkeys(NEVER_ASKED["push_opt_in"], True),
        "channel_order": ["email", "sms"],
    }
    consents = ("sms_transactional", "sms_marketing", "email_transactional", "email_marketing")
    person = Person(
        "patient:1",
        1,
        addresses={"sms": "+12125550123", "email": "a@b.example", "push": "token", "in_app": "patient:1"},
        consents={name: ConsentState("opted_in", None, 1) for name in consents},
        preferences=preferences,
        time_zone="America/New_York",
        quiet=Quiet("22:00", "08:00", exceptions=frozenset({"appointment_reminders"})),
    )
    sent = tuple(Sent(NOON_MS - n * 9 * HOUR_MS, str(n), "clinical", "none", 2) for n in range(20, 0, -1))
    limits = Limits(20, {"marketing": 1, "clinical": 8}, 10, 60, 9, frozenset({"membership"}))
    return [
        Given(
            Terms.of(kind),
            person if kind.recipient_kind == "patient" else replace(person, recipient="staff:1"),
            now_ms,
            now_ms + 72 * HOUR_MS,
            zone="America/New_York",
            clinic_quiet=Quiet("21:00", "07:00"),
            spread=number * 331 % 65_536,
            limits=limits,
            tally=Tally(sent),
        )
        for number, kind in enumerate(Catalog.load().types.values())
        for now_ms in (NOON_MS, NOON_MS + 12 * HOUR_MS)
    ]


def figures() -> list[Figure]:
    """CPU µs of a decision, mean over all types, of the median round; about five seconds."""
    found = givens()
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(CALLS):
            decide(found[number % len(found)])
        rounds.append((time.process_time() - began) / CALLS * 1e6)
    microseconds = sorted(rounds)[ROUNDS // 2]
    ratio = BUDGET_MICROSECONDS / microseconds
    return [Figure("a decision with all rules: its budget ÷ it", microseconds, BUDGET_MICROSECONDS, ratio, "µs", 1.0)]
