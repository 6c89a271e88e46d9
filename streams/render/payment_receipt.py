"""The PDF of a payment's receipt, for its email: who was paid, when, how much, what is left. Never what for. Pure.

fpdf2 lays out what many receipts share (the clinic, the words, the lines), once each; what differs is put into places that the
layout keeps, as long as the longest that fits, so that nothing else of the file moves. Measured: docs/adr/0029.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from anyascii import anyascii
from babel.numbers import format_currency
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from streams.catalog_model import ReceiptFile
from streams.render import formats
from streams.render.ceilings import TemplateError, check
from streams.render.variables import KNOWN, RECORDS_WITH_DATA, Facts, Variable, declared, event_fields, resolver, value
from streams.rules.timing import zone

CONTENT_TYPE = "application/pdf"
# Clinics × languages × shapes, 3 KB each.
FRAMES_CACHED = 1_024
TEXTS_CACHED = 4_096

# The letters that every PDF reader has without a font in the file, and the file's own encoding of them (WinAnsiEncoding).
ENCODING = "cp1252"
# So many of the widest letter fit beside the labels; a longer reference goes on in the next line.
LINE_CHARACTERS = 40
# A place holds a line with every character escaped.
_PLACE_OCTETS = 2 * LINE_CHARACTERS
# No text has it: what is written has no control characters.
_PLACE = "\x7f"
_DRAWN_AT = datetime(2000, 1, 1, tzinfo=UTC)
_DRAWN_STAMP = b"(D:20000101000000Z)"
_FILE_ID = re.compile(rb"/ID \[<[0-9A-F]{32}><[0-9A-F]{32}>\]")
_ESCAPED = re.compile(rb"[\\()]")
_NOT_IN_FILENAMES = re.compile(r"[^A-Za-z0-9._-]+")

_LETTERHEAD = ("clinic_name", "clinic_address", "clinic_phone")
_AMOUNTS = ("amount", "remaining_balance")

# In the languages that emails have our words in (streams.render.email).
WORDS = {
    "en": {
        "receipt": "Receipt",
        "reference": "Reference",
        "date": "Date",
        "amount": "Amount paid",
        "remaining_balance": "Remaining balance",
        "privacy": "For your privacy this receipt does not say what was paid for. The details open after you sign in.",
    },
    "es": {
        "receipt": "Recibo",
        "reference": "Referencia",
        "date": "Fecha",
        "amount": "Importe pagado",
        "remaining_balance": "Saldo pendiente",
        "privacy": "Por su privacidad, este recibo no dice qué se pagó. Los detalles se abren al iniciar sesión.",
    },
}

Make = Callable[[Facts], "list[dict[str, Any]]"]
_Row = tuple[str, tuple[str, ...]]  # a word's name, and the lines beside it


def bound_to(record: str, file: ReceiptFile, where: str) -> Make | None:
    """What makes the file (luxe.pipeline.Attachment) of events of this record; None: asked for by hand, no payment is known.

    Raises TemplateError: no amount in them, or above the ceiling of an email's body.
    """
    if record in RECORDS_WITH_DATA:
        return None
    fields = event_fields(record)
    if "amount" not in fields:
        raise TemplateError(f"{where}: attach: {record} has no amount: there is nothing to give a receipt for")
    names = [name for name in (*_LETTERHEAD, "reference", *_AMOUNTS) if name in KNOWN or name in fields]
    variables = {name: found for name in names if (found := declared(name, record)) is not None}
    check("email", "body", _levels(variables, file, where), f"{where}: attach")
    resolvers = {name: resolver(name, record, variables[name].type) for name in (*_LETTERHEAD, "reference")}

    def make(facts: Facts) -> list[dict[str, Any]]:
        locale = facts.locale if facts.locale.partition("-")[0] in WORDS else "en"
        language = locale.partition("-")[0]
        said = {name: value(name, resolve, facts) for name, resolve in resolvers.items()}
        event = facts.event
        currency = event.get("currency") or facts.clinic["currency"]
        at: datetime = event.get("received_at") or event["occurred_at"]
        rows: list[_Row] = [
            ("reference", lines_of(said["reference"])),
            ("date", lines_of(formats.day(at.astimezone(zone(facts.clinic["time_zone"])).date(), locale))),
            *(
                (name, lines_of(money(event[name], currency, locale)))
                for name in _AMOUNTS
                if event.get(name) is not None
            ),
        ]
        shape = tuple((name, len(lines)) for name, lines in rows)
        frame = _frame(language, *(written(said[name]) for name in _LETTERHEAD), shape)
        content = _filled(frame, [line for _, lines in rows for line in lines], event["occurred_at"])
        number = _NOT_IN_FILENAMES.sub("-", said["reference"])[:64].strip("-.")
        name = "-".join(filter(None, (WORDS[language]["receipt"].lower(), number)))
        return [{"filename": f"{name}.pdf", "content_type": CONTENT_TYPE, "content": content}]

    return make


def _levels(variables: dict[str, Variable], file: ReceiptFile, where: str) -> dict[str, int]:
    """What the receipt says, each at its own level, but amounts at that which the catalogue gives them, and says why."""
    levels = {name: variable.level for name, variable in variables.items()}
    for name in file.level_2:
        if name not in variables or variables[name].type != "money":
            raise TemplateError(f"{where}: attach: level_2: {name} is no amount that a receipt says")
        levels[name] = min(levels[name], 2)
    return levels


@lru_cache(maxsize=TEXTS_CACHED)
def written(text: str) -> str:
    """A text in the letters of a PDF without a font of its own: others are transcribed, what has no letters is left out.

    Lines stay lines.
    """
    return "\n".join("".join(map(_letter, unicodedata.normalize("NFC", line))).strip() for line in text.splitlines())


def _letter(character: str) -> str:
    if character.isspace():
        return " "
    if not character.isprintable():
        return ""
    try:
        character.encode(ENCODING)
    except UnicodeEncodeError:
        # Pictures and dingbats have names and no letters.
        return "" if unicodedata.category(character).startswith("S") else anyascii(character)
    return character


def lines_of(text: str) -> tuple[str, ...]:
    """A value's lines, each short enough for its place."""
    whole = " ".join(written(text).split())
    return tuple(whole[at : at + LINE_CHARACTERS] for at in range(0, len(whole), LINE_CHARACTERS)) or ("",)


