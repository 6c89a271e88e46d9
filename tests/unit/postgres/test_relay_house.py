"""When the relay keeps house: often while it has nothing to publish, rarely while it has, and never never."""

from __future__ import annotations

import pytest

from connectors.postgres.relay import BUSY_HOUSEKEEPING_SECONDS, HOUSEKEEPING_SECONDS, house_is_due


@pytest.mark.parametrize(
    ("seconds_since", "idle", "due"),
    [
        (HOUSEKEEPING_SECONDS - 1, True, False),
        (HOUSEKEEPING_SECONDS, True, True),
        (HOUSEKEEPING_SECONDS, False, False),
        (BUSY_HOUSEKEEPING_SECONDS - 1, False, False),
        (BUSY_HOUSEKEEPING_SECONDS, False, True),
        (float("inf"), False, True),
    ],
)
def test_when_house_is_due(seconds_since: float, idle: bool, due: bool) -> None:
    assert house_is_due(seconds_since, idle=idle) is due
