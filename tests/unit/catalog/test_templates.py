"""The template texts: there for every type and channel, short where they must be, with a way out of marketing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from api.page_rendering import LANGUAGES
from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.catalog_model import NotificationType
from streams.render.engine import CompiledTemplate, Rendered
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


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES if kind.sender_class == "marketing"], ids=lambda kind: kind.name
)
def test_marketing_says_how_to_stop_it(kind: NotificationType) -> None:
    if "sms" in kind.channels:
        assert all(rendered.body.endswith("Reply STOP to opt out.") for rendered in _rendered(kind, "sms"))
    if "email" in kind.channels:
        html = RECORDS[kind.template_id, "email", "en"]["html"]
        assert "unsubscribe_url" in html


@pytest.mark.parametrize(
    "kind",
    [kind for kind in TYPES if kind.name.startswith(("waitlist_", "appointment_waitlist"))],
    ids=lambda kind: kind.name,
)
def test_what_a_patient_is_told_of_a_waitlist_is_in_the_language_of_its_pages(kind: NotificationType) -> None:
    assert {locale for one, locale in WRITTEN if one is kind} == set(LANGUAGES)


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
