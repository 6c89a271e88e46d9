"""When each scheduled occurrence is due, to the minute, on the clocks of the event's zone: counted by hand, from a calendar.

From the specification: reminders 48, 24, 2 hours before, preparation 3 to 7 days before (a week, unless a clinic says less),
care of the last day 24 hours before, check-ins after 24 hours, 3 days, a week, two weeks (its mapping: delay:24h, delay:3d),
reviews after 3 to 7 days (delay:7d). The hours of the day, business days and what else it leaves open: docs/catalogue.md, ADR 23.

2026: clocks in Chicago go forward on Sunday 8 March and back on Sunday 1 November; the clinic keeps Friday 3 July free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

CHICAGO, NEW_YORK = "America/Chicago", "America/New_York"
HOLIDAYS = (date(2026, 7, 3),)
AT_ONCE = "at once"


class Due(NamedTuple):
    """``when``: "2026-07-08 15:30", or AT_ONCE. ``spread``: minutes over which many are spread from then on."""

    when: str
    spread: int = 0


@dataclass(frozen=True)
class Row:
    """One event and what of one type it makes due. ``happened`` and the values of instants: local, as in ``Due``.

    ``due``: one for each occurrence; a text instead is why it is not sent (``slots.Why``). ``timings``: the clinic's own.
    """

    name: str
    event: str
    happened: str
    due: tuple[Due | str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)
    zone: str = CHICAGO
    timings: tuple[Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}-{self.event}-{self.happened.replace(' ', 'T')}"


def _visit(event: str, happened: str, day: date, clock: str, **due: Due | str) -> list[Row]:
    """Everything that hangs on when an appointment begins."""
    date_field, time_field = ("new_date", "new_time") if event == "appointment.rescheduled" else _STARTS
    given = {date_field: day, time_field: clock}
    return [Row(name, event, happened, (told,), given) for name, told in due.items()]


_STARTS = ("appointment_date", "appointment_time")


def _after(completed_at: str, days: int = 28, **due: Due | str) -> list[Row]:
    """Everything that hangs on when a treatment ended; heard of at that minute."""
    given = {"completed_at": completed_at, "follow_up_days": days}
    return [Row(name, "appointment.completed", completed_at, (told,), given) for name, told in due.items()]


VISITS = [
    # Monday after the clocks went back: a day before 09:00 is 09:00, two hours before are two hours.
    *_visit(
        *("appointment.created", "2026-10-01 12:00", date(2026, 11, 2), "09:00"),
        pre_visit_instructions=Due("2026-10-26 10:00", 60),
        appointment_reminder_48h=Due("2026-10-31 09:00"),
        appointment_reminder_24h=Due("2026-11-01 09:00"),
        pre_care_24h=Due("2026-11-01 09:00"),
        appointment_reminder_2h=Due("2026-11-02 07:00"),
        check_in_ready=Due("2026-11-02 08:30"),
    ),
    # The Sunday on which they go forward, at 03:30: two hours before is half past midnight.
    *_visit(
        *("appointment.created", "2026-02-01 12:00", date(2026, 3, 8), "03:30"),
        appointment_reminder_48h=Due("2026-03-06 03:30"),
        appointment_reminder_24h=Due("2026-03-07 03:30"),
        appointment_reminder_2h=Due("2026-03-08 00:30"),
    ),
    *_visit(
        *("appointment.rescheduled", "2026-06-01 12:00", date(2026, 7, 8), "15:30"),
        pre_visit_instructions=Due("2026-07-01 15:30", 60),
        appointment_reminder_48h=Due("2026-07-06 15:30"),
        appointment_reminder_24h=Due("2026-07-07 15:30"),
        pre_care_24h=Due("2026-07-07 15:30"),
        appointment_reminder_2h=Due("2026-07-08 13:30"),
        check_in_ready=Due("2026-07-08 15:00"),
    ),
    # In the evening: preparation comes by six, and who is brought back to six is spread over the hour before.
    *_visit(
        *("appointment.restored", "2026-06-01 12:00", date(2026, 7, 8), "19:30"),
        pre_visit_instructions=Due("2026-07-01 17:00", 60),
        appointment_reminder_48h=Due("2026-07-06 19:30"),
        appointment_reminder_24h=Due("2026-07-07 19:30"),
        pre_care_24h=Due("2026-07-07 19:30"),
        appointment_reminder_2h=Due("2026-07-08 17:30"),
        check_in_ready=Due("2026-07-08 19:00"),
    ),
    # Booked the same morning: what lies before it is not sent, care of the last day at once while there is time for it.
    *_visit(
        *("appointment.created", "2026-07-08 08:00", date(2026, 7, 8), "15:30"),
        pre_visit_instructions="expired",
        appointment_reminder_48h="too_late",
        appointment_reminder_24h="too_late",
        pre_care_24h=Due(AT_ONCE),
        appointment_reminder_2h=Due("2026-07-08 13:30"),
        check_in_ready=Due("2026-07-08 15:00"),
    ),
    # So soon after the booking, a reminder of it would be noise: within 12, 6 and 1 hours.
    *_visit(
        *("appointment.created", "2026-07-06 04:00", date(2026, 7, 8), "15:30"),
        pre_visit_instructions=Due(AT_ONCE),
        appointment_reminder_48h="too_near",
        appointment_reminder_24h=Due("2026-07-07 15:30"),
    ),
    *_visit(
        *("appointment.created", "2026-07-07 10:00", date(2026, 7, 8), "15:30"), appointment_reminder_24h="too_near"
    ),
    *_visit(
        *("appointment.created", "2026-07-08 13:00", date(2026, 7, 8), "15:30"), appointment_reminder_2h="too_near"
    ),
    *(
        Row(
            "no_show_followup",
            "appointment.no_show",
            happened,
            (due,),
            {"scheduled_date": date(2026, 7, 8), "scheduled_time": clock},
        )
        for clock, happened, due in (
            ("15:30", "2026-07-08 15:50", Due("2026-07-08 17:30")),
            ("06:00", "2026-07-08 06:20", Due("2026-07-08 09:00")),
            ("18:30", "2026-07-08 18:50", Due("2026-07-08 19:00")),
            ("15:30", "2026-07-08 21:00", Due(AT_ONCE)),
        )
    ),
]

TREATMENTS = [
    # At once, at whatever hour the treatment ended: quiet hours are asked when it is decided.
    Row(
        "aftercare_instructions",
        "treatment.completed",
        "2026-07-08 21:40",
        (Due(AT_ONCE),),
        {"completed_at": "2026-07-08 21:40"},
    ),
    # Over the end of summer time: 24 hours are 24 hours, days are days.
    *_after(
        *("2026-10-31 14:20", 90),
        treatment_followup_24hr=Due("2026-11-01 13:20", 30),
        treatment_followup_3day=Due("2026-11-03 14:20", 60),
        treatment_followup_1week=Due("2026-11-07 14:20", 60),
        treatment_followup_2week=Due("2026-11-14 14:20", 60),
        review_request=Due("2026-11-07 14:20", 60),
        follow_up_recommendation=Due("2027-01-22 14:20", 60),  # 90 days on it is 29 January
    ),
    *_after(
        *("2026-07-08 08:15",),
        treatment_followup_24hr=Due("2026-07-09 09:00", 30),
        treatment_followup_3day=Due("2026-07-11 10:00", 60),
        treatment_followup_1week=Due("2026-07-15 10:00", 60),
        treatment_followup_2week=Due("2026-07-22 10:00", 60),
        review_request=Due("2026-07-15 11:00", 60),
        follow_up_recommendation=Due("2026-07-29 10:00", 60),
    ),
    *_after(
        *("2026-07-08 20:30",),
        treatment_followup_24hr=Due("2026-07-09 18:30", 30),
        treatment_followup_3day=Due("2026-07-11 18:00", 60),
        treatment_followup_1week=Due("2026-07-15 18:00", 60),
        treatment_followup_2week=Due("2026-07-22 18:00", 60),
        review_request=Due("2026-07-15 18:00", 60),
        follow_up_recommendation=Due("2026-07-29 17:00", 60),
    ),
    *_after("2026-07-08 14:20", 5, follow_up_recommendation=Due(AT_ONCE)),  # a week before that is over
    # By treatment, as the clinic has it.
    *(
        Row(
            *(name, "appointment.completed", "2026-07-08 08:15", (due,)),
            {"completed_at": "2026-07-08 08:15", "treatment_type": "Botox", "service": "Injectable visit"},
            timings=({"notification_type": name, "services": ["Botox"], **moved},),
        )
        for name, moved, due in (
            ("treatment_followup_24hr", {"offset": "PT36H"}, Due("2026-07-09 18:30", 30)),
            ("treatment_followup_3day", {"offset": "P2D"}, Due("2026-07-10 10:00", 60)),
            ("treatment_followup_1week", {"skip": True}, "not_for_this_service"),
            (
                *("treatment_followup_2week", {"offset": "P3W", "not_before": "11:30", "not_after": "16:00"}),
                Due("2026-07-29 11:30", 60),
            ),
            ("review_request", {"offset": "P3D"}, Due("2026-07-11 11:00", 60)),
        )
    ),
    # A dose is an event, each at its own minute: whatever clocks do in the night between.
    *(
        Row(
            "medication_reminder",
            "medication.reminder_due",
            "2026-10-30 12:00",
            (Due(due),),
            {"due_at": due, "occurrence": number},
        )
        for number, due in enumerate(
            ("2026-10-31 08:00", "2026-11-01 08:00", "2026-11-02 08:00", "2026-11-02 20:00"), 1
        )
    ),
    Row(
        "medication_reminder",
        "medication.reminder_due",
        "2026-11-02 09:10",
        (Due(AT_ONCE),),
        {"due_at": "2026-11-02 08:00"},
    ),
]

UNTIL_DONE = [
    Row(name, event, happened, due, given)
    for name, event in (("forms_reminder", "forms.due"), ("consent_form_reminder", "consent.due"))
    for happened, given, due in (
        (
            "2026-06-20 12:34",
            {"appointment_date": date(2026, 7, 8), "appointment_time": "15:30", "due_date": date(2026, 7, 6)},
            (Due(AT_ONCE), Due("2026-07-05 10:00"), Due("2026-07-07 10:00")),
        ),
        (  # two days ahead: the first of the later ones has passed
            "2026-07-06 12:34",
            {"appointment_date": date(2026, 7, 8), "appointment_time": "15:30"},
            (Due(AT_ONCE), "too_late", Due("2026-07-07 10:00")),
        ),
        (
            "2026-06-20 12:34",
            {"appointment_date": None, "due_date": date(2026, 7, 3)},
            (Due(AT_ONCE), Due("2026-06-30 10:00"), Due("2026-07-02 10:00")),
        ),
        (
            "2026-10-30 12:34",
            {"appointment_date": None, "due_date": None},
            (Due(AT_ONCE), Due("2026-11-02 12:34"), Due("2026-11-06 12:34")),
        ),
        (
            "2026-06-20 07:05",
            {"appointment_date": None, "due_date": None},
            (Due(AT_ONCE), Due("2026-06-23 10:00"), Due("2026-06-27 10:00")),
        ),
    )
]

MONEY = [
    # Tuesday the 7th; Monday, Thursday (Friday is free), Wednesday: three business days before it.
    Row(
        *("payment_reminder", "payment.due", "2026-06-20 12:34"),
        (Due("2026-07-01 10:00", 60), Due("2026-07-07 10:00", 60)),
        {"due_date": date(2026, 7, 7), "days_overdue": 0},
    ),
    Row(
        *("payment_reminder", "payment.due", "2026-07-06 12:34"),
        (Due(AT_ONCE), Due("2026-07-07 10:00", 60)),
        {"due_date": date(2026, 7, 7), "days_overdue": None},
    ),
    Row("outstanding_balance", "payment.due", "2026-07-09 12:34", (Due(AT_ONCE),), {"days_overdue": 2}),
    # Its event has no zone: the clinic's clocks. Monday's next try is told of on Thursday.
    *(
        Row(
            *("payment_retry_reminder", "payment.failed", happened, (due,)),
            {"retryable": True, "next_retry_at": retried},
            NEW_YORK,
        )
        for happened, retried, due in (
            ("2026-07-01 09:00", "2026-07-06 14:00", Due("2026-07-02 14:00", 60)),
            ("2026-07-01 09:00", "2026-07-06 06:00", Due("2026-07-02 10:00", 60)),
            ("2026-07-01 09:00", "2026-07-06 23:00", Due("2026-07-02 17:00", 60)),
            ("2026-07-02 05:00", "2026-07-06 14:00", "too_near"),
        )
    ),
    Row("payment_failed", "payment.failed", "2026-07-01 09:00", (Due(AT_ONCE),), zone=NEW_YORK),
    Row("payment_plan_updated", "payment.plan_updated", "2026-07-01 09:00", (Due(AT_ONCE),)),
    Row("package_session_used", "package.session_used", "2026-07-01 12:34", (Due(AT_ONCE),)),
    *(
        Row(
            *("package_session_reminder", "package.session_used", happened, (due,)),
            {"sessions_remaining": 2, "expiry_date": until},
        )
        for happened, until, due in (
            ("2026-07-01 12:34", None, Due("2026-07-29 12:34", 60)),
            ("2026-10-08 08:10", date(2026, 12, 31), Due("2026-11-05 10:00", 60)),
            ("2026-07-01 18:45", None, Due("2026-07-29 17:00", 60)),
            ("2026-07-01 12:34", date(2026, 7, 20), "expired"),
        )
    ),
    Row("membership_credits_added", "membership.credits_added", "2026-07-01 06:00", (Due(AT_ONCE),)),
    Row(
        *("membership_credits_expiring", "membership.credits_expiring", "2026-06-20 12:34"),
        (Due("2026-07-01 10:00", 60), Due("2026-07-24 10:00", 60), Due("2026-07-30 10:00", 60)),
        {"expiry_date": date(2026, 7, 31)},
    ),
    Row(
        *("membership_credits_expiring", "membership.credits_expiring", "2026-10-20 12:34"),
        ("too_late", Due("2026-10-26 10:00", 60), Due("2026-11-01 10:00", 60)),
        {"expiry_date": date(2026, 11, 2)},
    ),
    # Wednesday the 8th: Tuesday, Monday, Thursday.
    Row(
        *("membership_renewal_reminder", "membership.renewal_due", "2026-06-01 12:34"),
        (Due("2026-06-24 10:00", 60), Due("2026-07-02 10:00", 60)),
        {"renewal_date": date(2026, 7, 8)},
    ),
    Row(
        *("membership_renewal_reminder", "membership.renewal_due", "2026-07-07 12:34"),
        ("too_late", Due(AT_ONCE)),
        {"renewal_date": date(2026, 7, 8)},
    ),
]

RECALLS = [
    Row(
        "birthday_offer",
        "birthday.due",
        "2026-07-08 00:05",
        (Due("2026-07-08 10:00", 60),),
        {"birthday": date(2026, 7, 8)},
    ),
    Row("birthday_offer", "birthday.due", "2026-07-08 12:34", (Due(AT_ONCE),), {"birthday": date(2026, 7, 8)}),
    Row("win_back", "patient.inactive", "2026-07-08 06:05", (Due("2026-07-08 10:00", 60),)),
    Row("win_back", "patient.inactive", "2026-07-08 12:34", (Due(AT_ONCE),)),
]

_CAMPAIGNS = {
    "birthday_offer": "birthday_offer",
    "vip_promotion": "vip",
    "seasonal_campaign": "seasonal",
    "win_back": "win_back",
    "referral_invitation": "referral",
    "new_treatment_announcement": "new_treatment",
    "event_invitation": "event_invitation",
    "educational_content": "educational",
    "newsletter": "newsletter",
    "promotional_offer": "other",
    "member_benefits": "member_benefits",
    "policy_change": "policy_change",
}
CAMPAIGNS = [
    Row(name, "campaign.launched", "2026-10-20 12:34", (due,), {"kind": kind, "patients": ["p1"], **given})
    for name, kind in _CAMPAIGNS.items()
    for given, due in (
        ({"send_at": "2026-11-02 16:45"}, Due("2026-11-02 16:45")),
        # By each recipient's clocks: what it reads in the event's zone is what they read in theirs (test_their_clocks).
        ({"send_date": date(2026, 11, 2), "send_time": "10:00"}, Due("2026-11-02 10:00")),
        ({}, Due(AT_ONCE)),
    )
]
REQUESTED = [
    Row(
        *(name, "notification.requested", "2026-10-20 12:34", (due,)),
        {"notification_type": None, "urgent": urgent, "send_at": send_at, "recipient": recipient},
        NEW_YORK,
    )
    for name, urgent, recipient in (
        ("requested_message", False, "patient:p1"),
        ("requested_message_urgent", True, "patient:p1"),
        ("requested_staff_message", False, "staff:s1"),
    )
    for send_at, due in (("2026-11-02 16:45", Due("2026-11-02 16:45")), (None, Due(AT_ONCE)))
]
TABLE: tuple[Row, ...] = (*VISITS, *TREATMENTS, *UNTIL_DONE, *MONEY, *RECALLS, *CAMPAIGNS, *REQUESTED)
