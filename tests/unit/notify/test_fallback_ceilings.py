"""A failed text falls over to email, and that to the portal: each is decided anew, and says what its own channel may say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.render.sources import load_templates
from streams.rules.terms import CHANNEL_CEILINGS
from tests.notify_world import World
from tests.unit.notify.pursued import FOR_GOOD, REMINDER, channels, decided, sent, told

# Of the event, with the level of each: what a text, an email's body and the portal may show of it.
LEVELS = {"2:00": 1, "Dr. Smith": 2, "Botox": 3}
# Parts of a message that are seen by whoever holds the phone, or sees the list of emails.
GLANCED_AT = {"sms": ("body",), "email": ("subject",)}
WHOLE = {"sms": ("body",), "email": ("subject", "body", "html"), "in_app": ("body", "html")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With the reminder's texts as they are shipped, and a patient who has no device."""
    world = World(tmp_path)
    world.add_recipient("patient:1")
    for template in load_templates():
        if template["template_id"] == REMINDER and template["locale"] == "en":
            texts = {name: template[name] for name in ("body", "subject", "html")}
            world.add_template(REMINDER, template["channel"], **texts)
    return world


def shown(world: World, message: dict[str, Any], parts: Mapping[str, tuple[str, ...]]) -> set[str]:
    """What of the event these parts of the message show."""
    content = world.content(message)
    text = " ".join(str(content[part]) for part in parts[message["channel"]])
    return {word for word in LEVELS if word in text}


def test_a_failed_text_falls_over_to_email_and_each_is_held_to_its_own_channels_ceiling(world: World) -> None:
    (text,) = sent(world, REMINDER)
    outputs = told(world, text, **FOR_GOOD)
    (mail,) = world.messages(outputs)
    (decision,) = world.decisions(outputs)
    assert (text["channel"], mail["channel"]) == ("sms", "email")
    assert (decision["outcome"], decision["reason"], decision["sequence"]) == ("deliver", "next_channel", 1)
    (item,) = world.messages(told(world, mail, status="bounced", error_class="permanent_recipient", reason="bounced"))
    assert item["channel"] == "in_app"
    for message in (text, mail, item):
        ceiling = CHANNEL_CEILINGS[message["channel"]]
        assert shown(world, message, WHOLE) == {word for word, level in LEVELS.items() if level <= ceiling}
    assert shown(world, mail, GLANCED_AT) == shown(world, text, GLANCED_AT) == {"2:00"}
    assert world.content(mail)["to"] == "sarah@example.com"
    assert "Reply C to confirm" in world.content(text)["body"]
    assert "Reply C" not in world.content(mail)["body"]  # rendered of its own template, not the text in an envelope


def test_the_ceiling_is_a_rule_of_each_decision_by_itself(world: World) -> None:
    """A reminder tells more than a text or an email may say: both decisions found so, for their own channel."""
    request = world.request(world.created(1), kind=REMINDER)
    outputs = world.ask(request)
    (text,) = world.messages(outputs)
    (first,) = world.decisions(outputs)
    (second,) = world.decisions(told(world, text, **FOR_GOOD))
    found = [{rule["rule"]: rule["reason"] for rule in one["rules"]} for one in (first, second)]
    assert [one["phi_ceiling"] for one in found] == ["generic", "generic"]
    assert [[step["channel"] for step in one["steps"]] for one in (first, second)] == [
        ["sms", "email", "in_app"],
        ["email", "in_app"],
    ]


def test_an_address_that_was_shut_meanwhile_is_not_written_to_by_the_plan_made_before(world: World) -> None:
    (text,) = sent(world, REMINDER)
    world.add_gate(f"address:email:*:{world.ring.address_hash('email', 'sarah@example.com')}")
    outputs = told(world, text, **FOR_GOOD)
    assert decided(world, outputs) == [("deliver", "next_channel")]
    assert [channel for channel, _ in channels(world, outputs)] == ["in_app"]
    (item,) = world.messages(outputs)
    assert shown(world, item, WHOLE) == set(LEVELS)
