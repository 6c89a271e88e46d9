"""A slot's life: tables for each step, and random histories against what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.waitlist import slot as slots
from connectors.waitlist.saying import About, Details, events_of
from connectors.waitlist.slot import (
    FINAL,
    ClaimedTwice,
    OfferEnded,
    OfferMade,
    Said,
    Slot,
    SlotClaimed,
    SlotDeclined,
    SlotUnfilled,
    Step,
    WithdrawnFromHolder,
    told,
)

NOW = datetime(2026, 12, 1, 15, tzinfo=UTC)
WINDOW = timedelta(minutes=30)
STARTS = NOW + timedelta(days=2)


def _announced(*patients: str) -> Slot:
    return slots.announced(Slot(), patients, STARTS, WINDOW, 1, NOW).slot


def _offered(*patients: str) -> Slot:
    return slots.offered(_announced(*patients), patients[0], NOW).slot


def test_the_best_is_asked_first_and_alone() -> None:
    slot, said = slots.offered(_announced("a", "b"), "a", NOW)
    assert said == (OfferMade("a", 1, NOW + WINDOW),)
    assert (slot.state, slot.holder, slot.due_at) == ("offered", "a", NOW + WINDOW)
    assert slot.next_candidate is None
    with pytest.raises(ValueError, match="nobody but its next candidate"):
        slots.offered(slot, "b", NOW)


def test_an_offer_never_outlasts_the_slots_start() -> None:
    soon = replace(_announced("a"), starts_at=NOW + timedelta(minutes=10))
    assert slots.offered(soon, "a", NOW).slot.offer_ends_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("after", "answer"),
    [(timedelta(), "claimed"), (WINDOW - timedelta(milliseconds=1), "claimed"), (WINDOW, "not_claimed")],
)
def test_the_window_ends_when_it_ends_whoever_has_noticed(after: timedelta, answer: str) -> None:
    answered = slots.claim(_offered("a", "b"), "a", NOW + after)
    assert (answered.answer == "claimed") == (answer == "claimed")
    assert answered.step.slot.state == ("claimed" if answer == "claimed" else "offered")


def test_a_claim_is_told_once_and_answered_alike_again() -> None:
    answered = slots.claim(_offered("a", "b"), "a", NOW)
    assert answered.step.said == (OfferEnded("a", 1, "claimed"), SlotClaimed("a"))
    again = slots.claim(answered.step.slot, "a", NOW + WINDOW)
    assert (again.answer, again.step.said) == ("claimed", ())
    assert slots.claim(answered.step.slot, "b", NOW).answer == "taken"
    assert slots.decline(answered.step.slot, "a", True, NOW).answer == "claimed"


def test_a_no_brings_the_next_ones_turn_at_once() -> None:
    answered = slots.decline(_offered("a", "b"), "a", False, NOW)
    assert answered.step.said == (OfferEnded("a", 1, "declined"), SlotDeclined("a", False))
    slot = answered.step.slot
    assert (slot.state, slot.due_at, slot.next_candidate) == ("open", NOW, "b")
    assert slots.decline(slot, "a", True, NOW).answer == "declined"
    assert slots.claim(slot, "a", NOW).answer == "declined"


@pytest.mark.parametrize("patient", ["b", "z"])
def test_whose_turn_it_is_not_gets_nothing(patient: str) -> None:
    slot = _offered("a", "b")
    for answered in (slots.claim(slot, patient, NOW), slots.decline(slot, patient, True, NOW)):
        assert answered.answer == "not_yours"
        assert answered.step == Step(slot)


def test_the_windows_end_is_the_next_ones_beginning() -> None:
    slot = _offered("a", "b")
    assert slots.lapsed(slot, NOW + WINDOW - timedelta(milliseconds=1)) == Step(slot)
    lapsed, said = slots.lapsed(slot, NOW + WINDOW)
    assert said == (OfferEnded("a", 1, "expired"),)
    assert lapsed.next_candidate == "b"
    assert told(lapsed, "a", NOW + WINDOW) == "over"


def test_nobody_left_is_told_once() -> None:
    slot = slots.skipped(_announced("a"), "a", "unreachable").slot
    assert slot.next_candidate is None
    step = slots.exhausted(slot)
    assert step.said == (SlotUnfilled("nobody_left", 0),)
    with pytest.raises(ValueError, match="somebody left to ask"):
        slots.exhausted(step.slot)
    with pytest.raises(ValueError, match="somebody left to ask"):
        slots.exhausted(_announced("a"))


def test_too_late_to_ask_is_for_good() -> None:
    slot = _announced("a")
    assert slots.lapsed(slot, STARTS - slots.LEAST_OFFER).slot.state == "open"
    late, said = slots.lapsed(slot, STARTS - slots.LEAST_OFFER + timedelta(seconds=1))
    assert (late.state, said) == ("expired", (SlotUnfilled("too_late", 0),))


# What the practice system says


def test_a_newer_list_takes_out_who_waits_no_more_and_asks_nobody_twice() -> None:
    slot = slots.lapsed(_offered("a", "b", "c"), NOW + WINDOW).slot
    newer = slots.announced(slot, ["d", "a", "c"], STARTS, WINDOW, 2, NOW).slot
    assert [(one.patient_id, one.standing) for one in newer.candidates] == [
        ("a", "expired"),
        ("d", "waiting"),
        ("c", "waiting"),
    ]
    assert slots.announced(newer, ["z"], STARTS, WINDOW, 2, NOW) == Step(newer)
    assert slots.announced(newer, ["z"], STARTS, WINDOW, 1, NOW) == Step(newer)


def test_a_list_with_somebody_new_opens_what_nobody_wanted() -> None:
    slot = slots.exhausted(slots.skipped(_announced("a"), "a", "unreachable").slot).slot
    assert slots.announced(slot, ["a"], STARTS, WINDOW, 2, NOW).slot.state == "exhausted"
    assert slots.announced(slot, ["a", "b"], STARTS, WINDOW, 2, NOW).slot.state == "open"


@pytest.mark.parametrize(
    ("patient", "said"),
    [
        ("a", (OfferEnded("a", 1, "claimed"),)),
        ("b", (OfferEnded("a", 1, "taken"),)),
        ("z", (OfferEnded("a", 1, "taken"),)),
    ],
)
def test_a_claim_by_telephone_ends_the_offer(patient: str, said: tuple[Said, ...]) -> None:
    step = slots.claimed_elsewhere(_offered("a", "b"), patient, 5)
    assert step.said == said
    assert (step.slot.state, step.slot.holder) == ("claimed", patient)
    assert slots.claimed_elsewhere(step.slot, patient, 5).said == ()
    assert slots.claimed_elsewhere(step.slot, "other", 6).said == (ClaimedTwice(),)
    assert slots.claimed_elsewhere(step.slot, "other", 6).slot.holder == patient


def test_what_comes_before_the_announcement_counts() -> None:
    claimed = slots.claimed_elsewhere(Slot(), "b", 2).slot
    assert slots.announced(claimed, ["a", "b"], STARTS, WINDOW, 1, NOW).slot.holder == "b"
    declined = slots.declined_elsewhere(Slot(), "a", None, 2, NOW).slot
    assert slots.announced(declined, ["a", "b"], STARTS, WINDOW, 1, NOW).slot.next_candidate == "b"
    withdrawn = slots.withdrawn(Slot(), 2).slot
    assert slots.announced(withdrawn, ["a"], STARTS, WINDOW, 1, NOW).slot.state == "withdrawn"


def test_a_no_by_telephone() -> None:
    slot = _offered("a", "b", "c")
    holder = slots.declined_elsewhere(slot, "a", "c", 2, NOW)
    assert holder.said == (OfferEnded("a", 1, "declined"),)
    assert holder.slot.next_candidate == "c"
    waiting = slots.declined_elsewhere(slot, "b", None, 2, NOW)
    assert (waiting.said, waiting.slot.state, waiting.slot.standing("b")) == ((), "offered", "declined")
    assert slots.declined_elsewhere(holder.slot, "a", "a", 3, NOW).slot.next_candidate == "c"


def test_taken_back_is_told_to_whoever_holds_the_offer() -> None:
    step = slots.withdrawn(_offered("a", "b"), 2)
    assert (step.slot.state, step.said) == ("withdrawn", (OfferEnded("a", 1, "withdrawn"),))
    assert slots.withdrawn(step.slot, 3).said == ()


def test_taken_back_from_whom_it_was_promised_alarms_once_and_stays_hers() -> None:
    claimed = slots.claim(_offered("a", "b"), "a", NOW).step.slot
    assert slots.withdrawn(claimed, 1) == Step(claimed)  # as old as its announcement
    # The practice system does not count our claim: its next number is the one that we have used.
    step = slots.withdrawn(claimed, 2)
    assert (step.slot.state, step.slot.holder, step.said) == ("claimed", "a", (WithdrawnFromHolder(),))
    assert slots.withdrawn(step.slot, 2).said == ()


@pytest.mark.parametrize(("starts_at", "changed"), [(STARTS + timedelta(hours=1), False), (STARTS, True)])
def test_another_hour_ends_the_offer_and_is_offered_anew(starts_at: datetime, changed: bool) -> None:
    step = slots.announced(_offered("a", "b"), ["a", "b"], starts_at, WINDOW, 2, NOW, changed=changed)
    assert step.said == (OfferEnded("a", 1, "withdrawn"),)
    assert (step.slot.state, step.slot.next_candidate, step.slot.due_at) == ("open", "a", NOW)
    assert slots.offered(step.slot, "a", NOW).said == (OfferMade("a", 2, NOW + WINDOW),)
    gone = slots.announced(_offered("a", "b"), ["b"], starts_at, WINDOW, 2, NOW, changed=changed).slot
    assert (gone.standing("a"), gone.next_candidate) == ("withdrawn", "b")
    same = slots.announced(_offered("a", "b"), ["a", "b"], STARTS, WINDOW, 2, NOW)
    assert (same.slot.state, same.said) == ("offered", ())


def test_a_list_is_newer_than_the_last_list_whatever_was_said_by_us_since() -> None:
    slot = slots.decline(_offered("a", "b"), "a", True, NOW).step.slot
    assert slot.version == 2
    newer = slots.announced(slot, ["a", "c"], STARTS, WINDOW, 2, NOW).slot
    assert newer.next_candidate == "c"
    assert slots.announced(newer, ["d"], STARTS, WINDOW, 2, NOW) == Step(newer)


def test_whom_the_clinic_named_before_its_list_is_asked_first() -> None:
    slot = slots.declined_elsewhere(Slot(), "a", "c", 2, NOW).slot
    assert slots.announced(slot, ["a", "b", "c"], STARTS, WINDOW, 1, NOW).slot.next_candidate == "c"


def test_an_announcement_too_late_is_for_people_unless_it_was_claimed_meanwhile() -> None:
    slot = slots.announced(Slot(), ["a"], STARTS, WINDOW, 1, NOW, too_late=True).slot
    assert (slot.state, slot.due_at) == ("open", NOW)
    step = slots.lapsed(slot, NOW)
    assert (step.slot.state, step.slot.due_at, step.said) == ("expired", None, (SlotUnfilled("too_late", 0),))
    claimed = slots.claimed_elsewhere(slot, "b", 2)
    assert (claimed.slot.state, claimed.said, slots.lapsed(claimed.slot, NOW).said) == ("claimed", (), ())
    # A list of today says that the clinic still wants somebody asked.
    fresh = slots.announced(slot, ["a"], STARTS, WINDOW, 2, NOW).slot
    assert slots.lapsed(fresh, NOW).slot.next_candidate == "a"


def test_what_nobody_took_is_told_of_in_rising_versions() -> None:
    """The practice system does not count our words: its next list may bear the version of our last one."""
    details = Details("Facial", "Dr. Smith", None, "2026-12-03", "14:00", 45, None, None)
    slot, versions = slots.decline(_offered("a"), "a", True, NOW).step.slot, []
    for version in (2, 3, 4):
        step = slots.exhausted(slot)
        (event,) = events_of(About("c1", "s1", None), details, step.slot, step.said, None, NOW)
        versions.append(event["aggregate_version"])
        slot = slots.announced(step.slot, [f"p{version}"], STARTS, WINDOW, version, NOW).slot
        slot = slots.skipped(slot, f"p{version}", "unreachable").slot
    assert versions == sorted(set(versions)), versions


def test_each_list_that_runs_dry_is_told_of() -> None:
    details = Details("Facial", "Dr. Smith", None, "2026-12-03", "14:00", 45, None, None)
    ids = set()
    for slot in (replace(_announced("a"), version=version) for version in (2, 3, 3)):
        step = slots.exhausted(slots.skipped(slot, "a", "unreachable").slot)
        (event,) = events_of(About("c1", "s1", None), details, step.slot, step.said, None, NOW)
        ids.add(event["event_id"])
    assert len(ids) == 2


def test_who_is_erased_is_asked_no_more() -> None:
    step = slots.left(_offered("a", "b"), "a", NOW)
    assert (step.said, step.slot.next_candidate) == ((OfferEnded("a", 1, "withdrawn"),), "b")
    assert slots.left(_announced("a", "b"), "a", NOW).slot.next_candidate == "b"
    claimed = slots.claim(_offered("a"), "a", NOW).step.slot
    assert slots.left(claimed, "a", NOW) == Step(claimed)


# Whatever happens

PATIENTS = ("a", "b", "c", "d", "e")
_PATIENT = st.sampled_from(PATIENTS)
_ACTS = st.one_of(
    st.tuples(
        *(st.just("announce"), st.lists(_PATIENT, min_size=1, max_size=5, unique=True)),
        *(st.integers(1, 4), st.integers(0, 1)),
    ),
    st.tuples(st.just("leave"), _PATIENT),
    st.tuples(st.just("claim"), _PATIENT),
    st.tuples(st.just("decline"), _PATIENT),
    st.tuples(st.just("claimed_elsewhere"), _PATIENT, st.integers(1, 4)),
    st.tuples(st.just("declined_elsewhere"), _PATIENT, st.none() | _PATIENT, st.integers(1, 4)),
    st.tuples(st.just("withdrawn"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.integers(1, 45)),
    st.tuples(st.just("turn"), st.sampled_from(("offer", "skip", "hold"))),
)


def _turn(slot: Slot, how: str, now: datetime) -> Step:
    """As the coordinator does, if it is due."""
    if slot.due_at is None or slot.due_at > now:
        return Step(slot)
    slot, said = slots.lapsed(slot, now)
    patient = slot.next_candidate
    if patient is not None:
        step = {
            "offer": lambda: slots.offered(slot, patient, now),
            "skip": lambda: slots.skipped(slot, patient, "unreachable"),
            "hold": lambda: slots.held(slot, now + timedelta(hours=1)),
        }[how]()
        return Step(step.slot, said + step.said)
    if slot.state == "open":
        step = slots.exhausted(slot)
        return Step(step.slot, said + step.said)
    return Step(slot, said)


def _do(slot: Slot, act: tuple[object, ...], now: datetime) -> Step:
    name, *given_ = act
    acts: dict[str, Callable[..., Step]] = {
        "announce": lambda patients, version, later: slots.announced(
            slot, patients, STARTS + timedelta(hours=later), WINDOW, version, now
        ),
        "leave": lambda patient: slots.left(slot, patient, now),
        "claim": lambda patient: slots.claim(slot, patient, now).step,
        "decline": lambda patient: slots.decline(slot, patient, True, now).step,
        "claimed_elsewhere": lambda patient, version: slots.claimed_elsewhere(slot, patient, version),
        "declined_elsewhere": lambda patient, after, version: slots.declined_elsewhere(
            slot, patient, after, version, now
        ),
        "withdrawn": lambda version: slots.withdrawn(slot, version),
        "wait": lambda minutes: Step(slot),
        "turn": lambda how: _turn(slot, how, now),
    }
    return acts[str(name)](*given_)


@given(st.lists(st.tuples(_ACTS, st.booleans()), max_size=40))
def test_never_two_holders_and_nobody_is_asked_twice(acts: list[tuple[tuple[object, ...], bool]]) -> None:
    slot, now = Slot(), NOW
    holding: str | None = None
    asked: list[str] = []
    ended: list[int] = []
    withdrawn: list[str] = []
    for act, twice in acts:
        if act[0] == "wait":
            now += timedelta(minutes=int(str(act[1])))
        for _ in range(1 + twice):
            before = slot
            slot, said = _do(slot, act, now)
            for one in said:
                match one:
                    case OfferMade(patient, number, ends_at):
                        assert holding is None
                        assert number == len(asked) + 1
                        assert slot.starts_at is not None
                        assert now < ends_at <= slot.starts_at
                        # In the list's order: whoever waited before her is not waiting still.
                        assert patient == before.next_candidate or before.state == "offered"
                        holding = patient
                        asked.append(patient)
                    case OfferEnded(patient, number, outcome):
                        assert holding == patient
                        assert number == len(asked)
                        assert outcome != "expired" or now >= (before.offer_ends_at or now)
                        holding = None
                        withdrawn += [patient] * (outcome == "withdrawn")
                        ended.append(number)
                    case SlotClaimed(patient):
                        assert asked[-1] == patient
                        assert slot.holder == patient
            assert (slot.state in ("offered", "claimed")) == (slot.holder is not None)
            assert (slot.state == "offered") == (slot.offer_ends_at is not None)
            assert slot.state != "offered" or slot.holder == holding
            assert sum(one.standing in ("offered", "claimed") for one in slot.candidates) <= 1
            assert (slot.due_at is not None) == (slot.state in ("open", "offered"))
            if before.state in FINAL:
                assert (slot.state, slot.holder) == (before.state, before.holder)
    # Of one hour nobody is asked twice.
    assert all(asked.count(patient) <= 1 + withdrawn.count(patient) for patient in asked)
    assert len(ended) == len(set(ended))


@given(
    st.permutations(PATIENTS), st.lists(st.sampled_from(("expire", "decline", "skip", "claim")), min_size=5, max_size=5)
)
def test_the_order_of_the_list_is_kept(order: list[str], ends: list[str]) -> None:
    slot, now, asked = _announced(*order), NOW, []
    for patient, end in zip(order, ends, strict=True):
        if slot.next_candidate is None:
            break
        assert slot.next_candidate == patient
        if end == "skip":
            slot = slots.skipped(slot, patient, "unreachable").slot
            continue
        slot = slots.offered(slot, patient, now).slot
        asked.append(patient)
        if end == "claim":
            slot = slots.claim(slot, patient, now).step.slot
        elif end == "decline":
            slot = slots.decline(slot, patient, True, now).step.slot
        else:
            now += WINDOW
            slot = slots.lapsed(slot, now).slot
    assert asked == [one for one in order if one in asked]
    assert (slot.state == "claimed") == ("claim" in ends)
