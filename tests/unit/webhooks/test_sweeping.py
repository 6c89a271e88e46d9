"""What a sweep asks for, and which of the texts it finds are new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.providers.twilio import Received
from connectors.webhooks.sweeping import GRACE, OVERLAP, SLICE, Window, news, slices, window

NOW = datetime(2026, 3, 8, 12, 0, 0, 250_000, tzinfo=UTC)
UNTIL = NOW.replace(microsecond=0) - GRACE
DAYS = timedelta(days=3)


@pytest.mark.parametrize(
    ("through", "expected"),
    [
        pytest.param(UNTIL - timedelta(minutes=1), (UNTIL - timedelta(minutes=1) - OVERLAP, False), id="a minute ago"),
        pytest.param(
            UNTIL - timedelta(days=1), (UNTIL - timedelta(days=1) - OVERLAP, False), id="after a day's outage"
        ),
        pytest.param(UNTIL - DAYS, (UNTIL - DAYS, False), id="just in reach: less overlap"),
        pytest.param(UNTIL - DAYS - timedelta(seconds=1), (UNTIL - DAYS, True), id="out of reach"),
        pytest.param(NOW + timedelta(days=1), (UNTIL, False), id="a clock that was set back: nothing"),
    ],
)
def test_a_window_begins_where_the_last_ended_and_leaves_the_youngest(
    through: datetime, expected: tuple[datetime, bool]
) -> None:
    since, cut = expected
    assert window(through, NOW, DAYS) == Window(since, UNTIL, cut)


@pytest.mark.parametrize("length", [timedelta(0), timedelta(minutes=11), SLICE, SLICE * 3, SLICE * 2.5])
def test_slices_are_the_window_without_gaps_the_oldest_first(length: timedelta) -> None:
    pieces = list(slices(UNTIL - length, UNTIL))
    ends = [UNTIL - length, *(end for _, end in pieces)]
    assert ends[-1] == UNTIL
    assert [since for since, _ in pieces] == ends[:-1]
    assert all(timedelta(0) < end - since <= SLICE for since, end in pieces)


def text(sid: str, minute: int) -> Received:
    return Received(sid, UNTIL + timedelta(minutes=minute), {"MessageSid": sid})


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        ([], {"a"}, []),
        ([text("b", 2), text("a", 1)], set(), ["a", "b"]),
        ([text("b", 2), text("a", 1)], {"a"}, ["b"]),
        ([text("a", 1), text("a", 1)], set(), ["a"]),
        ([text("b", 1), text("a", 1)], set(), ["a", "b"]),
    ],
    ids=["none", "the oldest first", "known", "by two services", "of one second"],
)
def test_each_unknown_text_is_taken_once_in_its_order(
    found: list[Received], known: set[str], expected: list[str]
) -> None:
    assert [one.message_id for one in news(found, known)] == expected


def test_a_received_text_shows_nothing_of_what_it_says() -> None:
    said = Received("SM1", UNTIL, {"From": "+14155550100", "Body": "my results"})
    assert repr(said) == "Received('SM1', 2026-03-08T11:59:30Z)"
