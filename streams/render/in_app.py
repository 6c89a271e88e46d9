"""In-app content: title and body for the list, and the detail that opens behind sign-in (kept in ``html``, as plain text)."""

from __future__ import annotations

from typing import Any

from streams.render.email import one_line
from streams.render.engine import Rendered


def content(rendered: Rendered, recipient: str, aggregate_type: str, aggregate_id: str) -> dict[str, Any]:
    """MessageContent for one inbox. ``data``: what the item is about, so that the app can link to it."""
    return {
        "to": recipient,
        "to_name": None,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": rendered.html,
        "media_urls": [],
        "data": {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id},
        "headers": {},
        "attachments": [],
    }
