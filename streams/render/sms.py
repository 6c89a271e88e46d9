"""Text messages: how many segments a text takes, and in which alphabet. Tables of 3GPP TS 23.038 (GSM 7-bit default alphabet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from streams.render.ceilings import TemplateError
from streams.render.engine import Rendered

GSM7_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Sent as an escape and a second septet.
GSM7_EXTENDED = frozenset("^{}\\[~]|€\f")

SINGLE_SEPTETS, CONCATENATED_SEPTETS = 160, 153  # the rest of 140 bytes is the header of a concatenated message
SINGLE_UNITS, CONCATENATED_UNITS = 70, 67  # UTF-16 code units
# Twilio refuses more than 1600 characters (error 21617); ten segments of GSM-7 are 1530.
MAX_SEGMENTS = 10

# What word processors and CLDR put into texts, and GSM-7 has not, though it has the same thing plainly.
_PLAIN = str.maketrans(
    {
        "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u200b": "",
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2026": "...",
    }
)  # fmt: skip


class Segments(NamedTuple):
    """How a text is sent. ``units``: septets of GSM-7, or UTF-16 code units of UCS-2."""

    alphabet: Literal["gsm7", "ucs2"]
    units: int
    parts: int


def plain(text: str) -> str:
    """The text with typographic quotes, dashes and spaces in their plain form: one of them would halve what a segment holds."""
    return text if text.isascii() else text.translate(_PLAIN)


def segments(text: str) -> Segments:
    """Alphabet and segment count of a text. An empty text takes one segment.

    A character is never split between segments: an escaped pair of GSM-7, or a surrogate pair, moves to the next one whole.
    """
    if GSM7_BASIC.issuperset(text):
        return _count("gsm7", len(text), SINGLE_SEPTETS, CONCATENATED_SEPTETS, None)
    if all(char in GSM7_BASIC or char in GSM7_EXTENDED for char in text):
        widths = [2 if char in GSM7_EXTENDED else 1 for char in text]
        return _count("gsm7", sum(widths), SINGLE_SEPTETS, CONCATENATED_SEPTETS, widths)
    widths = [2 if ord(char) > 0xFFFF else 1 for char in text]
    return _count("ucs2", sum(widths), SINGLE_UNITS, CONCATENATED_UNITS, widths)


def _count(alphabet: Literal["gsm7", "ucs2"], units: int, single: int, part: int, widths: list[int] | None) -> Segments:
    if units <= single:
        return Segments(alphabet, units, 1)
    if widths is None:
        return Segments(alphabet, units, -(-units // part))
    parts, room = 1, part
    for width in widths:
        if width > room:
            parts, room = parts + 1, part
        room -= width
    return Segments(alphabet, units, parts)


def content(
    rendered: Rendered, number: str, links: Sequence[Mapping[str, Any]] = (), picture: str = ""
) -> tuple[dict[str, Any], int]:
    """MessageContent for one number, and its segments. Raises TemplateError for a text of more than MAX_SEGMENTS.

    ``picture``: its URL, and it is an MMS.
    """
    body = plain(rendered.body.strip())
    count = segments(body).parts
    if count > MAX_SEGMENTS:
        raise TemplateError(
            f"a text message of {count} segments; the provider takes {MAX_SEGMENTS}: shorten the template"
        )
    return {
        "to": number,
        "to_name": None,
        "subject": None,
        "body": body,
        "html": None,
        "media_urls": [picture] if picture else [],
        "data": {},
        "headers": {},
        "attachments": [],
        "links": list(links),
    }, count
