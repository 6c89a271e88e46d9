"""Push content: title, body, and data that holds ids only, for the app to fetch the rest after sign-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.render.email import one_line
from streams.render.engine import Rendered


def content(rendered: Rendered, tokens: Sequence[str], notification_id: str, notification_type: str) -> dict[str, Any]:
    """MessageContent for all devices of one person."""
    return {
        "to": " ".join(tokens),
        "to_name": None,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": None,
        "media_urls": [],
        "data": {"notification_id": notification_id, "notification_type": notification_type},
        "headers": {},
        "attachments": [],
        "links": [],
    }
