"""People of a made-up clinic who wish something else from some day on: lines of ``luxe recipients import``. By the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from random import Random

from connectors.demo.people import Patient
from connectors.demo.script import Wished

# Of a hundred people, so many change their mind on one day.
_PER_HUNDRED_A_DAY = 0.5
_ALWAYS = "1;2;3;4;5;6;7"

# What somebody may come to wish. Quiet hours lie where no clock changes, but Lisbon's ends at 1 in the night.
CHANGES: tuple[Mapping[str, str], ...] = (
    {"consent.sms_marketing": "opted_out"},
    {"consent.email_marketing": "opted_out"},
    {"consent.sms_transactional": "opted_out"},
    {"consent.email_transactional": "opted_out"},
    {"consent.push_notifications": "opted_out"},
    {"consent.sms_transactional": "opted_in", "consent.email_transactional": "opted_in"},
    {
        "consent.sms_marketing": "opted_in", "consent.email_marketing": "opted_in", "sms_opt_in.marketing": "true",
        "email_opt_in.marketing": "true", "sms_opt_in.reviews": "true", "email_opt_in.membership": "true",
    },
    {"email_opt_in.marketing": "false", "sms_opt_in.marketing": "false"},
    {"global_opt_out": "true"},
    {"global_opt_out": "false"},
    {"sms_enabled": "false"},
    {"sms_enabled": "true", "email_enabled": "true"},
    {"category_marketing": "false"},
    {"frequency_marketing": "monthly", "frequency_reviews": "occasionally"},
    {"frequency_marketing": "daily"},
    {"frequency_marketing": "never", "frequency_follow_ups": "important_only"},
    {"quiet_hours.start": "20:00", "quiet_hours.end": "09:00", "quiet_hours.enabled": "true"},
    {
        "quiet_hours.start": "21:30", "quiet_hours.end": "08:15", "quiet_hours.weekdays": "5;6",
        "quiet_hours.enabled": "true", "quiet_hours.exceptions": "appointment_reminders",
    },
    {
        "quiet_hours.start": "12:00", "quiet_hours.end": "14:00", "quiet_hours.weekdays": _ALWAYS,
        "quiet_hours.enabled": "true", "quiet_hours.apply_to_all_channels": "false",
    },
    {"quiet_hours.start": "22:00", "quiet_hours.end": "07:00", "quiet_hours.enabled": "false"},
    {"do_not_disturb": "true"},
    {"do_not_disturb": "false"},
    {"digest_categories": "treatments;financial", "digest_hour": "17"},
    {"channel_order": "email;sms"},
    {"time_zone": "Europe/Lisbon"},
    {"time_zone": "America/Los_Angeles"},
    {"time_zone": "Asia/Kathmandu"},
)  # fmt: skip


def changes_of(random: Random, first: date, days: int, patients: list[Patient]) -> Iterator[Wished]:
    """Changes of mind over these days, day by day."""
    for number in range(days):
        day = first + timedelta(days=number)
        for patient in patients:
            if random.random() * 100 < _PER_HUNDRED_A_DAY:
                clock = time(random.randrange(24), random.randrange(60), random.randrange(60), 500_000)
                at = datetime.combine(day, clock, UTC)
                cells = {"recipient_id": patient.patient_id, **random.choice(CHANGES)}
                if cells.get("do_not_disturb") == "true" and random.random() < 0.7:
                    cells["do_not_disturb_until"] = (at + timedelta(hours=random.randint(2, 200))).isoformat()
                yield Wished(round(at.timestamp() * 1000), cells)
