"""The decision: every rule is asked, in this order; the first veto wins, and what each of them said is kept.

A lattice that only narrows: Suppress < Defer < Deliver, and fewer channels < more. A rule can lower the result, never raise it,
so a veto anywhere beats a wait anywhere, and of two waits the later counts. Channels that are quiet are held: where all that it
would begin with are, it waits for the first of them. What would wait beyond its expiry is sent where that disturbs nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from streams.rules.channels import (
    category_opt_in,
    category_preference,
    channel_enabled,
    event_opt_in,
    global_opt_out,
    reachable,
    verified,
)
from streams.rules.consent import consent
from streams.rules.deadlines import missed
from streams.rules.disturbance import do_not_disturb
from streams.rules.findings import PASS, Finding
from streams.rules.frequency import caps, digest, frequency, rate_limit
from streams.rules.given import Given
from streams.rules.phi_ceiling import phi_ceiling
from streams.rules.plan import PlannedStep, can_be_sent, first_channels, plan_of, silent_plan
from streams.rules.quiet import Window, hurried, quiet_from, quiet_hours, released_at, windows
from streams.rules.reasons import Reason
from streams.rules.suppression import clinic_policy, duplicate, essential, overtaken, suppression
from streams.rules.terms import Channel, Terms

Rule: TypeAlias = Callable[[Given], Finding]


class Verdict(NamedTuple):
    """What one rule said, as the Decision record's RuleVerdict."""

    rule: str
    channel: Channel | None
    verdict: str
    reason: str


RULES: tuple[tuple[str, Rule], ...] = (
    ("overtaken", overtaken),
    ("duplicate", duplicate),
    ("consent", consent),
    ("suppression", suppression),
    ("clinic_policy", clinic_policy),
    ("essential", essential),
    ("global_opt_out", global_opt_out),
    ("do_not_disturb", do_not_disturb),
    ("event_opt_in", event_opt_in),
    ("channel_enabled", channel_enabled),
    ("verified", verified),
    ("reachable", reachable),
    ("category_opt_in", category_opt_in),
    ("category_preference", category_preference),
    ("phi_ceiling", phi_ceiling),
    ("frequency", frequency),
    ("caps", caps),
    ("digest", digest),
    ("quiet_hours", quiet_hours),
    ("rate_limit", rate_limit),
)
# The last verdict is no rule's: whether what has to wait can.
IN_TIME = "in_time"
# Where nothing rings: what may still be used in quiet hours, when waiting would take too long.
_SILENT: tuple[Channel, ...] = ("in_app",)


@dataclass(frozen=True, slots=True)
class Deliver:
    """It is sent: the plan, and every rule's verdict. ``not_after_ms``: channel → when it is quiet next, ms since the epoch."""

    steps: tuple[PlannedStep, ...]
    verdicts: tuple[Verdict, ...]
    not_after_ms: Mapping[Channel, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Defer:
    """It waits, and is decided again at ``until_ms`` (ms since the epoch); ``collects``: for a digest, with others."""

    until_ms: int
    reason: Reason
    verdicts: tuple[Verdict, ...]
    collects: bool = False


@dataclass(frozen=True, slots=True)
class Suppress:
    """It is not sent."""

    reason: Reason
    verdicts: tuple[Verdict, ...]


Outcome: TypeAlias = Deliver | Defer | Suppress


@dataclass(slots=True)
class _Heard:
    """What the rules said so far. ``wish``: why the first channel fell that could have reached them."""

    closed: set[Channel] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)
    vetoed: Reason | None = None
    wish: Reason | None = None
    waits: list[Finding] = field(default_factory=list)
    held: Mapping[Channel, Reason] = field(default_factory=dict)


def decide(given: Given) -> Outcome:
    """Deliver, defer or suppress."""
    terms = given.terms
    heard = _Heard()
    for name, rule in RULES:
        found = rule(given)
        if found is PASS:
            heard.verdicts.append(_PASSES[name])
        else:
            _hear(heard, name, found, terms)
    verdicts = heard.verdicts
    if heard.vetoed is not None:
        verdicts.append(_NOT_WAITING)
        return Suppress(heard.vetoed, tuple(verdicts))
    open_channels = _open(terms.all_channels, heard.closed)
    order = given.person.preferences["channel_order"]
    found_windows = windows(given)
    if not heard.waits:
        held = heard.held
        if not held:
            verdicts.append(_PASSES[IN_TIME])
            return _delivered(given, plan_of(terms, open_channels, order), verdicts, found_windows)
        first = first_channels(terms, open_channels, order)
        if any(channel not in held for channel in first):
            verdicts.append(_PASSES[IN_TIME])
            waiting = {c: _seconds_held(given, found_windows, c) for c in first if c in held}
            return _delivered(given, plan_of(terms, open_channels, order, waiting), verdicts, found_windows)
    return _waiting(given, heard, open_channels, order, found_windows)


