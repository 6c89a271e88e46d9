"""The decision against a deliberately naive reference: no order of rules, no caches, no plan; which channels remain, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings

from streams.rules.decision import Defer, Deliver, Suppress, decide
from streams.rules.given import Given
from streams.rules.limits import NO_LIMITS, NOTHING_SENT
from streams.rules.terms import Channel
from tests.unit.rules.test_lattice import givens


def quiet_now(given: Given, channel: Channel, now_ms: int) -> bool:
    """Looks at the wall clock, hour and minute, as a person would. Wrong on the nights of a change only."""
    terms, person = given.terms, given.person
    if terms.critical:
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
    if given.expires_at_ms is not None and given.expires_at_ms <= given.now_ms:
        return None
    if not person.active and not (terms.of_patients and terms.essential):
        return None
    category = terms.preference_category
    if not careless and (wishes["global_opt_out"] or (category and not wishes[category])):
        return None
    endless = wishes["do_not_disturb"] and person.undisturbed_until_ms is None and not terms.critical
    if endless and not careless:
        return None
    if terms.frequency_class != "none" and not careless:
        wanted = wishes[f"frequency_{terms.frequency_class}"]
        if wanted in ("never", "none") or (wanted == "important_only" and not terms.important):
            return None
    left = set(terms.all_channels) - {
        *given.suppressed,
        *given.disabled_channels,
        *given.event_opt_outs,
        *person.unverified,
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


@settings(max_examples=500)
@given(givens())
def test_it_agrees_with_a_naive_reference(whole: Given) -> None:
    case = replace(whole, limits=NO_LIMITS, tally=NOTHING_SENT)
    outcome, left = decide(case), open_channels(case)
    if left is None:
        assert isinstance(outcome, Suppress)
        return
    terms, person = case.terms, case.person
    first = [channel for channel in terms.channels if channel in left]
    first = first or [step.channel for step in terms.later if step.channel in left][:1]
    ends = person.undisturbed_until_ms if person.preferences["do_not_disturb"] and not terms.critical else None
    disturbed = ends is not None and ends > case.now_ms
    free = [channel for channel in first if not quiet_now(case, channel, case.now_ms)]
    if free and not disturbed:
        assert isinstance(outcome, Deliver)
        assert {step.channel for step in outcome.steps} == left
        assert outcome.steps[0].channel in free
    elif isinstance(outcome, Defer):
        assert case.expires_at_ms is None or outcome.until_ms < case.expires_at_ms
        assert not disturbed or outcome.until_ms >= (ends or 0)
        chained = person.quiet is not None and case.clinic_quiet is not None
        assert chained or any(not quiet_now(case, channel, outcome.until_ms) for channel in first)
    else:
        # Waiting would take too long: only where it disturbs nobody, or not at all.
        assert case.expires_at_ms is not None
        told = {step.channel for step in outcome.steps} if isinstance(outcome, Deliver) else set()
        assert told <= {"in_app", "email"} & left
