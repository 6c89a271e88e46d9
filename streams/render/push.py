"""Push content: title, body, and data that holds ids and buttons only, for the app to fetch the rest after sign-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.catalog_model import InApp
from streams.render.email import one_line
from streams.render.engine import Rendered
from streams.render.in_app import said


def content(
    rendered: Rendered,
    tokens: Sequence[str],
    notification_id: str,
    notification_type: str,
    behaviour: InApp,
    locale: str,
    picture: str = "",
) -> dict[str, Any]:
    """MessageContent for all devices of one person. Its buttons are those of the same message in the inbox; ``picture``: the URL
    of what is shown beside the text.
    """
    data = {"notification_id": notification_id, "notification_type": notification_type}
    actions = said(behaviour, locale).get("actions")
    if actions is not None:
        data["actions"] = actions
    return {
        "to": " ".join(tokens),
        "to_name": None,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": None,
        "media_urls": [picture] if picture else [],
        "data": data,
        "headers": {},
        "attachments": [],
        "links": [],
    }
