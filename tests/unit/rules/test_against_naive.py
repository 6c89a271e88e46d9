"""The decision against a deliberately naive reference: no order of rules, no caches, no plan.

Which channels remain; until when the recipient's frequency, the clinic's caps, digests and limits to one recipient hold it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.rules.decision import Defer, Deliver, Suppress, decide
from streams.rules.given import Given
from streams.rules.quiet import SPREAD_MS
from streams.rules.terms import Channel
from tests.unit.rules.test_lattice import givens


def quiet_now(given: Given, channel: Channel, now_ms: int) -> bool:
    """Looks at the wall clock, hour and minute, as a person would. Wrong on the nights of a change only."""
    terms, person = given.terms, given.person
    if terms.critical or terms.answers:
        return False
    found = []
    home = person.time_zone or given.zone
    if person.quiet and not terms.words & person.quiet.exceptions:
        found.append((person.quiet, person.quiet.zone or home))
    if given.clinic_quiet and terms.of_patients and not terms.words & given.clinic_quiet.exceptions:
        found.append((given.clinic_quiet, home))
    for quiet, zone in found:
        wall = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone))
        clock, yesterday = f"{wall:%H:%M}", wall - timedelta(days=1)
        if quiet.start < quiet.end:
            days = [wall] if quiet.start <= clock < quiet.end else []
        else:
            days = [wall] if clock >= quiet.start else [yesterday] if clock < quiet.end else []
        if channel in quiet.channels and any(not quiet.weekdays or day.isoweekday() in quiet.weekdays for day in days):
            return True
    return False


def open_channels(given: Given) -> set[Channel] | None:
    """The channels that nothing closes; None: nothing is sent at all."""
    terms, person, wishes = given.terms, given.person, given.person.preferences
    careless = terms.essential
    if given.overtaken or given.is_duplicate or given.blocked or terms.name in given.disabled_types:
        return None
    shut = {*given.suppressed, *given.disabled_channels}
    if terms.accompanies and not {"sms", "push"} & set(person.addresses) - shut:
        return None  # the notice itself is the email
    if given.expires_at_ms is not None and given.expires_at_ms <= given.now_ms:
        return None
    if not person.active and not (terms.of_patients and terms.essential):
        return None
    category = terms.preference_category
    if not careless and (wishes["global_opt_out"] or (category and not wishes[category])):
        return None
    endless = wishes["do_not_disturb"] and person.undisturbed_until_ms is None and not (terms.critical or terms.answers)
    if endless and not careless:
        return None
    if terms.frequency_class != "none" and not careless and not terms.answers:
        wanted = wishes[f"frequency_{terms.frequency_class}"]
        if wanted in ("never", "none") or (wanted == "important_only" and not terms.important):
            return None
    left = set(terms.all_channels) - {
        *given.suppressed,
        *given.disabled_channels,
        *given.event_opt_outs,
        *(() if terms.answers else person.unverified),
    }
    left &= set(person.addresses)
    for channel, consent in terms.consents:
        state = person.consents.get(consent)
        over = state is not None and state.expires_ms is not None and state.expires_ms <= given.now_ms
        agreed = state is not None and state.status == "opted_in"
        if (state is not None and state.status == "opted_out") or over:
            left.discard(channel)
        if terms.marketing_consent and channel in ("sms", "email") and not agreed:
            left.discard(channel)
    if not careless:
        left -= {channel for channel in terms.all_channels if not wishes[f"{channel}_enabled"]}
        left -= {channel for channel, group, name in terms.opt_ins if not wishes[group][name]}
        if person.version == 0:
            left -= set(terms.above_ceiling)
    if endless:
        left -= {"sms", "push"}
    return left if left & set(terms.all_channels if careless else terms.channels) else None


# Why it waits, and until when (ms since the epoch).
Wait: TypeAlias = "tuple[str, int]"


def next_hour(given: Given, hour: int) -> int:
    """When a clock on the recipient's wall shows this hour next. Wrong on the nights of a change only."""
    zone = ZoneInfo(given.person.time_zone or given.zone)
    wall = datetime.fromtimestamp(given.now_ms / 1000, UTC).astimezone(zone)
    found = datetime.combine(wall.date(), time(hour), zone)
    if found <= wall:
        found = datetime.combine(wall.date() + timedelta(days=1), time(hour), zone)
    return round(found.timestamp() * 1000)


def local_day(given: Given, at_ms: int) -> date:
    zone = ZoneInfo(given.person.time_zone or given.zone)
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).date()


