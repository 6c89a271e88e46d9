"""A clinic whose messages are pursued, and what is asked of it: for the tests of what comes after sending."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from schemas.topics import CHANNELS
from streams.runtime import Output
from tests.notify_world import NOW, NOW_MS, World

HOUR_MS = 3_600_000
TEXTS: dict[str, Any] = {
    "email": {"subject": "About it", "html": "<p>Hi</p>"},
    "push": {"subject": "Hi"},
    "in_app": {"subject": "Hi"},
}
KIND = "appointment_confirmation"  # text and email at once; then push, then the portal, each after 15 minutes
REMINDER = "appointment_reminder_24h"  # one of text and push; then email, then the portal, each after half an hour
PASSING: dict[str, Any] = {"status": "failed", "error_class": "transient", "reason": "transient"}
SENDER_REFUSED: dict[str, Any] = {"status": "undelivered", "error_class": "account", "reason": "sender_refused"}
FOR_GOOD: dict[str, Any] = {"status": "failed", "error_class": "permanent_recipient", "reason": "permanent_recipient"}


def clinic(folder: Path, channels: Iterable[str] = CHANNELS) -> World:
    """With texts for these channels, and a patient who has no device."""
    world = World(folder)
    world.add_recipient("patient:1")
    for kind in (KIND, REMINDER):
        for channel in channels:
            world.add_template(kind, channel, "Hi {{ first_name }}", **TEXTS.get(channel, {}))
    return world


def sent(world: World, kind: str = KIND, **changes: Any) -> list[dict[str, Any]]:
    return world.messages(world.ask(world.request(world.created(1), kind=kind, **changes)))


def told(world: World, message: dict[str, Any], *, after_ms: int = 0, **status: Any) -> list[Output]:
    """A status of this message's attempt, so long after the last one."""
    world.now_ms += after_ms
    at = NOW + timedelta(milliseconds=world.now_ms - NOW_MS)
    return world.work(world.status(message, status_at=at, attempt=message["attempt"], **status))


def channels(world: World, outputs: list[Output]) -> list[tuple[str, int]]:
    return [(one["channel"], one["attempt"]) for one in world.messages(outputs)]


def decided(world: World, outputs: list[Output]) -> list[tuple[str, str]]:
    return [(one["outcome"], one["reason"]) for one in world.decisions(outputs)]
