"""The breaker by its table, and what holds of it whatever happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.runtime.breaker import Breaker, Pace

PACE = Pace(failures=3, first_probe_seconds=5, longest_probe_seconds=60)


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker(PACE)
    ticket = breaker.admit(now)
    assert ticket is not None
    assert breaker.pause(ticket, now, "account", "20003")
    return breaker


def test_failures_in_a_row_open_it_and_an_answer_between_them_counts_them_anew() -> None:
    breaker = Breaker(PACE)
    for answered in (False, False, True, False, False):
        ticket = breaker.admit(0)
        assert ticket is not None
        if answered:
            breaker.answered(ticket)
        else:
            assert not breaker.failed(ticket, 0, "503")
        assert breaker.state == "closed"
    ticket = breaker.admit(0)
    assert ticket is not None
    assert breaker.failed(ticket, 0, "503")
    assert (breaker.state, breaker.cause, breaker.code) == ("open", "down", "503")


def test_one_refusal_of_the_account_opens_it() -> None:
    breaker = opened()
    assert (breaker.state, breaker.cause, breaker.code, breaker.admit(104.9)) == ("open", "account", "20003", None)


def test_one_probe_is_let_through_and_its_answer_closes() -> None:
    breaker = opened()
    probe = breaker.admit(105)
    assert probe is not None
    assert breaker.is_probe(probe)
    assert (breaker.state, breaker.admit(1000)) == ("half_open", None)
    assert breaker.answered(probe)
    assert (breaker.state, breaker.cause, breaker.streak) == ("closed", None, 0)


def test_a_refused_probe_is_followed_by_one_twice_as_late_up_to_a_bound() -> None:
    breaker, now, waits = opened(), 100.0, []
    for _ in range(6):
        at = breaker.probe_at
        assert at is not None
        waits.append(at - now)
        probe = breaker.admit(at)
        assert probe is not None
        assert not breaker.failed(probe, at, "503")
        now = at
    assert waits == [5, 10, 20, 40, 60, 60]
    probe = breaker.admit(now + 60)
    assert probe is not None
    breaker.answered(probe)
    ticket = breaker.admit(now + 60)
    assert ticket is not None
    breaker.pause(ticket, now + 60, "account", "20003")
    assert breaker.probe_at == now + 65  # a new pause begins as the first did


def test_a_pause_lasts_as_long_as_the_provider_says() -> None:
    breaker = Breaker(PACE)
    ticket = breaker.admit(0)
    assert ticket is not None
    assert breaker.pause(ticket, 0, "throttled", "20429", 700)
    assert breaker.admit(699.9) is None
    assert breaker.admit(700) is not None


def test_another_cause_found_by_a_probe_is_told() -> None:
    breaker = opened()
    probe = breaker.admit(105)
    assert probe is not None
    assert breaker.pause(probe, 105, "throttled", "20429")
    assert (breaker.cause, breaker.code, breaker.state) == ("throttled", "20429", "open")


def test_what_calls_from_before_a_pause_say_changes_nothing() -> None:
    breaker = Breaker(PACE)
    early = breaker.admit(0)
    other = breaker.admit(0)
    assert early is not None
    assert other is not None
    breaker.pause(other, 1, "account", "20003")
    assert not breaker.answered(early)
    assert not breaker.failed(early, 2, "503")
    assert not breaker.pause(early, 2, "account", "20003")
    probe = breaker.admit(6)
    assert probe is not None
    assert not breaker.answered(early)
    assert breaker.is_probe(probe)
    breaker.answered(probe)
    for _ in range(PACE.failures):
        assert not breaker.failed(early, 7, "503")
    assert breaker.opened_at is None


def test_a_probe_that_made_no_call_leaves_its_place_to_another() -> None:
    breaker = opened()
    probe = breaker.admit(105)
    assert probe is not None
    breaker.withdraw(probe)
    assert breaker.state == "open"
    assert breaker.admit(105) is not None


def test_held_it_lets_a_probe_through_now_and_then_and_no_answer_closes_it() -> None:
    breaker = Breaker(PACE)
    early = breaker.admit(100)
    assert early is not None
    assert breaker.hold(100, "30034")
    assert not breaker.hold(101, "30034")
    assert (breaker.state, breaker.cause, breaker.code) == ("open", "account", "30034")
    assert not breaker.answered(early)
    for now in (160, 220):
        assert breaker.admit(now - 1) is None
        probe = breaker.admit(now)
        assert probe is not None
        assert breaker.admit(now) is None
        assert not breaker.answered(probe)
        assert breaker.state == "open"
    assert breaker.release()
    assert not breaker.release()
    assert breaker.state == "closed"
    again = breaker.admit(230)
    assert again is not None
    assert breaker.pause(again, 230, "account", "20003")
    assert breaker.probe_at == 235  # as quick as ever


def test_released_it_stays_open_for_what_calls_said_of_it() -> None:
    before = opened()
    before.hold(101, "30034")
    assert before.code == "30034"
    assert not before.release()
    assert (before.state, before.cause, before.code) == ("open", "account", "20003")
    probe = before.admit(105)
    assert probe is not None
    assert before.answered(probe)

    meanwhile = Breaker(PACE)
    meanwhile.hold(0, "30034")
    probe = meanwhile.admit(60)
    assert probe is not None
    meanwhile.pause(probe, 60, "throttled", "20429", 900)
    assert not meanwhile.release()
    assert (meanwhile.probe_at, meanwhile.cause, meanwhile.code) == (960, "throttled", "20429")

    over = opened()
    over.hold(101, "30034")
    probe = over.admit(105)
    assert probe is not None
    over.answered(probe)  # calls are well again; what receipts say is not
    assert over.state == "open"
    assert over.release()


def test_held_while_it_is_paused_it_is_told_anew_only_for_another_cause() -> None:
    breaker = opened()
    probe = breaker.admit(105)
    assert probe is not None
    assert not breaker.hold(105, "30034")
    assert not breaker.answered(probe)
    assert (breaker.state, breaker.code) == ("open", "30034")
    away = Breaker(PACE)
    for _ in range(PACE.failures):
        ticket = away.admit(0)
        assert ticket is not None
        away.failed(ticket, 0, "503")
    assert away.hold(1, "30034")


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "answer", "fail", "pause", "throttle", "withdraw", "hold", "release"]),
        st.integers(0, 9),
        st.floats(0, 30, allow_nan=False),
    ),
    max_size=60,
)


@given(ACTS)
def test_whatever_happens_a_pause_holds_and_ends(acts: list[tuple[str, int, float]]) -> None:
    breaker, now = Breaker(PACE), 0.0
    under_way: list[int] = []
    probes: set[int] = set()
    for act, which, seconds in acts:
        now += seconds
        before, probe_at, held = breaker.state, breaker.probe_at, breaker.held
        if act == "admit":
            ticket = breaker.admit(now)
            # Closed lets all through; open none before its time; half open none at all.
            assert (ticket is not None) == (before == "closed" or (probe_at is not None and now >= probe_at))
            if ticket is not None:
                under_way.append(ticket)
                if before == "open":
                    assert not probes
                    probes.add(ticket)
        elif act == "hold":
            breaker.hold(now, "30034")
            assert breaker.state != "closed"
        elif act == "release":
            closed = breaker.release()
            assert held or not closed
            assert breaker.state == ("closed" if closed else before)
        elif under_way:
            ticket = under_way.pop(which % len(under_way))
            was_probe = breaker.is_probe(ticket)
            if act == "answer":
                breaker.answered(ticket)
            elif act == "fail":
                breaker.failed(ticket, now, "503")
            elif act == "pause":
                breaker.pause(ticket, now, "account", "20003")
            elif act == "throttle":
                breaker.pause(ticket, now, "throttled", "429", seconds)
            else:
                breaker.withdraw(ticket)
            if before != "closed":
                # Only the probe's answer closes, and nothing what is held.
                assert (breaker.state == "closed") == (was_probe and act == "answer" and not held)
            if was_probe:
                probes.discard(ticket)
        if breaker.state != "half_open":
            probes.clear()
        assert (breaker.state == "closed") == (breaker.cause is None)
        assert breaker.streak <= PACE.failures
    # However it stands, it comes to a probe in bounded time, and one answer closes it.
    for ticket in under_way:
        breaker.withdraw(ticket)
    later = max(now, breaker.probe_at or now)
    assert later - now <= PACE.longest_probe_seconds + 1e-6  # of adding floats
    breaker.release()
    last = breaker.admit(later)
    assert last is not None
    breaker.answered(last)
    assert breaker.state == "closed"
