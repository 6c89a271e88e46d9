"""A text says which country its number is of, and nothing more of the number; other channels' messages say none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notify_world import World
from tests.unit.notify.pursued import clinic, sent


@pytest.mark.parametrize(
    ("phone", "country"),
    [("+12125550123", "US"), ("+4915112345678", "DE"), ("+525512345678", "MX"), ("+870773123456", "")],
)
def test_a_text_says_the_country_of_its_number(tmp_path: Path, phone: str, country: str) -> None:
    world: World = clinic(tmp_path)
    world.add_recipient("patient:1", version=2, phones=[{"e164": phone, "verified": True, "label": "mobile"}])
    said = {one["channel"]: one["country"] for one in sent(world)}
    assert said == {"sms": country, "email": ""}
