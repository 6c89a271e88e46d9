"""The PDF of a receipt: opened again, it says who was paid, when and how much, and never what for; the same bytes each time."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pypdf import PdfReader

from streams.catalog import Catalog
from streams.catalog_model import ReceiptFile
from streams.render import email, payment_receipt
from streams.render.ceilings import AboveCeilingError, TemplateError
from streams.render.variables import Facts
from streams.rules.person import Person

RECORD = "luxe.events.PaymentReceived"
WHY = "A receipt without its amount is none; it names no treatment."
PAID_AT = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)  # still February at the clinic
CLINIC: dict[str, Any] = {
    "name": "Luxe (Médical) \\ Spa",
    "phone": "(555) 010-0100",
    "address": "1 Main Street\nSuite 2",
    "time_zone": "America/New_York",
    "service_names": {"Botox": "cosmetic treatment"},
    "generic_service_name": "cosmetic treatment",
    "currency": "USD",
}
COMMITTED = Catalog.load().types["receipt_delivery"].attach.receipt
assert COMMITTED is not None
MAKE = payment_receipt.bound_to(RECORD, COMMITTED, "type receipt_delivery")
assert MAKE is not None


def event(**changes: Any) -> dict[str, Any]:
    return {
        "occurred_at": PAID_AT,
        "received_at": None,
        "payment_id": "P-1",
        "patient_id": "sarah-1",
        "amount": Decimal("1234.50"),
        "currency": "USD",
        "method": "Visa 4111111111111111 Botox",
        "service": "Botox",
        "receipt_url": "https://pay.example/r/1",
        "remaining_balance": None,
        **changes,
    }


def made(
    happened: dict[str, Any], locale: str = "en-US", reference: str = "P-1", clinic: dict[str, Any] = CLINIC
) -> dict[str, Any]:
    person = Person("patient:sarah-1", 1, first_name="Sarah")
    assert MAKE is not None
    (file,) = MAKE(Facts(happened, person, clinic, reference, locale, "Pacific/Auckland"))
    return file


def said(file: dict[str, Any]) -> str:
    reader = PdfReader(BytesIO(file["content"]), strict=True)
    assert len(reader.pages) == 1
    return reader.pages[0].extract_text()


def test_it_says_who_was_paid_when_and_how_much() -> None:
    file = made(event())
    assert (file["filename"], file["content_type"]) == ("receipt-P-1.pdf", "application/pdf")
    assert [" ".join(line.split()) for line in said(file).splitlines() if line.strip()] == [
        "Luxe (Médical) \\ Spa",
        "1 Main Street",
        "Suite 2",
        "(555) 010-0100",
        "Receipt",
        "Reference P-1",
        "Date Feb 28, 2026",
        "Amount paid $1,234.50",
        "For your privacy this receipt does not say what was paid for. The details open after you sign in.",
    ]


@pytest.mark.parametrize(
    ("locale", "lines"),
    [
        (
            "es",
            ("Recibo", "Referencia P-1", "Fecha 2 mar 2026", "Importe pagado 1.234,50 €", "Saldo pendiente 20,00 €"),
        ),
        ("es-MX", ("Fecha 2 mar 2026", "Importe pagado EUR1,234.50", "Saldo pendiente EUR20.00")),
        ("en-GB", ("Date 2 Mar 2026", "Amount paid €1,234.50", "Remaining balance €20.00")),
        ("fr", ("Date Mar 2, 2026", "Amount paid €1,234.50")),  # none of our words' languages: wholly English
    ],
)
def test_every_language_of_our_words(locale: str, lines: tuple[str, ...]) -> None:
    happened = event(currency="EUR", remaining_balance=Decimal(20), received_at=datetime(2026, 3, 2, 12, tzinfo=UTC))
    text = said(made(happened, locale))
    found = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if line not in found] == []


def test_our_words_are_there_in_the_languages_of_emails() -> None:
    assert payment_receipt.WORDS.keys() == email._WORDS.keys()
    assert all(words.keys() == payment_receipt.WORDS["en"].keys() for words in payment_receipt.WORDS.values())
    assert all(
        payment_receipt.written(text) == text for words in payment_receipt.WORDS.values() for text in words.values()
    )


def test_it_names_neither_treatment_nor_person_nor_how_it_was_paid() -> None:
    file = made(event(remaining_balance=Decimal(0)))
    for secret in ("Botox", "cosmetic", "Sarah", "sarah-1", "4111", "Visa", "pay.example"):
        assert secret not in said(file)
        assert secret.encode() not in file["content"]


def test_the_same_event_makes_the_same_bytes_whatever_was_made_before() -> None:
    first = made(event())
    made(event(remaining_balance=Decimal(5)), "es")
    payment_receipt._frame.cache_clear()
    assert made(event()) == first
    others = {
        made(event(**changes))["content"]
        for changes in ({}, {"amount": Decimal(1)}, {"occurred_at": datetime(2026, 3, 2, tzinfo=UTC)})
    }
    assert len(others) == 3
    info = PdfReader(BytesIO(first["content"])).metadata
    assert info is not None
    assert info.creation_date == PAID_AT


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Клиника Люкс", "Klinika Lyuks"),
        ("美容 Spa", "MeiRong Spa"),
        ("Łódź Kosmetik ✨", "Lódz Kosmetik"),
        ("Cafe\u0301 Beaute\u0301 – “Œuvre”", "Café Beauté – “Œuvre”"),
        ("Spa\x7f\x00 One", "Spa One"),
    ],
)
def test_a_clinic_s_name_in_other_letters_is_transcribed(name: str, shown: str) -> None:
    assert said(made(event(), clinic=CLINIC | {"name": name})).splitlines()[0].strip() == shown


@pytest.mark.parametrize(
    ("currency", "shown"), [("INR", "INR 1,234.50"), ("ILS", "ILS 1,234.50"), ("GBP", "£1,234.50")]
)
def test_a_currency_whose_sign_we_cannot_draw_is_named(currency: str, shown: str) -> None:
    assert f"Amount paid {shown}" in " ".join(said(made(event(currency=currency))).split())


def test_a_long_reference_goes_on_in_the_next_line() -> None:
    reference = "R(" * 64
    file = made(event(), reference=reference)
    assert reference in "".join(said(file).split())
    assert len(file["filename"]) < 80


@example("?", "", "\x7f" * 90, Decimal("0.00"), "USD", "en")
@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.text(min_size=1, max_size=128),
    st.decimals(0, 10**9, places=2),
    st.sampled_from(["USD", "EUR", "JPY", "INR", "CHF", "XXX"]),
    st.sampled_from(["en-US", "es-MX", "de-DE", "ar-EG", "nonsense"]),
)
def test_whatever_clinic_reference_and_amount_it_opens(
    name: str, address: str, reference: str, amount: Decimal, currency: str, locale: str
) -> None:
    clinic = CLINIC | {"name": name, "address": address}
    file = made(event(amount=amount, currency=currency, remaining_balance=amount), locale, reference, clinic)
    text = said(file)
    shown = payment_receipt.money(amount, currency, locale if locale.startswith(("en", "es")) else "en")
    assert "".join(text.split()).count("".join(shown.split())) >= 2
    assert text.count("?") <= name.count("?") + address.count("?") + reference.count("?")
    assert file["filename"].isascii()


def test_amounts_are_told_only_where_the_catalogue_says_why() -> None:
    with pytest.raises(AboveCeilingError, match=r"type x: attach: variable amount is level 3"):
        payment_receipt.bound_to(RECORD, ReceiptFile(because=WHY), "type x")
    with pytest.raises(AboveCeilingError, match="variable remaining_balance is level 3"):
        payment_receipt.bound_to(RECORD, ReceiptFile(level_2=("amount",), because=WHY), "type x")
    with pytest.raises(TemplateError, match="level_2: patient_id is no amount"):
        payment_receipt.bound_to(RECORD, ReceiptFile(level_2=("amount", "patient_id"), because=WHY), "type x")
    with pytest.raises(ValueError, match="because"):
        ReceiptFile(level_2=("amount",), because="")


def test_only_payments_have_one() -> None:
    assert payment_receipt.bound_to("luxe.events.NotificationRequested", ReceiptFile(because=WHY), "x") is None
    with pytest.raises(TemplateError, match="has no amount"):
        payment_receipt.bound_to("luxe.events.FormsDue", ReceiptFile(because=WHY), "x")