def _hear(heard: _Heard, name: str, found: Finding, terms: Terms) -> None:
    """Takes in what a rule said, other than pass."""
    verdicts = heard.verdicts
    if found.verdict == "hold":
        heard.held = found.held
        verdicts += [_verdict(name, c, "defer", found.held[c]) for c in terms.all_channels if c in found.held]
        return
    if found.verdict != "narrow":
        verdicts.append(_verdict(name, None, found.verdict, found.reason))
        if found.verdict == "veto":
            heard.vetoed = heard.vetoed or found.reason
        elif found.verdict == "defer":
            heard.waits.append(found)
        return
    last: Reason | None = None
    for channel in terms.all_channels:
        reason = found.closed.get(channel)
        if reason is not None:
            verdicts.append(_verdict(name, channel, "narrow", reason))
            last = reason
            heard.wish = heard.wish or (reason if reason is not Reason.UNREACHABLE else None)
            heard.closed.add(channel)
    if last is None:
        verdicts.append(_PASSES[name])
    elif heard.vetoed is None and not can_be_sent(terms, _open(terms.all_channels, heard.closed)):
        # What she (did not) agree to says more than which channel happened to fall last.
        heard.vetoed = heard.wish or last


def _waiting(
    given: Given,
    heard: _Heard,
    open_channels: tuple[Channel, ...],
    order: Sequence[Channel],
    found_windows: tuple[Window, ...],
) -> Outcome:
    """It has to wait, or, where that would take too long, goes only where it disturbs nobody, or not at all."""
    terms, verdicts = given.terms, heard.verdicts
    # Of two that end at once the digest: alone it would be collected then, and told a day later.
    longest = max(heard.waits, key=lambda found: (_until(found), found.collects), default=None)
    first = first_channels(terms, open_channels, order)
    until_ms = given.now_ms if longest is None else _until(longest)
    until_ms = released_at(given, found_windows, first, until_ms)
    reason = heard.held[first[0]] if longest is None or longest.reason is None else longest.reason
    expires = given.expires_at_ms is not None and until_ms >= given.expires_at_ms
    waits = Defer(until_ms, reason, (*verdicts, _PASSES[IN_TIME]), longest is not None and longest.collects)
    if not expires and missed(given.deadlines, given.now_ms, until_ms) is None:
        return waits
    silent = {channel for channel in open_channels if all(channel in found.silent for found in heard.waits)}
    silent -= {channel for channel in heard.held if channel not in _SILENT}
    if not heard.waits:
        silent &= set(_SILENT)
    if silent:
        left = tuple(channel for channel in terms.all_channels if channel in silent)
        verdicts += [
            _verdict(IN_TIME, channel, "narrow", Reason.SILENT_ONLY)
            for channel in open_channels
            if channel not in silent
        ] or [_verdict(IN_TIME, None, "pass", Reason.SILENT_ONLY)]
        return Deliver(silent_plan(left), tuple(verdicts))
    if not expires:
        return waits  # late is better than never
    late = longest.late if longest is not None else Reason.EXPIRED
    verdicts.append(_verdict(IN_TIME, None, "veto", late))
    return Suppress(late, tuple(verdicts))


def _until(found: Finding) -> int:
    return found.wait_until_ms or 0


def _seconds_held(given: Given, found_windows: tuple[Window, ...], channel: Channel) -> int:
    return max(1, -(-(released_at(given, found_windows, (channel,), given.now_ms) - given.now_ms) // 1000))


def _delivered(
    given: Given, steps: tuple[PlannedStep, ...], verdicts: list[Verdict], found_windows: tuple[Window, ...]
) -> Deliver:
    if not found_windows:
        return Deliver(steps, tuple(verdicts))
    starts = ((step.channel, quiet_from(found_windows, step.channel, given.now_ms)) for step in steps)
    ends = {channel: start for channel, start in starts if start is not None}
    for channel, at_ms in hurried(given).items():
        ends[channel] = min(
            at_ms, ends.get(channel, at_ms)
        )  # past it there is no hurry any more, and it is decided again
    return Deliver(steps, tuple(verdicts), ends)


def _open(channels: tuple[Channel, ...], closed: set[Channel]) -> tuple[Channel, ...]:
    return tuple(channel for channel in channels if channel not in closed) if closed else channels


@lru_cache(maxsize=4096)  # rules × channels × reasons
def _verdict(rule: str, channel: Channel | None, verdict: str, reason: Reason | None) -> Verdict:
    return Verdict(rule, channel, verdict, reason.value if reason else "")


_PASSES = {name: _verdict(name, None, "pass", None) for name in (*(name for name, _ in RULES), IN_TIME)}
_NOT_WAITING = _verdict(IN_TIME, None, "not_applicable", None)

# The verdicts of a notification that waited and was withdrawn: nothing else is looked at any more.
OVERTAKEN: dict[Reason, tuple[Verdict, ...]] = {
    reason: (_verdict("overtaken", None, "veto", reason),)
    for reason in (Reason.SUPERSEDED, Reason.CANCELLED, Reason.ALREADY_DONE)
}
