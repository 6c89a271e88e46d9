"""Email content: subject, text and HTML, and the headers that go with them."""

from __future__ import annotations

from typing import Any

from streams.render.engine import Rendered
from streams.rules.person import Person


def content(rendered: Rendered, to: str, person: Person) -> dict[str, Any]:
    """MessageContent for one address."""
    return {
        "to": to,
        "to_name": person.first_name,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": rendered.html,
        "media_urls": [],
        "data": {},
        "headers": {},
        "attachments": [],
    }


def one_line(text: str) -> str:
    """A subject or title on one line: a line break in it would begin another header."""
    return " ".join(text.split())