def money(amount: Any, currency: str, locale: str) -> str:
    """An amount; with the currency's code where its sign is none of our letters (₹ and others)."""
    text = formats.money(amount, currency, locale)
    if written(text) == text:
        return text
    pattern = formats.locale_of(locale).currency_formats["standard"].pattern.replace("¤", "¤¤ ")
    named = format_currency(amount, currency, format=pattern, locale=formats.locale_of(locale))
    return " ".join(named.split())


@lru_cache(maxsize=FRAMES_CACHED)
def _frame(
    language: str, clinic_name: str, address: str, phone: str, shape: tuple[tuple[str, int], ...]
) -> tuple[bytes, ...]:
    """The file around its places: before the first, between them, after the last."""
    words = WORDS[language]
    page = FPDF(unit="mm", format="letter")
    page.core_fonts_encoding = ENCODING
    page.set_compression(False)  # what zlib makes of it differs between its builds; it is three kilobytes
    page.set_creation_date(_DRAWN_AT)
    page.set_producer("Luxe Notify")
    page.set_title(words["receipt"])
    page.set_lang(language)
    page.set_margin(25)
    page.add_page()

    def line(text: str, size: int, style: str = "") -> None:
        if text:
            page.set_font("helvetica", style, size)
            page.multi_cell(0, size / 2, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    line(clinic_name, 16, "B")
    line(address, 10)
    line(phone, 10)
    page.ln(10)
    line(words["receipt"], 14, "B")
    page.ln(4)
    page.set_font("helvetica", "", 10)
    for name, lines in shape:
        for number in range(lines):
            page.cell(45, 6, "" if number else words[name])
            page.cell(0, 6, _PLACE * _PLACE_OCTETS, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(10)
    line(words["privacy"], 9)
    return tuple(bytes(page.output()).split(f"({_PLACE * _PLACE_OCTETS})".encode()))


def _filled(frame: Sequence[bytes], lines: Sequence[str], at: datetime) -> bytes:
    """The file. A place takes its text and blanks after it, so that every offset in the file stays what it says."""
    parts = [frame[0]]
    for text, after in zip(lines, frame[1:], strict=True):
        escaped = _ESCAPED.sub(rb"\\\g<0>", text.encode(ENCODING))
        parts += (b"(" + escaped + b")").ljust(_PLACE_OCTETS + 2), after
    whole = b"".join(parts).replace(_DRAWN_STAMP, f"(D:{at.astimezone(UTC):%Y%m%d%H%M%S}Z)".encode())
    name = hashlib.sha256(whole).hexdigest()[:32].upper()
    return _FILE_ID.sub(f"/ID [<{name}><{name}>]".encode(), whole)
