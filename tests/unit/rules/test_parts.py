"""Parts of an aggregate that have a story of their own: credits by the day they run out."""

from __future__ import annotations

from datetime import date

from tests.unit.rules.events import event
from tests.unit.rules.test_mapping import _map


def test_credits_of_each_day_have_a_story_of_their_own_and_their_id_does_not_say_the_day() -> None:
    days = [date(2026, 7, 31), date(2026, 8, 31)]
    mapped = [_map(event("membership.credits_expiring", expiry_date=day)) for day in (*days, days[0])]
    ids = [{one["aggregate_id"] for one in each.requests} for each in mapped]
    assert ids[0] == ids[2] != ids[1]
    assert all(one.startswith("a1/") and "2026" not in one and "07-31" not in one for one in ids[0] | ids[1])
