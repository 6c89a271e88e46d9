"""The lattice: one thing less allowed never widens a decision, and what is put off lands where it may be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.catalog import Catalog
from streams.rules.decision import Defer, Deliver, Outcome, Suppress, decide
from streams.rules.given import Given
from streams.rules.limits import Limits, Sent, Tally
from streams.rules.person import NEVER_ASKED, ConsentState, Person, Quiet
from streams.rules.reasons import Reason
from streams.rules.terms import CHANNELS, Channel, Terms
from tests.unit.rules.people import channels_of

NOW_MS = 1_700_000_000_000

TYPES = tuple(Terms.of(kind) for kind in Catalog.load().types.values())
some_channels = st.frozensets(st.sampled_from(CHANNELS))
states = st.sampled_from(["opted_in", "opted_out", "pending"])
consents = st.dictionaries(
    st.sampled_from(
        [
            "sms_transactional", "sms_marketing", "email_transactional", "email_marketing", "push_notifications",
            "portal_notifications",
        ]
    ),
    st.builds(ConsentState, states, st.sampled_from([None, NOW_MS, NOW_MS + 1]), st.integers(0, 1000)),
)  # fmt: skip


@st.composite
def preferences(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in NEVER_ASKED.items():
        if isinstance(value, bool):
            made[name] = draw(st.booleans())
        elif isinstance(value, dict):
            made[name] = {key: draw(st.booleans()) for key in value}
        elif name == "digest_categories":
            made[name] = draw(st.sampled_from([[], [], ["treatments"], ["appointments", "financial"]]))
        elif name == "digest_hour":
            made[name] = draw(st.sampled_from([None, 0, 18, 23]))
        elif isinstance(value, list):
            made[name] = draw(st.permutations(CHANNELS))
        else:
            made[name] = draw(st.sampled_from(WORDS.get(name, [None])))
    return made


CATEGORIES = ("appointments", "treatments", "financial", "marketing", "educational", "events")
WORDS: Mapping[str, list[str]] = {
    "frequency_marketing": ["daily", "weekly", "monthly", "never"],
    "frequency_reviews": ["always", "occasionally", "never"],
    "frequency_follow_ups": ["all", "important_only", "none"],
}
HOUR_MS = 3_600_000
quiets = st.none() | st.builds(
    Quiet,
    st.sampled_from(["20:00", "22:30", "00:00"]),
    st.sampled_from(["06:00", "08:00", "21:00"]),
    st.sampled_from([None, "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from([(), (1, 3), (6, 7)]),
    st.sampled_from([CHANNELS, ("sms", "push")]),
    st.sampled_from([frozenset(), frozenset({"appointment_reminders"}), frozenset({"marketing"})]),
)
counts = st.sampled_from([0, 0, 1, 3])
limits = st.builds(
    Limits, counts, st.dictionaries(st.sampled_from(["marketing", "clinical"]), counts), counts, counts, st.integers(0, 23),
    st.sampled_from([(), ("membership",)]),
)  # fmt: skip
tallies = st.lists(
    st.builds(
        Sent,
        st.integers(NOW_MS - 800 * HOUR_MS, NOW_MS),
        st.uuids().map(str),
        st.sampled_from(["marketing", "clinical", "financial"]),
        st.sampled_from(["none", "marketing", "reviews"]),
        st.integers(1, 2),
    ),
    max_size=6,
).map(lambda sent: Tally(tuple(sorted(sent))))


@st.composite
def givens(draw: st.DrawFn) -> Given:
    person = Person(
        "patient:1",
        draw(st.integers(0, 2)),
        active=draw(st.booleans()),
        addresses=dict.fromkeys(draw(some_channels), "x"),
        consents=draw(consents),
        preferences=draw(preferences()),
        time_zone=draw(st.sampled_from([None, "Asia/Kathmandu", "America/St_Johns"])),
        unverified=draw(some_channels) - {"in_app", "push"},
        quiet=draw(quiets),
        undisturbed_until_ms=draw(st.sampled_from([None, NOW_MS, NOW_MS + HOUR_MS])),
    )
    terms = draw(st.sampled_from(TYPES))
    return Given(
        terms,
        person,
        NOW_MS,
        draw(st.sampled_from([None, NOW_MS, NOW_MS + 1, NOW_MS + 4 * HOUR_MS, NOW_MS + 30 * HOUR_MS])),
        draw(st.sampled_from([None, None, Reason.SUPERSEDED, Reason.CANCELLED])),
        blocked=draw(st.sampled_from([False, False, True])),
        suppressed=draw(some_channels),
        disabled_types=draw(st.sampled_from([(), (terms.name,)])),
        disabled_channels=draw(some_channels),
        event_opt_outs=draw(some_channels),
        zone=draw(st.sampled_from(["America/New_York", "Europe/Dublin"])),
        clinic_quiet=draw(quiets),
        spread=draw(st.integers(0, 65_535)),
        is_duplicate=draw(st.sampled_from([False, False, True])),
        limits=draw(limits),
        tally=draw(tallies),
    )


NARROWINGS = (
    "expire", "overtake", "block", "suppress", "disable_type", "disable_channel", "event_opt_out", "address", "consent",
    "switch_off", "opt_out", "global_opt_out", "inactive", "unverify", "duplicate", "undisturbed", "quieter", "clinic_quieter",
    "cap", "one_more", "bundle",
)  # fmt: skip


def narrower(given: Given, how: str, channel: Channel) -> Given:
    """The same with one thing less allowed."""
    person = given.person
    match how:
        case "expire":
            return replace(given, expires_at_ms=NOW_MS)
        case "overtake":
            return replace(given, overtaken=Reason.SUPERSEDED)
        case "block":
            return replace(given, blocked=True)
        case "suppress":
            return replace(given, suppressed={*given.suppressed, channel})
        case "disable_type":
            return replace(given, disabled_types=(given.terms.name,))
        case "disable_channel":
            return replace(given, disabled_channels={*given.disabled_channels, channel})
        case "event_opt_out":
            return replace(given, event_opt_outs={*given.event_opt_outs, channel})
        case "address":
            left = {name: address for name, address in person.addresses.items() if name != channel}
            return replace(given, person=replace(person, addresses=left))
        case "consent":
            changed = {**person.consents}
            for _, consent_type in given.terms.consents[:1]:
                changed[consent_type] = ConsentState("opted_out", None)
            return replace(given, person=replace(person, consents=changed))
        case "switch_off":
            return replace(
                given, person=replace(person, preferences={**person.preferences, f"{channel}_enabled": False})
            )
        case "opt_out":
            groups = {
                name: dict.fromkeys(group, False)
                for name, group in person.preferences.items()
                if name.endswith("opt_in")
            }
            return replace(given, person=replace(person, preferences={**person.preferences, **groups}))
        case "global_opt_out":
            return replace(given, person=replace(person, preferences={**person.preferences, "global_opt_out": True}))
        case "unverify":
            return replace(given, person=replace(person, unverified=person.unverified | {channel}))
        case "duplicate":
            return replace(given, is_duplicate=True)
        case "undisturbed":
            undisturbed = {**person.preferences, "do_not_disturb": True}
            return replace(given, person=replace(person, preferences=undisturbed, undisturbed_until_ms=None))
        case "quieter":
            return replace(given, person=replace(person, quiet=ALWAYS_QUIET))
        case "clinic_quieter":
            return replace(given, clinic_quiet=ALWAYS_QUIET)
        case "cap":
            return replace(given, limits=given.limits._replace(daily=1, per_minute=1))
        case "bundle":
            bundled = {**person.preferences, "digest_categories": list(CATEGORIES)}
            return replace(given, person=replace(person, preferences=bundled))
        case "one_more":
            more = Sent(NOW_MS, "x", given.terms.category, given.terms.frequency_class, 2)
            return replace(given, tally=given.tally.with_(more))
    return replace(given, person=replace(person, active=False))


ALWAYS_QUIET = Quiet("00:00", "23:59")


@given(givens(), st.sampled_from(NARROWINGS), st.sampled_from(CHANNELS))
def test_narrowing_never_widens(given: Given, how: str, channel: Channel) -> None:
    before, after = decide(given), decide(narrower(given, how, channel))
    assert not isinstance(before, Suppress) or isinstance(after, Suppress)
    # What waited may now go out at once, but only where it would have gone out in the end.
    if isinstance(before, Deliver):
        assert set(channels_of(after)) <= set(channels_of(before))
    else:
        assert set(channels_of(after)) <= set(given.terms.all_channels) - closed_by(before)


def closed_by(outcome: Outcome) -> set[str]:
    """Channels that a rule took away, for good."""
    narrowing = (one for one in outcome.verdicts if one.verdict == "narrow" and one.rule != "in_time")
    return {one.channel for one in narrowing if one.channel}


@given(givens())
def test_every_deferral_lands_outside_quiet_hours_and_before_the_expiry(given: Given) -> None:
    outcome = decide(given)
    if not isinstance(outcome, Defer):
        return
    assert outcome.until_ms > given.now_ms
    assert given.expires_at_ms is None or outcome.until_ms < given.expires_at_ms
    woken = decide(replace(given, now_ms=outcome.until_ms, digest_due=outcome.collects))
    # Nothing of what it waited for holds it still; the gap or cap may have let others pass meanwhile, the hours have not.
    if isinstance(woken, Defer) and woken.reason in (
        Reason.QUIET_HOURS,
        Reason.CLINIC_QUIET_HOURS,
        Reason.TELEPHONE_HOURS,
    ):
        assert chained(given)


def chained(given: Given) -> bool:
    """Hours that follow upon each other without an end."""
    return given.person.quiet is not None and given.clinic_quiet is not None


@given(givens())
def test_nothing_is_sent_where_it_must_not_be(given: Given) -> None:
    outcome = decide(given)
    for channel in channels_of(outcome):
        assert channel in given.person.addresses
        assert channel not in given.suppressed
        assert channel not in given.disabled_channels
        assert channel not in given.event_opt_outs
        for needs, consent_type in given.terms.consents:
            state = given.person.consents.get(consent_type)
            assert needs != channel or state is None or state.status != "opted_out"
    if isinstance(outcome, Suppress):
        assert any(verdict.reason == outcome.reason.value for verdict in outcome.verdicts)
