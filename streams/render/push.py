"""Push content: title, body, and data that holds ids only, for the app to fetch the rest after sign-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.render.email import one_line
from streams.render.engine import Rendered


def content(
    rendered: Rendered, tokens: Sequence[str], notification_id: str, notification_type: str, picture: str = ""
) -> dict[str, Any]:
    """MessageContent for all devices of one person. ``picture``: the URL of what is shown beside the text."""
    return {
        "to": " ".join(tokens),
        "to_name": None,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": None,
        "media_urls": [picture] if picture else [],
        "data": {"notification_id": notification_id, "notification_type": notification_type},
        "headers": {},
        "attachments": [],
        "links": [],
    }
