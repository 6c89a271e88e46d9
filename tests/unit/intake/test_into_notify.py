"""Both hops, one after the other: what intake asks for, notify can decide and say, for every event type there is."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar

from connectors.segments.definitions import load
from connectors.segments.occasions import Person, occasions
from connectors.segments.standing import NOTHING, folded
from schemas.events import EVENT_TYPES
from schemas.topics import DEAD_LETTERS, DECISIONS, REQUESTED, TEMPLATES
from streams.catalog import Catalog
from streams.render.sources import load_templates
from streams.runtime import Output
from tests.intake_world import NOW_MS, IntakeWorld
from tests.notify_world import World
from tests.unit.rules.events import NOW, event

TEXTS = load_templates(Catalog.load())
DAY_MS = 24 * 60 * 60 * 1000


class Hops:
    """Intake and notify over the same tables."""

    def __init__(self, folder: Path) -> None:
        self.notify = World(folder)
        for row in TEXTS:
            key = f"{row['template_id']}/{row['channel']}/{row['locale']}/{row['version']}".encode()
            self.notify.templates.changed(key, self.notify.codec.encode(TEMPLATES, "luxe.pipeline.Template", row))
        self.notify.add_policy("clinic-1")
        self.intake = IntakeWorld(folder, beside=self.notify)

    def tell(self, *events: dict[str, Any]) -> list[Output]:
        """Events through both hops; what both put out."""
        asked = self.intake.ask(*events)
        records = [
            self.notify.record(REQUESTED, (output.key or b"").decode(), output.value)
            for output in asked
            if output.topic == REQUESTED
        ]
        return [*asked, *self.notify.work(*records, now_ms=NOW_MS)]


@pytest.fixture
def hops(tmp_path: Path) -> Hops:
    return Hops(tmp_path)


def outcomes_of(hops: Hops, outputs: list[Output]) -> Counter[tuple[str, str]]:
    return Counter((one["notification_type"], one["outcome"]) for one in hops.notify.decisions(outputs))


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_everything_asked_for_is_decided(hops: Hops, event_type: str) -> None:
    outputs = hops.tell(event(event_type))
    later = hops.notify.work(now_ms=NOW_MS + 400 * DAY_MS)
    asked = sum(one["kind"] == "notify" for one in hops.intake.requests(outputs))
    first = [one for one in hops.notify.decisions(outputs) if one["sequence"] == 0]
    assert len(first) == asked
    assert [output.topic for output in (*outputs, *later) if output.topic == DEAD_LETTERS] == []


def test_a_booking_is_told_now_and_reminded_of_later(hops: Hops) -> None:
    outcomes = outcomes_of(hops, hops.tell(event("appointment.created", provider_id="s1")))
    assert outcomes["appointment_confirmation", "deliver"] == 1
    assert outcomes["provider_appointment_booked", "deliver"] == 1
    assert outcomes["appointment_reminder_24h", "defer"] == 1


def test_who_reads_spanish_is_reminded_in_spanish(hops: Hops) -> None:
    hops.notify.add_recipient("patient:p1", emails=[], locale="es-US")
    now = hops.tell(event("appointment.created", sms_opt_in=True))
    later = hops.notify.work(now_ms=round(datetime(2026, 6, 30, 18, 1, tzinfo=UTC).timestamp() * 1000))
    told = {one["notification_type"]: one for one in hops.notify.messages([*now, *later]) if one["channel"] == "sms"}
    reminder = told["appointment_reminder_24h"]
    assert reminder["locale"] == "es-US"
    assert hops.notify.content(reminder)["body"].startswith("Hola Sarah: tiene una cita el 1 jul 2026, 2:00 p.m.,")
    assert hops.notify.content(told["appointment_confirmation"])["body"].startswith("Hola Sarah: su cita en ")


def test_a_cancellation_ends_the_reminders_and_is_told(hops: Hops) -> None:
    outputs = hops.tell(event("appointment.created"), event("appointment.cancelled", version=2))
    outcomes = outcomes_of(hops, outputs)
    assert outcomes["appointment_cancelled", "deliver"] == 1
    assert outcomes["appointment_reminder_24h", "suppress"] == 1
    later = hops.notify.work(now_ms=NOW_MS + 40 * DAY_MS)
    assert [output.topic for output in later if output.topic == DECISIONS] == []


def test_a_moved_appointment_is_reminded_of_at_its_new_time_only(hops: Hops) -> None:
    hops.tell(event("appointment.created"), event("appointment.rescheduled", version=2))
    old_reminder = NOW + timedelta(days=29, hours=7)  # a day and an hour before the old time is past
    fired = hops.notify.work(now_ms=int(old_reminder.timestamp() * 1000))
    assert outcomes_of(hops, fired)["appointment_reminder_24h", "deliver"] == 0
    new_reminder = NOW + timedelta(days=36, hours=7, minutes=1)
    fired = hops.notify.work(now_ms=int(new_reminder.timestamp() * 1000))
    assert outcomes_of(hops, fired)["appointment_reminder_24h", "deliver"] == 1


def _reminded(hops: Hops, until_days: int = 40) -> Counter[str]:
    """Reminders that go out from now on, by type."""
    fired = hops.notify.work(now_ms=NOW_MS + until_days * DAY_MS)
    return Counter(
        one["notification_type"] for one in hops.notify.messages(fired) if "reminder" in one["notification_type"]
    )


CONFIRMED = event("appointment.confirmed", version=2, confirmed_version=1)


@pytest.mark.parametrize(
    "told",
    [
        [event("appointment.created"), CONFIRMED],
        [CONFIRMED, event("appointment.created")],
        [event("appointment.created"), CONFIRMED, CONFIRMED],
    ],
    ids=["after", "before", "twice"],
)
def test_who_confirmed_is_not_asked_to_confirm(hops: Hops, told: list[dict[str, Any]]) -> None:
    outputs = hops.tell(*told)
    reasons = {one["notification_type"]: one["reason"] for one in hops.notify.decisions(outputs)}
    assert reasons["appointment_reminder_48h"] == reasons["appointment_reminder_24h"] == "already_done"
    assert reasons["appointment_reminder_2h"] == "not_due"
    assert reasons["appointment_confirmed"] == "deliver"


@pytest.mark.parametrize("first", ["confirmed", "moved"])
def test_a_moved_appointment_is_asked_about_anew(hops: Hops, first: str) -> None:
    """Her yes was to the first time. It never overtakes the move, though its event came after it."""
    told = [event("appointment.confirmed", version=1), event("appointment.rescheduled", version=2)]
    outputs = hops.tell(event("appointment.created"), *(told if first == "confirmed" else reversed(told)))
    waits = Counter(
        one["notification_type"]
        for one in hops.notify.decisions(outputs)
        if one["aggregate_version"] == 2 and one["reason"] == "not_due"
    )
    assert waits["appointment_reminder_48h"] == waits["appointment_reminder_24h"] == 1
    thanked = outcomes_of(hops, outputs)["appointment_confirmed", "deliver"]
    assert thanked == (first == "confirmed")


@pytest.mark.parametrize(
    ("asks", "done", "nagging"),
    [
        ("forms.due", "forms.completed", "forms_reminder"),
        ("consent.due", "consent.signed", "consent_form_reminder"),
        ("payment.due", "payment.received", "payment_reminder"),
    ],
)
@pytest.mark.parametrize("order", ["after", "before"])
def test_who_has_done_it_is_reminded_no_more(hops: Hops, asks: str, done: str, nagging: str, order: str) -> None:
    told = [event(asks), event(done, version=2)]
    outputs = hops.tell(*(told if order == "after" else reversed(told)))
    last = {
        (one["notification_id"], one["notification_type"]): (one["outcome"], one["reason"])
        for one in hops.notify.decisions(outputs)
    }
    ends = [end for (_, name), end in last.items() if name == nagging]
    assert ("defer", "not_due") not in ends
    assert ("suppress", "already_done") in ends or (order == "before" and not ends)


AT_ITS_OLD_TIME: dict[str, Any] = {"old_date": None, "old_time": None}


_OWED: dict[str, Any] = {"payment_id": "a1", "due_date": (NOW - timedelta(days=7)).date(), "kind": "balance"}
_DUE = event("payment.due", **_OWED)
_PART = event("payment.received", version=2, payment_id="a1", remaining_balance=Decimal("20.00"))
_FAILED = event("payment.failed", version=3, payment_id="a1")


@pytest.mark.parametrize("told", [[_DUE, _PART], [_DUE, _PART, _FAILED]], ids=["paid in part", "failed since"])
def test_of_what_is_left_the_patient_is_reminded(hops: Hops, told: list[dict[str, Any]]) -> None:
    """As the scanner tells it: what it knows, by the same events that intake heard before."""
    hops.tell(*told)
    standing = NOTHING
    for one in told:
        standing = folded(standing, one, NOW.date())
    (segment,) = [one for one in load() if one.name == "balance_open_7"]
    (occasion,) = occasions(segment, Person(standing=standing), NOW.date(), "clinic-1", ZoneInfo("America/New_York"))
    reminder = event("payment.due", version=occasion.aggregate_version or 0, **occasion.fields)
    assert (reminder["amount"], reminder["days_overdue"]) == (Decimal("20.00"), 7)
    assert outcomes_of(hops, hops.tell(reminder))["outstanding_balance", "deliver"] == 1


BOOKED, OFF = event("appointment.created"), event("appointment.cancelled", version=2)
BY_EMAIL_TOO = BOOKED | {"sms_opt_in": True, "email_opt_in": True}
BACK = event("appointment.restored", version=3, **AT_ITS_OLD_TIME)
BROUGHT_BACK = {
    *("appointment_reminder_48h", "appointment_reminder_24h", "appointment_reminder_2h", "check_in_ready"),
    *("pre_visit_instructions", "pre_care_24h"),
}


@pytest.mark.parametrize("told", list(permutations((BOOKED, OFF, BACK))), ids=lambda told: "-".join(
    one["event_type"].partition(".")[2] for one in told
))  # fmt: skip
def test_restored_brings_back_the_rest_in_whatever_order_it_is_heard(
    hops: Hops, told: tuple[dict[str, Any], ...]
) -> None:
    """Each event twice. Of the dead version nothing waits; of the living one everything does, once."""
    outputs = hops.tell(*(one for heard in told for one in (heard, heard)))
    last = {one["notification_id"]: one for one in hops.notify.decisions(outputs)}
    waiting = [one for one in last.values() if one["outcome"] == "defer"]
    assert Counter(one["notification_type"] for one in waiting if one["recipient"].startswith("patient:")) == Counter(
        BROUGHT_BACK
    )
    assert {one["aggregate_version"] for one in waiting} == {3}
    # Who was told that it is off is told that it is not; who never was, has nothing to be told back.
    said = outcomes_of(hops, outputs)
    if told[0] is not BACK:
        assert said["appointment_restored", "deliver"] == said["appointment_cancelled", "deliver"]


def test_what_is_back_at_another_time_is_told_to_everybody(hops: Hops) -> None:
    """Also where the cancellation came too late to be told, and twice: that it stands is no news the second time."""
    moved = event("appointment.restored", version=3, old_date=date(2026, 12, 1), old_time="09:00")
    assert outcomes_of(hops, hops.tell(BOOKED, moved))["appointment_restored", "deliver"] == 1
    again = event("appointment.restored", version=4, **AT_ITS_OLD_TIME)
    assert outcomes_of(hops, hops.tell(OFF, again))["appointment_restored", "deliver"] == 0


def _entries(hops: Hops, outputs: list[Output]) -> list[tuple[str, str, int, str]]:
    """What mail programs are told of the appointment: type, method, SEQUENCE, UID, in order."""
    found = []
    for message in hops.notify.messages(outputs):
        for file in hops.notify.content(message)["attachments"]:
            whole = Calendar.from_ical(file["content"])
            entry = whole.walk("VEVENT")[0]
            found.append(
                (message["notification_type"], str(whole["method"]), int(str(entry["sequence"])), str(entry["uid"]))
            )
    return found


def test_the_entry_goes_with_the_cancellation_and_comes_back(hops: Hops) -> None:
    """The cancellation itself is a text: who had the entry by email would keep it."""
    hops.notify.add_recipient("patient:p1")
    (booked,) = _entries(hops, hops.tell(BY_EMAIL_TOO))
    off = hops.tell(OFF)
    assert [(one["notification_type"], one["channel"]) for one in hops.notify.messages(off)] == [
        ("appointment_cancelled", "sms"),
        ("appointment_entry_removed", "email"),
    ]
    (gone,) = _entries(hops, off)
    (back,) = _entries(hops, hops.tell(BACK))
    assert [(kind, method, sequence) for kind, method, sequence, _ in (booked, gone, back)] == [
        ("appointment_confirmation", "REQUEST", 1),
        ("appointment_entry_removed", "CANCEL", 2),
        ("appointment_restored", "REQUEST", 3),
    ]
    assert len({uid for *_, uid in (booked, gone, back)}) == 1


@pytest.mark.parametrize("known", [True, False], ids=["suppressed number", "no number"])
def test_who_is_told_by_email_anyway_has_one_email_with_the_file(hops: Hops, known: bool) -> None:
    if not known:
        hops.notify.add_recipient("patient:p1", phones=[])
    else:
        hops.notify.add_recipient("patient:p1")
        hops.notify.add_gate(f"address:sms:care:{hops.notify.ring.address_hash('sms', '+15551234567')}")
    outputs = hops.tell(BY_EMAIL_TOO, OFF)
    (_, gone) = _entries(hops, outputs)
    assert gone[:3] == ("appointment_cancelled", "CANCEL", 2)
    assert outcomes_of(hops, outputs)["appointment_entry_removed", "suppress"] == 1


def test_who_has_no_email_is_not_told_of_the_entry(hops: Hops) -> None:
    hops.notify.add_recipient("patient:p1", emails=[])
    outputs = hops.tell(BY_EMAIL_TOO, OFF)
    reasons = {one["notification_type"]: one["reason"] for one in hops.notify.decisions(outputs)}
    assert (reasons["appointment_cancelled"], reasons["appointment_entry_removed"]) == ("deliver", "unreachable")


def test_an_entry_that_cannot_be_mailed_calls_nobody(hops: Hops) -> None:
    """The text told her; an alarm would have the desk telephone over a line in a calendar."""
    hops.notify.add_recipient("patient:p1")
    *_, mail = hops.notify.messages(hops.tell(BY_EMAIL_TOO, OFF))
    bounced = hops.notify.status(mail, "bounced", error_class="permanent_recipient")
    outputs = hops.notify.work(bounced)
    assert mail["notification_type"] == "appointment_entry_removed"
    assert hops.notify.letters(outputs) == []
    assert hops.notify.messages(outputs) == []


@pytest.mark.parametrize(
    ("old_time", "outcome", "reason"), [("09:30", "deliver", "deliver"), ("15:00", "defer", "quiet_hours")]
)
def test_a_move_is_told_before_the_old_hour_though_it_is_quiet(
    hops: Hops, old_time: str, outcome: str, reason: str
) -> None:
    """NOW is eight in the morning in New York."""
    quiet = {"enabled": True, "start": "22:00", "end": "08:45", "time_zone": None}
    wishes: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}, "quiet_hours": quiet}
    hops.notify.add_recipient("patient:p1", preferences=wishes)
    moved = event("appointment.rescheduled", version=2, old_date=NOW.date(), old_time=old_time)
    outputs = hops.tell(BOOKED, moved)
    said = {one["notification_type"]: one for one in hops.notify.decisions(outputs)}["appointment_rescheduled"]
    assert (said["outcome"], said["reason"]) == (outcome, reason)
    sent = [one for one in hops.notify.messages(outputs) if one["notification_type"] == "appointment_rescheduled"]
    assert [one["channel"] for one in sent] == (["sms", "email"] if outcome == "deliver" else [])
    for one in sent:
        assert one["send_not_after"] == datetime(2026, 6, 1, 13, 30, tzinfo=UTC)


def test_what_is_back_is_asked_about_anew(hops: Hops) -> None:
    """She confirmed what was called off then; nobody knows whether the hour still suits her."""
    hops.tell(BOOKED, event("appointment.confirmed", version=1), OFF)
    reasons = {one["notification_type"]: one["reason"] for one in hops.notify.decisions(hops.tell(BACK))}
    assert reasons["appointment_reminder_48h"] == reasons["appointment_reminder_24h"] == "not_due"
    assert reasons["appointment_restored"] == "deliver"


@pytest.mark.parametrize("answer", ["appointment.confirmed", "appointment.reschedule_requested"])
@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (event("appointment.rescheduled", version=2), "appointment_rescheduled"),
        (OFF, "appointment_cancelled"),
        (BACK, "appointment_restored"),
    ],
    ids=["moved", "off", "back"],
)
def test_who_answers_what_the_clinic_just_changed_is_told_of_the_change(
    hops: Hops, change: dict[str, Any], notice: str, answer: str
) -> None:
    """Her C or R to the dead version comes to nothing; the change's own text is what she hears."""
    hops.notify.add_recipient("patient:p1")
    before = [BY_EMAIL_TOO, OFF] if change is BACK else [BY_EMAIL_TOO]
    outputs = hops.tell(*before, change, event(answer, version=1))
    texts = [one["notification_type"] for one in hops.notify.messages(outputs) if one["channel"] == "sms"]
    assert texts[-1] == notice
    (letter,) = hops.notify.letters(outputs)
    assert letter["error_code"] in ("superseded_event", "closed_aggregate")


def test_who_confirmed_by_text_is_thanked_once_though_the_practice_says_it_too(hops: Hops) -> None:
    ours = event("appointment.confirmed", version=1, confirmed_version=1, confirmed_by="patient")
    theirs = event("appointment.confirmed", version=2, confirmed_by="system")
    reasons = Counter(
        one["reason"]
        for one in hops.notify.decisions(hops.tell(BOOKED, ours, theirs))
        if one["notification_type"] == "appointment_confirmed"
    )
    assert reasons == Counter({"deliver": 1, "duplicate": 1})
