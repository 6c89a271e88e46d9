"""The second hop, event by event, on the data plane's own batches."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.notify_world import NOW, NOW_MS, World

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1")
    world.add_confirmation()
    return world


def test_a_confirmation_becomes_a_text_and_an_email(world: World) -> None:
    request = world.request(world.created(1))
    outputs = world.ask(request)
    assert [output.topic for output in outputs] == ["deliver.sms.high", "deliver.email.high", "notifications.decisions"]
    assert {output.key for output in outputs} == {b"patient:1"}
    assert all(output.headers and output.headers[0][0] == "traceparent" for output in outputs)
    text, mail = map(world.content, world.messages(outputs))
    assert text["to"] == "+15551234567"
    assert text["body"] == "Hi Sarah! Your appointment at Luxe Medical Spa is confirmed for Dec 24, 2026 at 2:00 PM."
    assert mail["subject"] == "Your appointment at Luxe Medical Spa is confirmed"
    assert "cosmetic treatment with Dr. Smith" in mail["body"]
    assert 'href="https://portal.luxe.example"' in mail["html"]
    assert "Botox" not in mail["html"] + mail["body"] + text["body"]
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["reason"], decision["template_id"]) == (
        "deliver",
        "deliver",
        "appointment_confirmation",
    )
    assert [(step["channel"], step["parallel"], step["template_version"]) for step in decision["steps"][:2]] == [
        ("sms", False, 1),
        ("email", True, 1),
    ]
    assert decision["steps"][-1]["channel"] == "in_app"
    assert [step["template_version"] for step in decision["steps"][2:]] == [0] * (len(decision["steps"]) - 2)
