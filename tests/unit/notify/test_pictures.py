"""A campaign's picture: in emails and push messages, in texts where the campaign says so, never from another's host."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.catalog import Catalog
from streams.render.sources import email_html
from tests.contract.golden import golden_value
from tests.notify_world import CLINIC, NOW, World
from tests.unit.notify.pursued import told

CAMPAIGN = "luxe.events.CampaignLaunched"
KIND = "promotional_offer"
PICTURE = "https://luxe.example/spring.jpg"


def agreed(consent: str) -> dict[str, Any]:
    said = {"status": "opted_in", "consent_date": NOW - timedelta(days=9), "method": "written", "source": "form"}
    return {"consent_type": consent, **said}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_template(KIND, "sms", "{{ clinic_name }}: Spring is here.")
    world.add_template(KIND, "push", "Spring is here", subject="An offer")
    html = email_html("Spring is here", None, pictured=True)
    world.add_template(KIND, "email", "Spring is here", subject="An offer", html=html)
    return world


def message(world: World, channel: str, number: str = "+12125550123", **changes: Any) -> tuple[dict[str, Any], Any]:
    """The one message of a campaign to somebody who agreed to that channel alone: as it travels, and what is in it."""
    consent = "push_notifications" if channel == "push" else f"{channel}_marketing"
    opted = {f"{one}_opt_in": {"marketing": one == channel} for one in ("sms", "email", "push")}
    world.add_recipient(
        "patient:1",
        consents=[agreed(consent)],
        preferences=opted,
        time_zone="America/New_York",
        phones=[{"e164": number, "verified": True, "label": "mobile"}],
        devices=[{"token": "device:1", "platform": "ios", "registered_at": NOW}],
    )
    event = golden_value(CAMPAIGN) | {
        "clinic_id": CLINIC, "kind": "other", "patients": ["1"], "url": None,
        "image_url": PICTURE, "image_in_texts": False, "occurred_at": NOW,
    } | changes  # fmt: skip
    request = world.request(event, recipient="patient:1", kind=KIND, record=CAMPAIGN)
    (made,) = world.messages(world.ask(request))
    assert made["channel"] == channel
    return made, world.content(made)


def test_an_email_begins_with_it(world: World) -> None:
    _, said = message(world, "email")
    assert f'src="{PICTURE}"' in said["html"]
    assert PICTURE not in {link["url"] for link in said["links"]}, "a picture that is looked at was not clicked"


def test_a_push_message_shows_it(world: World) -> None:
    _, said = message(world, "push")
    assert said["media_urls"] == [PICTURE]


@pytest.mark.parametrize(
    ("asked", "number", "shown"),
    [
        (True, "+12125550123", [PICTURE]),
        (True, "+14165550123", [PICTURE]),
        (False, "+12125550123", []),
        (True, "+18765550123", []),  # Jamaica has +1 too
        (True, "+442071234567", []),
    ],
)
def test_a_text_shows_it_where_the_campaign_says_so_and_the_network_can(
    world: World, asked: bool, number: str, shown: list[str]
) -> None:
    made, said = message(world, "sms", number, image_in_texts=asked)
    assert (said["media_urls"], made["pictures"]) == (shown, len(shown))
    assert said["body"].startswith("Luxe Medical Spa: Spring is here.")


@pytest.mark.parametrize("word", ["failed", "undelivered"])
def test_a_picture_that_cannot_be_had_costs_no_text(world: World, word: str) -> None:
    """At the call, or later by its receipt: once more, without it; and it is not tried for ever."""
    first, said = message(world, "sms", image_in_texts=True)
    assert said["media_urls"] == [PICTURE]
    (waits,) = world.decisions(told(world, first, status=word, error_class="media", reason="media"))
    assert (waits["outcome"], waits["reason"]) == ("defer", "retry")
    (again,) = world.messages(world.work(now_ms=world.now_ms + 5_000))
    assert (again["attempt"], again["pictures"], world.content(again)["media_urls"]) == (2, 0, [])
    assert world.content(again)["body"] == said["body"]
    ended = world.decisions(told(world, again, after_ms=1_000, status=word, error_class="media", reason="media"))
    assert [one["outcome"] for one in ended] != ["defer"]


@pytest.mark.parametrize(
    "url", [None, "https://elsewhere.example/spring.jpg", "https://luxe.example.evil.example/a.jpg"]
)
@pytest.mark.parametrize("channel", ["email", "push", "sms"])
def test_one_from_another_host_is_left_out_and_the_message_goes(world: World, channel: str, url: str | None) -> None:
    made, said = message(world, channel, image_url=url, image_in_texts=True)
    assert (said["media_urls"], made["pictures"]) == ([], 0)
    assert channel != "email" or ("elsewhere" not in said["html"] and "evil" not in said["html"])


def test_a_host_that_the_policy_names_may_serve_it(world: World) -> None:
    world.add_policy(CLINIC, link_hosts=["elsewhere.example"])
    url = "https://pictures.elsewhere.example/spring.jpg"
    assert message(world, "push", image_url=url)[1]["media_urls"] == [url]


def test_only_advertising_shows_any() -> None:
    assert {kind.consent_scope for kind in Catalog.load().types.values() if kind.pictures} == {"marketing"}
