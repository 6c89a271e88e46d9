"""The template texts: there for every type and channel, short where they must be, with a way out of marketing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from api.page_rendering import LANGUAGES
from connectors.webhooks.keywords import keyword
from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.catalog_model import NotificationType
from streams.render.engine import PARTS, CompiledTemplate, Rendered
from streams.render.sms import plain, segments
from streams.render.sources import load_templates
from streams.render.variables import Facts
from streams.rules.person import Person
from tests.unit.rules.events import event

CATALOG = Catalog.load()
RECORDS = {(row["template_id"], row["channel"], row["locale"]): row for row in load_templates(CATALOG)}
TYPES = list(CATALOG.types.values())
# Every type in every language that its template has.
WRITTEN = [
    (kind, locale) for kind in TYPES for locale in sorted({key[2] for key in RECORDS if key[0] == kind.template_id})
]
FOR_PATIENTS = sorted({kind.template_id for kind in TYPES if kind.recipient_kind == "patient"})
STOP_IT = {"en": "Reply STOP to opt out.", "es": "Responda STOP para darse de baja."}
# What a language leaves out of a text: (variable, level). GSM-7 cannot write "días", and the portal says how many.
NOT_SAID = {("refund_confirmation", "sms", "es"): {("expected_days", 1)}}
CLINIC: dict[str, Any] = {
    "name": "Luxe Medical Spa",
    "phone": "(555) 010-0100",
    "email": "care@luxe.example",
    "address": "1 Main Street, Springfield",
    "website": "https://luxe.example",
    "portal_url": "https://my.luxe.example",
    "booking_url": "https://luxe.example/book",
    "privacy_url": "https://luxe.example/privacy",
    "logo_url": None,
    "service_names": {},
    "generic_service_name": "treatment",
    "currency": "USD",
}
# Words of people may be of any length; the test's are as long as they usually are.
_WORDS: dict[str, Any] = {
    "title": "Water leak",
    "message": "We are closed until noon. Please do not come in.",
    "headline": "Glow week",
    "offer_text": "15% off",
    "offer_code": "GLOW15",
    "url": "https://luxe.example/glow",
    "refund_id": "R-2001",
    "tier": "Gold",
    "new_tier": "Platinum",
    "summary": "SMS provider paused",
    "component": "sink.sms",
    "code": "paused",
    "integration": "EHR",
    "error_code": "401",
    "alternative": None,
    "estimated_wait_minutes": 20,
    "amount": Decimal("120.00"),
    "starts_at": datetime(2026, 7, 4, 13, tzinfo=UTC),
    "ends_at": datetime(2026, 7, 5, 13, tzinfo=UTC),
    "event_starts_at": datetime(2026, 7, 4, 22, tzinfo=UTC),
    "due_date": date(2026, 7, 1),
}


def _rendered(
    kind: NotificationType,
    channel: str,
    locale: str = "en",
    *,
    first_name: str = "Sarah",
    clinic: dict[str, Any] = CLINIC,
) -> list[Rendered]:
    """The type's text on a channel, once for each event it comes from."""
    compiled = CompiledTemplate(RECORDS[kind.template_id, channel, locale])
    found = []
    for event_type in dict.fromkeys(trigger.event for trigger in kind.triggers):
        happened = event(event_type)
        happened |= {name: value for name, value in _WORDS.items() if name in happened}
        person = Person(recipient="patient:p1", version=1, first_name=first_name)
        facts = Facts(happened, person, clinic, "A-1001", f"{locale}-US", "America/New_York")
        found.append(compiled.bound_to(EVENT_TYPES[event_type].record).render(facts))
    return found


def _ids(written: tuple[NotificationType, str]) -> str:
    return f"{written[0].name}-{written[1]}"


