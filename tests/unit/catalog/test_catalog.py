"""The catalogue as data: what holds of every row, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.events import EVENT_TYPES
from streams.catalog import CATALOG_PATH, Catalog, CatalogError
from streams.catalog_model import NotificationType

CATALOG = Catalog.load()
TYPES = list(CATALOG.types.values())


def _written(tmp_path: Path, old: str, new: str) -> Path:
    """The committed catalogue with one change."""
    text = CATALOG_PATH.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "catalog.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def _refused(tmp_path: Path, old: str, new: str) -> str:
    with pytest.raises(CatalogError) as refused:
        Catalog.load(_written(tmp_path, old, new))
    return str(refused.value)


def test_every_event_type_tells_somebody_or_withdraws() -> None:
    # A slot that opens tells the coordinator alone.
    assert set(CATALOG.event_types) == set(EVENT_TYPES) - {"waitlist.slot_available"}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_every_column_follows_the_product_rules(kind: NotificationType) -> None:
    patients = kind.recipient_kind == "patient"
    if kind.category in ("transactional", "financial"):
        assert kind.essential
    if kind.category in ("marketing", "engagement"):
        assert not kind.essential
        assert not kind.fallback
        assert {kind.consent_type(channel) for channel in kind.channels} <= {
            "sms_marketing",
            "email_marketing",
            "push_notifications",
        }
    if patients and kind.lane == "critical":
        assert (*kind.channels, *(step.channel for step in kind.fallback))[:3] == ("sms", "push", "email")
        assert {step.timeout_seconds for step in kind.fallback} == {30}
    if kind.accompanies:
        assert kind.all_channels == ("email",)
    elif patients and kind.consent_scope == "transactional":
        assert (*kind.channels, *(step.channel for step in kind.fallback))[-1] == "in_app"
    if not patients and kind.lane in ("critical", "high"):
        assert set(kind.channels) == {"in_app", "push"}
        assert [(step.channel, step.success, step.timeout_seconds) for step in kind.fallback] == [("sms", "seen", 30)]


@pytest.mark.parametrize(
    "name", ["aftercare_instructions", "lab_result_ready", "clinic_emergency", "emergency_clinic_closure"]
)
def test_clinical_safety_and_emergencies_are_essential(name: str) -> None:
    assert CATALOG.types[name].essential


def test_look_up_by_event_keeps_the_order_of_the_file() -> None:
    names = [entry.type.name for entry in CATALOG.for_event("appointment.created")]
    assert names[0] == "appointment_confirmation"
    assert CATALOG.for_event("no.such_event") == ()


def test_version_changes_with_content_only(tmp_path: Path) -> None:
    assert len(CATALOG.version) == 12
    commented = _written(tmp_path, "types:\n", "# a comment\ntypes:\n")
    assert Catalog.load(commented).version == CATALOG.version
    changed = _written(tmp_path, "about: An appointment was booked", "about: An appointment was made")
    assert Catalog.load(changed).version != CATALOG.version


@pytest.mark.parametrize(
    ("old", "new", "field", "mend"),
    [
        (
            "- event: appointment.created",
            "- event: appointment.create",
            "types.appointment_confirmation.on[0].event",
            "no such event",
        ),
        (
            "    about: An appointment was booked",
            "    pictures: true\n    about: An appointment was booked",
            "types.appointment_confirmation.pictures",
            "only advertising shows any",
        ),
        (
            "  review_request:\n",
            "  review_request:\n    pictures: true\n",
            "types.review_request.pictures",
            "none of its events has an image_url",
        ),
        (
            "{of: [appointment_date, appointment_time], after: PT0S}",
            "{of: [appointment_day, appointment_time], after: PT0S}",
            "on[0].expiry",
            "no date or instant of that name",
        ),
        (
            "{of: [appointment_date, appointment_time], after: PT0S}",
            "{of: [appointment_date, service], after: PT0S}",
            "on[0].expiry",
            "a date and a time of day",
        ),
        (
            "{of: [appointment_date, appointment_time], after: PT0S}",
            "{of: [appointment_date, appointment_time], after: 2 hours}",
            "expiry",
            "is not a duration",
        ),
        (
            "{of: [appointment_date, appointment_time], after: PT0S}",
            "{of: [appointment_date, appointment_time]}",
            "expiry",
            "after: and before:",
        ),
        ("audience: {patients: affected_patients}", "audience: {patients: affected}", "audience", "no list of texts"),
        ("audience: {patients: affected_patients}", "audience: {roles: [staff]}", "audience", "reaches other people"),
        ("    template_id: appointment_waitlist\n", "    template_id: nothing\n", "template_id", "no such template"),
        ("    profile: appointment\n", "    profile: appointments\n", "profile", "no such profile"),
        (
            "    about: An appointment was booked\n",
            "    about: An appointment was booked\n    colour: red\n",
            "colour",
            "no such field",
        ),
        ("{of: [old_date, old_time], ahead: PT1H}", "{of: [old_day, old_time], ahead: PT1H}", "in_time_for", "no date"),
        ("{of: [old_date, old_time], ahead: PT1H}", "{of: [old_date, old_time], ahead: PT9H}", "in_time_for", "ahead:"),
        (
            "    about: Reminder 2 hours before\n",
            "    about: Reminder 2 hours before\n    in_time_for: [{of: occurred_at, ahead: PT1H}]\n",
            "in_time_for",
            "only what is told at once",
        ),
        (
            "    about: How to prepare, 3 to 7 days before by service\n",
            "    about: How to prepare\n    in_time_for: [{of: occurred_at, ahead: PT1H}]\n",
            "in_time_for",
            "only what is essential",
        ),
        (
            "    asks: forms\n    visit: appointment_id",
            "    asks: forms\n    visit: visit_id",
            "visit",
            "no text of that",
        ),
        ("part: expiry_date}", "part: balance}", "part", "not a text or date field"),
        (
            "{settles: session, settles_earlier: true}",
            "{settles_earlier: true}",
            "settles_earlier",
            "write settles, no settles_through",
        ),
        ("attach: {forms: form_names}", "attach: {forms: forms_url}", "attach.forms", "no list of texts"),
        (
            "attach: {forms: form_names}",
            "attach: {receipt: {because: A receipt is for keeping and names no treatment}}",
            "attach.receipt",
            "has no amount",
        ),
        (
            "level_2: [amount, remaining_balance]\n        because: >-",
            "level_2: [amount, remaining_balance]\n        reason: >-",
            "attach.receipt.because",
            "Field required",
        ),
        (
            "    about: Something staff must know at once\n",
            "    about: Something staff must know at once\n    attach: {forms: x}\n",
            "attach",
            "only emails carry documents",
        ),
        ("accompanies: appointment_cancelled", "accompanies: appointment_gone", "accompanies", "no such notice"),
        ("accompanies: appointment_cancelled", "accompanies: appointment_restored", "accompanies", "must be critical"),
        ("accompanies: appointment_cancelled", "accompanies: waitlist_opening", "accompanies", "the same file"),
        ("    channels: [email]\n    fallback: []\n", "    channels: [email]\n", "accompanies", "fallback: []"),
        (
            "    in_app: {}\n    on:\n      - event: appointment.cancelled\n",
            "    in_app: {}\n    on:\n      - event: appointment.restored\n",
            "accompanies",
            "on which appointment_cancelled is not",
        ),
        ("    profile: campaign\n", "    profile: campaign\n    essential: true\n", "essential", "never essential"),
        (
            "    profile: campaign\n",
            "    profile: campaign\n    fallback: [{channel: in_app}]\n",
            "fallback",
            "never crosses",
        ),
        ("when: {kind: seasonal}", "when: {kind: winter}", "when", "is not one of"),
        ("when: {urgent: false}", "when: {urgent: 'no'}", "when", "true and false are for booleans"),
        (
            "    lane: critical\n    essential: true\n",
            "    lane: critical\n    essential: false\n",
            "essential",
            "are essential",
        ),
        (
            "  appointment.cancelled: {withdraws: all}",
            "  appointment.cancelled: {withdraws: all, reopens: true}",
            "reopens",
            "withdraws: older",
        ),
        (
            "  forms.completed: {settles: forms}",
            "  forms.completed: {settles: forms, settles_when: {gone: {given: true}}}",
            "events.forms.completed.settles_when",
            "no such field",
        ),
        (
            "  payment.due: {withdraws: older}",
            "  payment.due: {withdraws: older, settles_when: {days_overdue: {at_most: 0}}}",
            "events.payment.due.settles_when",
            "write settles",
        ),
        ("  appointment_restored:\n", "  appointment_confirmation:\n", "types.appointment_confirmation", "given twice"),
        ("profiles:\n", "profile:\n", "profile", "no such section"),
        ("profiles:\n", "profiles: [\n", "not YAML", "mend"),
    ],
)
def test_a_fault_is_named_with_file_line_field_and_mend(
    tmp_path: Path, old: str, new: str, field: str, mend: str
) -> None:
    told = _refused(tmp_path, old, new)
    assert told.startswith(f"{tmp_path / 'catalog.yaml'}:")
    assert int(told.split(":")[1]) > 0
    assert field in told
    assert mend in told


@pytest.mark.parametrize("content", [b"\xff\x00\x01", "profiles: é".encode("latin-1"), b"profiles: \x01"])
def test_a_file_that_is_no_text_says_how_to_save_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalog.yaml").write_bytes(content)
    with pytest.raises(CatalogError, match="save it as UTF-8"):
        Catalog.load(tmp_path / "catalog.yaml")


def test_the_line_is_the_one_to_mend(tmp_path: Path) -> None:
    path = _written(tmp_path, "about: An appointment was booked", "about: 12")
    line = path.read_text(encoding="utf-8").split("\n").index("    about: 12") + 1
    with pytest.raises(CatalogError, match=rf":{line}: types\.appointment_confirmation\.about: .*write a text"):
        Catalog.load(path)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = CATALOG_PATH.read_text(encoding="utf-8").replace("lane: low", "lane: slow")
    path = tmp_path / "catalog.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as refused:
        Catalog.load(path)
    assert len(str(refused.value).split("\n")) > 5


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="is the file there"):
        Catalog.load(tmp_path / "none.yaml")
