"""Emails that carry documents, through the whole of notify: a receipt whole, forms by their names only."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from streams.messages import MAX_FORMS_NAMED
from tests.notify_world import World

PAID, FORMS = "luxe.events.PaymentReceived", "luxe.events.FormsDue"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_template("receipt_delivery", "email", "Paid.", subject="Your receipt", records=(PAID,))
    world.add_template("forms_reminder", "email", "Forms wait.", subject="Your forms", records=(FORMS,))
    world.add_recipient("patient:1", phones=[], devices=[])
    return world


def event(world: World, event_type: str, **fields: Any) -> dict[str, Any]:
    whole = world.created(1)
    envelope = ("event_id", "occurred_at", "schema_version", "source", "correlation_id", "clinic_id", "metadata")
    return {name: whole[name] for name in envelope} | {
        **{"event_type": event_type, "aggregate_id": "X-1", "aggregate_version": 1, "patient_id": "1"},
        **fields,
    }


def email_of(world: World, kind: str, happened: dict[str, Any], record: str) -> dict[str, Any]:
    outputs = world.ask(world.request(happened, kind=kind, record=record))
    return world.content(next(one for one in world.messages(outputs) if one["channel"] == "email"))


def test_a_receipt_goes_with_its_email(world: World) -> None:
    paid = event(
        world,
        "payment.received",
        **{"payment_id": "X-1", "amount": Decimal("99.00"), "currency": "USD", "method": "card", "package_id": None},
        **{"appointment_id": None, "receipt_url": "https://pay.example/1", "received_at": None},
        remaining_balance=None,
    )
    content = email_of(world, "receipt_delivery", paid, PAID)
    (file,) = content["attachments"]
    assert (file["filename"], file["content_type"]) == ("receipt-X-1.pdf", "application/pdf")
    assert "$99.00" in PdfReader(BytesIO(file["content"])).pages[0].extract_text()
    assert content["forms"] == []


@pytest.mark.parametrize("named", [["Health questionnaire", "Peel consent"], [f"Form {n}" for n in range(50)]])
def test_forms_are_named_to_the_sink_and_not_in_the_email(world: World, named: list[str]) -> None:
    due = event(
        world,
        "forms.due",
        **{"assignment_id": "X-1", "form_names": named, "due_date": date(2026, 12, 20), "appointment_id": None},
        **{"appointment_date": None, "appointment_time": None, "time_zone": None, "forms_url": "https://f.example/1"},
    )
    content = email_of(world, "forms_reminder", due, FORMS)
    assert content["forms"] == named[:MAX_FORMS_NAMED]
    assert content["attachments"] == []
    assert not any(form in str({**content, "forms": []}) for form in named)