@pytest.mark.parametrize("written", WRITTEN, ids=_ids)
def test_every_channel_of_a_type_has_a_text(written: tuple[NotificationType, str]) -> None:
    """A language is there whole: nobody is texted in one and emailed in the other."""
    kind, locale = written
    for channel in kind.all_channels:
        for rendered in _rendered(kind, channel, locale):
            assert rendered.body.strip()
            assert "None" not in rendered.body


@pytest.mark.parametrize("written", [one for one in WRITTEN if "sms" in one[0].all_channels], ids=_ids)
def test_a_text_message_is_one_segment_of_gsm7(written: tuple[NotificationType, str]) -> None:
    for rendered in _rendered(written[0], "sms", written[1]):
        found = segments(plain(rendered.body))
        assert (found.alphabet, found.parts) == ("gsm7", 1), f"{found.units} units"


@pytest.mark.parametrize("written", [one for one in WRITTEN if one[0].sender_class == "marketing"], ids=_ids)
def test_marketing_says_how_to_stop_it(written: tuple[NotificationType, str]) -> None:
    kind, locale = written
    if "sms" in kind.channels:
        assert all(rendered.body.endswith(STOP_IT[locale]) for rendered in _rendered(kind, "sms", locale))
        assert keyword("STOP") == "stop"
    if "email" in kind.channels:
        assert "unsubscribe_url" in RECORDS[kind.template_id, "email", locale]["html"]


@pytest.mark.parametrize("written", [one for one in WRITTEN if one[0].asks == "confirmation"], ids=_ids)
def test_a_text_that_asks_names_the_letters_that_replies_are_read_for(written: tuple[NotificationType, str]) -> None:
    for rendered in _rendered(written[0], "sms", written[1]):
        letters = re.findall(r"\b[A-Z]\b", re.split("(?i)reply|responda", rendered.body)[1])
        assert [keyword(letter) for letter in letters] == ["confirm", "reschedule"]


@pytest.mark.parametrize("template_id", FOR_PATIENTS)
def test_what_patients_are_told_is_in_the_language_of_their_pages(template_id: str) -> None:
    """Each language says what English says, on the same surfaces: no variable more, and none less but for a stated reason."""
    texts = {key[1:]: row for key, row in RECORDS.items() if key[0] == template_id}
    assert {locale for _, locale in texts} == set(LANGUAGES)
    for (channel, locale), row in texts.items():
        english = texts[channel, "en"]
        assert _used(row) | NOT_SAID.get((template_id, channel, locale), set()) == _used(english), (channel, locale)
        assert {part for part in PARTS if row[part]} == {part for part in PARTS if english[part]}


def _used(row: dict[str, Any]) -> set[tuple[str, int]]:
    """The variables of a text, each with the lowest surface that may show it."""
    return {(one["name"], one["level"]) for one in row["variables"]}


@pytest.mark.parametrize("written", WRITTEN, ids=_ids)
def test_texts_read_well_when_little_is_known(written: tuple[NotificationType, str]) -> None:
    kind, locale = written
    bare = CLINIC | dict.fromkeys(("phone", "email", "address", "website", "portal_url", "booking_url", "privacy_url"))
    for channel in kind.all_channels:
        for rendered in _rendered(kind, channel, locale, first_name="", clinic=bare):
            text = rendered.body
            for broken in (" .", " ,", "call .", ": .", "()", "Hi !", "Hola :", ".."):
                assert broken not in text, text


@pytest.mark.parametrize("written", [one for one in WRITTEN if "email" in one[0].all_channels], ids=_ids)
def test_an_email_keeps_its_lists_and_paragraphs(written: tuple[NotificationType, str]) -> None:
    for rendered in _rendered(written[0], "email", written[1]):
        assert "\n\n\n" not in rendered.body
        assert rendered.html is not None
        for tag in ("p", "ul", "li"):
            assert rendered.html.count(f"<{tag}>") == rendered.html.count(f"</{tag}>")
        assert rendered.body.count("\n- ") == rendered.html.count("<li>")
        assert "{%" not in rendered.html
