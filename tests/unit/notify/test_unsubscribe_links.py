"""Emails that one may say no to carry the link by which it is said; others promise nothing that they would not keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.unsubscribing.links import Links
from tests.notify_world import NOW, World

HTML = "<p>{{ first_name }}</p>{% if unsubscribe_url %}<a href='{{ unsubscribe_url }}'>Unsubscribe</a>{% endif %}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    for kind in ("appointment_confirmation", "pre_visit_instructions"):
        for locale in ("en", "es"):
            world.add_template(kind, "sms", "Come early, {{ first_name }}", locale=locale)
            world.add_template(kind, "email", "Come early.", subject="Your visit", html=HTML, locale=locale)
    return world


def email_of(world: World, kind: str, **content: Any) -> dict[str, Any]:
    world.add_recipient("patient:1", **content)
    messages = world.messages(world.ask(world.request(world.created(1), kind=kind)))
    return world.content(next(message for message in messages if message["channel"] == "email"))


def test_an_email_that_is_not_essential_carries_its_link_everywhere(world: World) -> None:
    told = email_of(world, "pre_visit_instructions")
    url = told["headers"]["List-Unsubscribe"].strip("<>")
    assert told["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert url in told["html"]
    assert told["body"] == f"Come early.\n\nUnsubscribe: {url}\n"
    links = Links(world.ring, "https://luxe.example", unsubscribe_days=180)
    link = links.open("unsubscribe", url.removeprefix("https://luxe.example/u/"), NOW)
    assert (link.recipient, link.channel, link.category, link.locale) == ("patient:1", "email", "clinical", "en-US")
    assert link.notification_id == world.request(world.created(1), kind="pre_visit_instructions")["notification_id"]


def test_the_link_speaks_the_reader_s_language(world: World) -> None:
    assert "Cancelar la suscripción: https://" in email_of(world, "pre_visit_instructions", locale="es-MX")["body"]


def test_an_essential_email_has_none(world: World) -> None:
    told = email_of(world, "appointment_confirmation")
    assert told["headers"] == {}
    assert "nsubscribe" not in told["html"] + told["body"]
