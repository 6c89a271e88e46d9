"""Email content: subject, text and HTML, and the headers that go with them."""

from __future__ import annotations

from typing import Any

from streams.render.engine import Rendered
from streams.rules.person import Person

# Languages that we write texts in; others read English.
_UNSUBSCRIBE = {"en": "Unsubscribe", "es": "Cancelar la suscripción"}


def content(
    rendered: Rendered, to: str, person: Person, locale: str = "en", unsubscribe_url: str = ""
) -> dict[str, Any]:
    """MessageContent for one address. ``unsubscribe_url``: where a no is said; the mail program's own button uses it too."""
    body, headers = rendered.body, {}
    if unsubscribe_url:
        word = _UNSUBSCRIBE.get(locale.partition("-")[0], _UNSUBSCRIBE["en"])
        body = f"{body.rstrip()}\n\n{word}: {unsubscribe_url}\n"
        # RFC 8058: the mail program posts `List-Unsubscribe=One-Click` to the first; the provider's DKIM signs both.
        headers = {
            "List-Unsubscribe": f"<{unsubscribe_url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return {
        "to": to,
        "to_name": person.first_name,
        "subject": one_line(rendered.subject or ""),
        "body": body,
        "html": rendered.html,
        "media_urls": [],
        "data": {},
        "headers": headers,
        "attachments": [],
    }


def one_line(text: str) -> str:
    """A subject or title on one line: a line break in it would begin another header."""
    return " ".join(text.split())
