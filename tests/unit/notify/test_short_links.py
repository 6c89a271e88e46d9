"""Texts and counted emails carry short links of ours, to the clinic's hosts only; nothing clinical is counted."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.short_links.codes import ShortLinks
from streams.catalog import Catalog
from tests.notify_world import CLINIC, NOW, World

LONG = "https://book.luxe.example/appointments/change?id=A-1&t=4f1b0c7de2"
SHORT = "https://luxe.example/x"
CODE = re.compile(r"https://luxe\.example/l/([1-9A-HJ-NP-Za-km-z]{11})")
OPTED = {f"{channel}_opt_in": {"marketing": channel != "push"} for channel in ("sms", "email", "push")}


def agreed(channel: str) -> dict[str, Any]:
    said = {"status": "opted_in", "consent_date": NOW - timedelta(days=9), "method": "written", "source": "form"}
    return {"consent_type": f"{channel}_marketing", **said}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_policy(CLINIC, website="https://luxe.example", portal_url=None)
    for channel in ("sms", "email"):
        body = "{% if confirm_url %}Change it: {{ confirm_url }}{% else %}See {{ clinic_website }}{% endif %}"
        html = f"<html><body><p>{body}</p></body></html>" if channel == "email" else None
        subject = "Your visit" if channel == "email" else None
        for kind in ("appointment_confirmation", "promotional_offer"):
            world.add_template(kind, channel, body, subject=subject, html=html)
    world.add_recipient("patient:1")
    return world


def contents(world: World, **changes: Any) -> dict[str, dict[str, Any]]:
    messages = world.messages(world.ask(world.request(world.created(1, **changes))))
    return {one["channel"]: world.content(one) | {"delivery_id": one["delivery_id"]} for one in messages}


def test_a_long_url_of_a_text_is_shortened_and_an_uncounted_emails_is_not(world: World) -> None:
    told = contents(world, confirm_url=LONG)
    (link,) = told["sms"]["links"]
    short = ShortLinks(world.ring, "https://luxe.example")
    assert link == {"code": short.code(told["sms"]["delivery_id"], LONG), "url": LONG, "counted": False}
    assert told["sms"]["body"] == f"Change it: {short.url('link', link['code'])}"
    assert told["email"]["links"] == []
    assert LONG.replace("&", "&amp;") in told["email"]["html"]
    assert "/o/" not in told["email"]["html"]


def test_what_is_short_anyway_or_leads_elsewhere_stays(world: World) -> None:
    for url in (SHORT, "https://evil.example/appointments/change?id=A-1&t=4f1b0c7de2"):
        told = contents(world, confirm_url=url)["sms"]
        assert (told["body"], told["links"]) == (f"Change it: {url}", [])
        world.store.rows.clear()


def test_a_policy_names_further_hosts(world: World) -> None:
    world.add_policy(CLINIC, website="https://luxe.example", link_hosts=["pay.example"])
    told = contents(world, confirm_url="https://secure.pay.example/invoices/0123456789/0123456789")["sms"]
    assert CODE.search(told["body"])


@pytest.mark.parametrize("channel", ["sms", "email"])
def test_what_is_counted_has_links_and_an_email_a_picture(world: World, channel: str) -> None:
    consents = [agreed(channel)]
    world.add_recipient("patient:1", version=2, consents=consents, preferences=OPTED, time_zone="America/New_York")
    messages = world.messages(world.ask(world.request(world.created(1, confirm_url=SHORT), kind="promotional_offer")))
    said = world.content(messages[0])
    assert messages[0]["channel"] == channel
    codes = {link["code"]: link["url"] for link in said["links"]}
    assert all(link["counted"] for link in said["links"])
    (shown,) = set(CODE.findall(said["body"]))
    assert codes.pop(shown) == SHORT
    if channel == "sms":
        assert codes == {}
        return
    ((picture, url),) = codes.items()
    assert url is None
    assert f'<img src="https://luxe.example/o/{picture}.gif"' in said["html"]
    assert said["html"].endswith("</body></html>")


def test_only_marketing_and_engagement_are_counted() -> None:
    tracked = {kind.consent_scope for kind in Catalog.load().types.values() if kind.tracked}
    assert tracked == {"marketing"}
    clinical = [kind.name for kind in Catalog.load().types.values() if kind.tracked and kind.category == "clinical"]
    assert clinical == []
