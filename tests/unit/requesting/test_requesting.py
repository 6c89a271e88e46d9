"""What may be asked for by hand: types, their data, and that what the API promises is what the pipeline makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.render.engine import CompiledTemplate
from streams.render.sources import load_templates
from streams.render.variables import Facts, value
from streams.requesting import Field, data_faults, expected, fields_of, type_named
from streams.rules.mapping import MappingError
from streams.rules.person import stranger
from streams.what_if import catalog
from tests.unit.rules.events import NOW, event

RECORD = "luxe.events.NotificationRequested"
ROWS = load_templates(catalog())
VARIABLES: dict[str, dict[str, Mapping[str, Any]]] = {}
for _row in ROWS:
    VARIABLES.setdefault(_row["template_id"], {}).update({one["name"]: one for one in _row["variables"]})
ASKABLE = sorted(name for name in catalog().types if type_named(name) is not None)
EXAMPLES = {
    **{"date": "2026-12-24", "time": "14:00", "datetime": "2026-12-24T14:00:00Z", "number": "3", "money": "12.50"},
    **{"boolean": "true", "url": "https://luxe.example/x", "string": "Something"},
}
CLINIC: dict[str, Any] = {
    **{"name": "Luxe", "phone": None, "email": None, "address": None, "website": None, "portal_url": None},
    **{"booking_url": None, "logo_url": None, "privacy_url": None, "currency": "USD", "service_names": {}},
    "generic_service_name": "treatment",
}


def fields(name: str) -> dict[str, Field] | None:
    kind = catalog().types[name]
    return fields_of(kind, list(VARIABLES[kind.template_id].values()))


@pytest.mark.parametrize(
    "name",
    ["address_verification", "patient_digest", "staff_digest", "requested_message", "requested_staff_message", "x"],
)
def test_what_is_only_sent_of_itself_cannot_be_asked_for(name: str) -> None:
    """A code goes to whatever address the event names; a digest tells what was collected."""
    assert type_named(name) is None


def test_what_says_its_own_events_words_cannot_be_told_by_name() -> None:
    assert {name for name in ASKABLE if fields(name) is None} >= {"clinic_emergency", "newsletter", "promotional_offer"}


@pytest.mark.parametrize("name", [name for name in ASKABLE if fields(name) is not None])
def test_data_that_fits_can_be_written_on_every_channel(name: str) -> None:
    """Whatever the API lets through, the templates take: nothing of it becomes a dead letter."""
    known = fields(name) or {}
    whole = {one: EXAMPLES[field.type] for one, field in known.items()}
    least = {one: EXAMPLES[field.type] for one, field in known.items() if field.required}
    asked = event("notification.requested", notification_type=name)
    for data in (whole, least):
        assert list(data_faults(known, data)) == []
        facts = Facts(asked | {"data": data}, stranger("patient:p1", {}), CLINIC, "A-1", "en-US", "UTC")
        for row in ROWS:
            if row["template_id"] == catalog().types[name].template_id:
                facts.made.clear()
                assert CompiledTemplate(row).bound_to(RECORD).render(facts).body


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *(("date", wrong) for wrong in ("24.12.2026", "2026-13-01", "20261224", "tomorrow")),
        *(("time", wrong) for wrong in ("2 PM", "25:00", "14:00:00")),
        *(("datetime", wrong) for wrong in ("2026-12-24T14:00:00", "noon")),
        *(("money", wrong) for wrong in ("NaN", "Infinity", "1e400", "12,50", "-1e15")),
        *(("boolean", wrong) for wrong in ("yes", "True")),
        *(("url", wrong) for wrong in ("javascript:alert(1)", "http://luxe.example", "https://a b")),
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_never_shown(kind: Any, wrong: str) -> None:
    (fault,) = data_faults({"x": Field(kind, required=True)}, {"x": wrong})
    assert fault.field == "data.x"
    assert wrong not in str(fault)


def test_what_is_missing_or_unknown_is_named() -> None:
    known = {"day": Field("date", required=True), "note": Field("string", required=False)}
    faults = list(data_faults(known, {"note": "", "Sarah": "x"}))
    assert [(fault.field, fault.shape) for fault in faults] == [
        ("data", "a name of 5 characters that the type does not have"),
        ("data.day", "missing"),
    ]
    assert "Sarah" not in str(faults)


@given(st.dictionaries(st.sampled_from(sorted(fields("appointment_confirmation") or {})), st.text(max_size=40)))
def test_no_data_at_all_finds_a_fault_of_ours(data: dict[str, str]) -> None:
    known = fields("appointment_confirmation") or {}
    if list(data_faults(known, data)):
        return
    asked = event("notification.requested", notification_type="appointment_confirmation")
    facts = Facts(asked | {"data": data}, stranger("patient:p1", {}), CLINIC, "A-1", "en-US", "UTC")
    for row in ROWS:
        if row["template_id"] == "appointment_confirmation":
            CompiledTemplate(row).bound_to(RECORD).render(facts)


@pytest.mark.parametrize(
    ("recipient", "urgent", "wanted"),
    [
        ("patient:p1", False, "requested_message"),
        ("patient:p1", True, "requested_message_urgent"),
        ("staff:s1", False, "requested_staff_message"),
    ],
)
def test_what_is_promised_is_what_the_pipeline_makes_of_it(recipient: str, urgent: bool, wanted: str) -> None:
    made = expected(event("notification.requested", recipient=recipient, urgent=urgent, message="Hi"), NOW)
    assert made is not None
    assert made.notification_type == wanted


def test_what_is_past_or_impossible_is_found_before_it_is_asked_for() -> None:
    assert expected(event("notification.requested", message="Hi", send_at=NOW, expires_at=NOW), NOW) is None
    with pytest.raises(MappingError):
        expected(event("notification.requested", notification_type="low_stock_alert"), NOW)


def test_markup_in_a_free_message_is_text() -> None:
    """It is read in the portal alone, as plain text; what an email says of it holds none of it."""
    said = "<script>alert(1)</script> https://evil.example {{ clinic_phone }} {% raw %}"
    asked = event("notification.requested", message=said, title="<b>Hi</b>")
    facts = Facts(asked, stranger("patient:p1", {}), CLINIC, "A-1", "en-US", "UTC")
    for row in ROWS:
        if row["template_id"] in ("requested_message", "requested_message_urgent", "requested_staff_message"):
            facts.made.clear()
            rendered = CompiledTemplate(row).bound_to(RECORD).render(facts)
            open_parts = f"{rendered.subject} {rendered.body} {rendered.html if row['channel'] == 'email' else ''}"
            assert "evil.example" not in open_parts
            assert "<b>Hi" not in open_parts
            if row["channel"] == "in_app":
                assert rendered.html is not None
                assert said in rendered.html  # as it was written: whoever shows it, shows text
    assert value("message", lambda _: "", facts)
