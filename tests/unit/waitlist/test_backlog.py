"""A read that is full has more behind it."""

from __future__ import annotations

import pytest

from streams.waitlist.backlog import Backlog


@pytest.mark.parametrize(
    ("reads", "now", "left"),
    [
        ([], 0.0, 0.0),
        ([(99, 1.0)], 1.0, 0.0),
        ([(100, 1.0)], 1.0, 5.0),
        ([(100, 1.0)], 4.0, 2.0),
        ([(100, 1.0)], 6.0, 0.0),  # whoever reads it is held up: what is due goes on
        ([(100, 1.0), (100, 3.0)], 4.0, 4.0),
        ([(100, 1.0), (7, 3.0)], 4.0, 2.0),  # the last of it is being heard
        ([(100, 1.0), (7, 3.0), (0, 3.5)], 4.0, 0.0),
    ],
)
def test_nobody_is_asked_while_there_is_more_to_hear(reads: list[tuple[int, float]], now: float, left: float) -> None:
    backlog = Backlog(100, 5.0)
    for records, at in reads:
        backlog.read(records, at)
    assert backlog.seconds_left(now) == left
