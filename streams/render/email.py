"""Email content: subject, text and HTML, and the headers that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.render.engine import Rendered
from streams.rules.person import Person

# Our own words in an email, in the languages that we write texts in; others read English.
_WORDS = {
    "en": {"unsubscribe": "Unsubscribe", "privacy": "Privacy", "appointment": "Appointment at CLINIC"},
    "es": {"unsubscribe": "Cancelar la suscripción", "privacy": "Privacidad", "appointment": "Cita en CLINIC"},
}


def language_of(locale: str) -> str:
    """The language of our own words in a mail of that locale."""
    language = locale.partition("-")[0]
    return language if language in _WORDS else "en"


def words(locale: str) -> Mapping[str, str]:
    """Our own words: ``unsubscribe``, ``privacy``, ``appointment`` (a calendar entry's title, of CLINIC)."""
    return _WORDS[language_of(locale)]


def content(
    rendered: Rendered,
    to: str,
    person: Person,
    locale: str = "en",
    unsubscribe_url: str = "",
    attachments: Sequence[Mapping[str, Any]] = (),
    links: Sequence[Mapping[str, Any]] = (),
    picture_url: str = "",
    forms: Sequence[str] = (),
) -> dict[str, Any]:
    """MessageContent for one address. ``unsubscribe_url``: where a no is said; the mail program's own button uses it too.

    ``forms``: names of forms, whose blank files the sink attaches where they are on file.
    ``picture_url``: the picture that counts openings; empty: they are not counted.
    """
    body, headers = rendered.body, {}
    if unsubscribe_url:
        body = f"{body.rstrip()}\n\n{words(locale)['unsubscribe']}: {unsubscribe_url}\n"
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
        "html": _with_picture(rendered.html, picture_url),
        "media_urls": [],
        "data": {},
        "headers": headers,
        "attachments": list(attachments),
        "links": list(links),
        "forms": list(forms),
    }


def _with_picture(html: str | None, url: str) -> str | None:
    if html is None or not url:
        return html
    before, end, after = html.rpartition("</body>")
    picture = f'<img src="{url}" width="1" height="1" alt="" style="display:block">'
    return before + picture + end + after if end else html + picture


def one_line(text: str) -> str:
    """A subject or title on one line: a line break in it would begin another header."""
    return " ".join(text.split())