def too_often(given: Given) -> list[Wait] | None:
    """What the recipient's frequency, the clinic's caps, digests and limits make it wait for; None: it is dropped."""
    terms, limits, wishes, sent = given.terms, given.limits, given.person.preferences, given.tally.sent
    if terms.essential or terms.answers or terms.critical:
        return []
    over: list[int] = []  # one too many: until when
    gap_hours = {"always": 0, "never": 0, "daily": 24, "weekly": 168, "monthly": 720, "occasionally": 720}
    if terms.frequency_class in ("marketing", "reviews"):
        gap_ms = gap_hours[wishes[f"frequency_{terms.frequency_class}"]] * 3_600_000
        over += [
            one.at_ms + gap_ms
            for one in sent
            if one.frequency_class == terms.frequency_class and one.at_ms + gap_ms > given.now_ms
        ]
        over = over and [max(over)]
    today = [one for one in sent if local_day(given, one.at_ms) == local_day(given, given.now_ms)]
    mine = [one for one in today if one.category == terms.category]
    category_limit = limits.by_category.get(terms.category, 0)
    full = (limits.daily and len(today) >= limits.daily) or (category_limit and len(mine) >= category_limit)
    full = full and terms.of_patients
    if full and not given.digest_due:
        over.append(next_hour(given, 0))
    if over and terms.cap == "drop":
        return None
    own_hour = wishes["digest_hour"]
    hour = limits.digest_hour if own_hour is None else own_hour
    bundled = terms.cap == "digest" and not given.digest_due
    waits: list[Wait] = [("digest", next_hour(given, hour)) if bundled else ("turn", end) for end in over]
    told_daily = terms.category in limits.digest_categories
    told_daily |= (terms.preference_category or "").removeprefix("category_") in wishes["digest_categories"]
    if told_daily and not terms.marketing_consent and not given.digest_due:
        waits.append(("digest", next_hour(given, hour)))
    for limit, span_ms in ((limits.per_minute, 60_000), (limits.per_hour, 3_600_000)):
        times = [one.at_ms for one in sent for _ in range(one.messages) if one.at_ms > given.now_ms - span_ms]
        if limit and len(times) >= limit:
            waits.append(("turn", sorted(times, reverse=True)[limit - 1] + span_ms))
    return waits


def waits_of(given: Given) -> list[Wait] | None:
    """Everything it waits for but quiet hours; None: it is dropped."""
    waits = too_often(given)
    ends = given.person.undisturbed_until_ms
    undisturbed = given.person.preferences["do_not_disturb"] and not (given.terms.critical or given.terms.answers)
    if waits is not None and undisturbed and ends is not None and ends > given.now_ms:
        waits.append(("undisturbed", ends))
    return waits


def silently(given: Given, left: set[Channel], waits: list[Wait]) -> set[Channel]:
    """Where it is told at once, because waiting would take too long: where that disturbs nobody."""
    quieter: dict[str, set[Channel]] = {
        "digest": {"in_app"},
        "turn": set(),
        "undisturbed": {"in_app", "email"} if given.terms.essential else set(),
    }
    allowed = set(left)
    for why, _ in waits:
        allowed &= quieter[why]
    if not waits:
        allowed &= {"in_app"}
    return {one for one in allowed if one == "in_app" or not quiet_now(given, one, given.now_ms)}


@settings(max_examples=800)
@given(givens(), st.booleans())
def test_it_agrees_with_a_naive_reference(whole: Given, digest_due: bool) -> None:
    case = replace(whole, digest_due=digest_due)
    outcome, left, waits = decide(case), open_channels(case), waits_of(case)
    if left is None or waits is None:
        assert isinstance(outcome, Suppress)
        return
    terms, person = case.terms, case.person
    first = [channel for channel in terms.channels if channel in left]
    first = first or [step.channel for step in terms.later if step.channel in left][:1]
    free = [channel for channel in first if not quiet_now(case, channel, case.now_ms)]
    longest = max((until for _, until in waits), default=case.now_ms)
    nights = person.quiet is not None or case.clinic_quiet is not None
    if free and not waits:
        assert isinstance(outcome, Deliver)
        assert {step.channel for step in outcome.steps} == left
        assert outcome.steps[0].channel in free
    elif isinstance(outcome, Defer):
        assert case.expires_at_ms is None or outcome.until_ms < case.expires_at_ms
        assert outcome.until_ms >= longest
        assert nights or outcome.until_ms <= longest + SPREAD_MS
        assert outcome.collects == (("digest", longest) in waits)
        chained = person.quiet is not None and case.clinic_quiet is not None
        assert chained or any(not quiet_now(case, channel, outcome.until_ms) for channel in first)
    else:
        # Waiting would take too long: only where it disturbs nobody, or not at all.
        assert case.expires_at_ms is not None
        assert nights or longest >= case.expires_at_ms
        told = {step.channel for step in outcome.steps} if isinstance(outcome, Deliver) else set()
        assert told == silently(case, left, waits)
