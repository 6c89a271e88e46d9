"""The decision: every rule is asked, in this order; the first veto wins, and what each of them said is kept.

A lattice that only narrows: Suppress < Defer < Deliver, and fewer channels < more. A rule can lower the result, never raise it,
so a veto anywhere beats a wait anywhere, and of two waits the later counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from streams.rules.channels import (
    category_opt_in,
    category_preference,
    channel_enabled,
    event_opt_in,
    global_opt_out,
    reachable,
)
from streams.rules.consent import consent
from streams.rules.findings import PASS, Finding
from streams.rules.given import Given
from streams.rules.phi_ceiling import phi_ceiling
from streams.rules.plan import PlannedStep, can_be_sent, plan_of
from streams.rules.reasons import Reason
from streams.rules.suppression import clinic_policy, essential, overtaken, suppression
from streams.rules.terms import Channel

Rule: TypeAlias = Callable[[Given], Finding]


class Verdict(NamedTuple):
    """What one rule said, as the Decision record's RuleVerdict."""

    rule: str
    channel: Channel | None
    verdict: str
    reason: str


RULES: tuple[tuple[str, Rule], ...] = (
    ("overtaken", overtaken),
    ("consent", consent),
    ("suppression", suppression),
    ("clinic_policy", clinic_policy),
    ("essential", essential),
    ("global_opt_out", global_opt_out),
    ("event_opt_in", event_opt_in),
    ("channel_enabled", channel_enabled),
    ("reachable", reachable),
    ("category_opt_in", category_opt_in),
    ("category_preference", category_preference),
    ("phi_ceiling", phi_ceiling),
)


@dataclass(frozen=True, slots=True)
class Deliver:
    """It is sent: the plan, and every rule's verdict."""

    steps: tuple[PlannedStep, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Defer:
    """It waits, and is decided again at ``until_ms`` (ms since the epoch)."""

    until_ms: int
    reason: Reason
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Suppress:
    """It is not sent."""

    reason: Reason
    verdicts: tuple[Verdict, ...]


Outcome: TypeAlias = Deliver | Defer | Suppress


def decide(given: Given) -> Outcome:
    """Deliver, defer or suppress."""
    terms = given.terms
    closed: set[Channel] = set()
    verdicts: list[Verdict] = []
    vetoed: Reason | None = None
    wish: Reason | None = None  # why the first channel fell that could have reached her
    waiting: Finding | None = None
    for name, rule in RULES:
        found = rule(given)
        if found is PASS:
            verdicts.append(_PASSES[name])
            continue
        if found.verdict != "narrow":
            verdicts.append(_verdict(name, None, found.verdict, found.reason))
            if found.verdict == "veto":
                vetoed = vetoed or found.reason
            elif found.wait_until_ms is not None and (
                waiting is None or found.wait_until_ms > (waiting.wait_until_ms or 0)
            ):
                waiting = found
            continue
        last: Reason | None = None
        for channel in terms.all_channels:
            reason = found.closed.get(channel)
            if reason is not None:
                verdicts.append(_verdict(name, channel, "narrow", reason))
                last = reason
                wish = wish or (reason if reason is not Reason.UNREACHABLE else None)
                closed.add(channel)
        if last is None:
            verdicts.append(_PASSES[name])
        elif vetoed is None and not can_be_sent(terms, _open(terms.all_channels, closed)):
            # What she (did not) agree to says more than which channel happened to fall last.
            vetoed = wish or last
    if vetoed is not None:
        return Suppress(vetoed, tuple(verdicts))
    if waiting is not None and waiting.wait_until_ms is not None and waiting.reason is not None:
        return Defer(waiting.wait_until_ms, waiting.reason, tuple(verdicts))
    order = given.person.preferences["channel_order"]
    return Deliver(plan_of(terms, _open(terms.all_channels, closed), order), tuple(verdicts))


def _open(channels: tuple[Channel, ...], closed: set[Channel]) -> tuple[Channel, ...]:
    return tuple(channel for channel in channels if channel not in closed) if closed else channels


@lru_cache(maxsize=4096)  # rules × channels × reasons
def _verdict(rule: str, channel: Channel | None, verdict: str, reason: Reason | None) -> Verdict:
    return Verdict(rule, channel, verdict, reason.value if reason else "")


_PASSES = {name: _verdict(name, None, "pass", None) for name, _ in RULES}

# The verdicts of a notification that waited and was withdrawn: nothing else is looked at any more.
OVERTAKEN: dict[Reason, tuple[Verdict, ...]] = {
    reason: (_verdict("overtaken", None, "veto", reason),) for reason in (Reason.SUPERSEDED, Reason.CANCELLED)
}
