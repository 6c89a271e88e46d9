"""Everything the specification says shall be told to somebody has a type in the catalogue.

The lists are the specification's own bullets, word for word, by the heading they stand under.
"""

from __future__ import annotations

import pytest

from connectors.settings import Settings
from streams.catalog import Catalog

CATALOG = Catalog.load()

# "Notification Types & Use Cases", its eight categories.
CATEGORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "1. Transactional Notifications": {
        "Appointment confirmations (immediate)": ("appointment_confirmation",),
        "Appointment reminders (48hr, 24hr, 2hr before)": (
            "appointment_reminder_48h",
            "appointment_reminder_24h",
            "appointment_reminder_2h",
        ),
        "Appointment rescheduled/cancelled": ("appointment_rescheduled", "appointment_cancelled"),
        "Payment confirmations": ("payment_confirmation",),
        "Package purchase confirmations": ("package_purchase_confirmation",),
        "Waitlist opening notifications (30-minute response window)": ("waitlist_opening",),
        "Check-in ready notifications": ("check_in_ready",),
        "Treatment room ready": ("treatment_room_ready",),
    },
    "2. Clinical Communications": {
        "Pre-visit preparation instructions (3-7 days before)": ("pre_visit_instructions",),
        "Treatment-specific pre-care (24hr before)": ("pre_care_24h",),
        "Post-treatment aftercare instructions (immediate)": ("aftercare_instructions",),
        "Post-treatment check-ins (24hr, 3day, 1week, 2week)": (
            "treatment_followup_24hr",
            "treatment_followup_3day",
            "treatment_followup_1week",
            "treatment_followup_2week",
        ),
        "Medication reminders": ("medication_reminder",),
        "Follow-up appointment recommendations": ("follow_up_recommendation",),
        "Lab/test result notifications": ("lab_result_ready",),
        "Consent form reminders": ("consent_form_reminder",),
    },
    "3. Marketing & Promotional": {
        "Birthday offers and greetings": ("birthday_offer",),
        "VIP exclusive promotions": ("vip_promotion",),
        "Seasonal campaigns": ("seasonal_campaign",),
        "Win-back campaigns (inactive patients)": ("win_back",),
        "Referral program invitations": ("referral_invitation",),
        "New treatment announcements": ("new_treatment_announcement",),
        "Event invitations": ("event_invitation",),
        "Educational content": ("educational_content",),
    },
    "4. Membership & Loyalty": {
        "Membership welcome messages": ("membership_welcome",),
        "Monthly credit additions": ("membership_credits_added",),
        "Credit expiration warnings": ("membership_credits_expiring",),
        "Membership renewal reminders": ("membership_renewal_reminder",),
        "Tier upgrade notifications": ("membership_tier_upgraded",),
        "Exclusive member benefits": ("member_benefits",),
        "Reward point updates": ("reward_points_updated",),
    },
    "5. Financial & Billing": {
        "Payment reminders": ("payment_reminder",),
        "Payment confirmations": ("payment_confirmation",),
        "Receipt delivery": ("receipt_delivery",),
        "Payment plan updates": ("payment_plan_updated",),
        "Failed payment notifications": ("payment_failed",),
        "Refund confirmations": ("refund_confirmation",),
        "Outstanding balance notices": ("outstanding_balance",),
        "Package session tracking": ("package_session_used",),
    },
    "6. Administrative": {
        "Forms completion reminders": ("forms_reminder",),
        "Insurance update requests": ("insurance_update_request",),
        "Policy changes": ("policy_change",),
        "Clinic closure notices": ("clinic_closure", "emergency_clinic_closure"),
        "Provider schedule changes": ("provider_schedule_change",),
        "Emergency notifications": ("clinic_emergency",),
    },
    "7. Real-Time Alerts": {
        "Treatment room ready": ("staff_room_ready",),
        "Provider needs assistance": ("provider_assistance_needed",),
        "Patient check-in alerts": ("patient_check_in_alert",),
        "Inventory low stock warnings": ("low_stock_alert",),
        "System sync errors": ("sync_error_alert",),
        "Queue position updates": ("queue_position_update",),
        "Wait time notifications": ("wait_time_update",),
        "Staff assignment changes": ("staff_assignment_changed", "staff_assignment_removed"),
    },
    "8. Patient Engagement & Reviews": {
        "Treatment review requests": ("review_request",),
        "Survey invitations": ("survey_invitation",),
        "Testimonial requests": ("testimonial_request",),
        "Review thank-you messages": ("review_thank_you",),
        "Feedback collection": ("feedback_request",),
        "Net Promoter Score (NPS) surveys": ("nps_survey",),
    },
}
CATEGORY_NAMES = {
    "1. Transactional Notifications": "transactional",
    "2. Clinical Communications": "clinical",
    "3. Marketing & Promotional": "marketing",
    "4. Membership & Loyalty": "membership",
    "5. Financial & Billing": "financial",
    "6. Administrative": "administrative",
    "7. Real-Time Alerts": "real_time",
    "8. Patient Engagement & Reviews": "engagement",
}
# One name under two headings: the payment is a financial one.
ALSO_ELSEWHERE = {("1. Transactional Notifications", "payment_confirmation")}

# "Channel-Specific Implementation", the "Use Cases" of each channel.
CHANNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "email": {
        "Appointment confirmations with calendar attachment (.ics)": ("appointment_confirmation",),
        "Detailed aftercare instructions with images": ("aftercare_instructions",),
        "Monthly newsletters": ("newsletter",),
        "Package/membership statements": ("package_statement", "membership_statement"),
        "Receipts and invoices": ("receipt_delivery", "invoice_delivery"),
        "Forms and consent documents": ("forms_reminder", "consent_form_reminder"),
        "Educational content": ("educational_content",),
    },
    "push": {
        "Appointment reminders": (
            "appointment_reminder_48h",
            "appointment_reminder_24h",
            "appointment_reminder_2h",
        ),
        "Waitlist opening alerts": ("waitlist_opening",),
        "Check-in ready notifications": ("check_in_ready",),
        "Treatment room ready": ("treatment_room_ready",),
        "Message received": ("message_received",),
        "Package session reminders": ("package_session_reminder",),
        "Promotional offers (with opt-in)": ("promotional_offer", "seasonal_campaign", "vip_promotion"),
    },
    "in_app": {
        "Treatment ready for payment": ("payment_ready_alert",),
        "Documentation received": ("documentation_received",),
        "Provider needs assistance": ("provider_assistance_needed",),
        "Low stock alerts": ("low_stock_alert",),
        "Sync errors": ("sync_error_alert",),
        "Queue updates": ("queue_position_update",),
        "Staff messages": ("staff_message", "staff_message_urgent"),
        "System alerts": ("system_alert", "system_alert_critical", "system_alert_over"),
    },
}

# "Event-to-Notification Mapping": event, type, timing, channels, lane, template.
MAPPING: tuple[tuple[str, str, str, tuple[str, ...], str, str], ...] = (
    ("appointment.created", "appointment_confirmation", "immediate", ("sms", "email"), "high", "appointment_confirmation"),
    ("appointment.rescheduled", "appointment_rescheduled", "immediate", ("sms", "email"), "high", "appointment_rescheduled"),
    ("appointment.completed", "treatment_followup_24hr", "PT24H", ("sms",), "normal", "treatment_followup_24hr"),
    ("appointment.completed", "treatment_followup_3day", "P3D", ("sms",), "low", "treatment_followup_3day"),
    ("appointment.completed", "review_request", "P7D", ("sms", "email"), "low", "review_request"),
    # slot_available by way of the coordinator, which asks one after the other: docs/adr/0025-waitlist.md.
    ("waitlist.offer_made", "waitlist_opening", "immediate", ("sms", "push"), "critical", "appointment_waitlist"),
    ("payment.received", "payment_confirmation", "immediate", ("sms", "email"), "normal", "financial_payment_received"),
    ("inventory.low_stock", "low_stock_alert", "immediate", ("in_app", "email"), "normal", "admin_low_stock"),
)  # fmt: skip

# "Current State Analysis": what exists already must not be lost.
EXISTING: dict[str, tuple[str, ...]] = {
    "Automated appointment reminders (48hr, 24hr, 2hr)": (
        "appointment_reminder_48h",
        "appointment_reminder_24h",
        "appointment_reminder_2h",
    ),
    "Pre-visit preparation reminders": ("pre_visit_instructions",),
    "Post-treatment follow-ups (24hr, 3day, 1week, 2week)": ("treatment_followup_24hr", "treatment_followup_2week"),
    "Treatment-specific aftercare instructions": ("aftercare_instructions",),
    "No-show follow-ups": ("no_show_followup",),
}

# What the event types say that the specification only names, or that it shows in its events alone.
IMPLIED: dict[str, tuple[str, ...]] = {
    "waitlist.slot_claimed": ("waitlist_claimed", "staff_slot_claimed"),
    "waitlist.slot_declined": ("waitlist_declined",),
    "waitlist.offer_ended": ("waitlist_slot_filled",),
    "waitlist.slot_unfilled": ("staff_slot_open",),
    "appointment.restored": ("appointment_restored", "appointment_reminder_24h", "provider_appointment_moved"),
    "appointment.confirmed": ("appointment_confirmed",),
    "appointment.reschedule_requested": ("reschedule_request_received", "staff_reschedule_request"),
    "appointment.created": ("provider_appointment_booked",),
    "appointment.cancelled": ("provider_appointment_cancelled",),
    "payment.refunded": ("refund_confirmation",),
    "payment.statement_ready": ("account_statement",),
    "message.received": ("patient_message_alert", "patient_message_urgent"),
    "lab.result_ready": ("lab_result_ready", "staff_lab_result", "staff_lab_result_urgent"),
    "treatment.documented": ("treatment_notes_available", "treatment_documented_notice"),
    "clinic.emergency": ("clinic_emergency", "staff_clinic_emergency"),
    "clinic.closure": ("clinic_closure", "emergency_clinic_closure", "staff_clinic_closure"),
    "staff.schedule_changed": ("staff_schedule_changed", "provider_schedule_change"),
    "notification.requested": ("requested_message", "requested_message_urgent", "requested_staff_message"),
    "patient.inactive": ("win_back",),
    "birthday.due": ("birthday_offer",),
}


@pytest.mark.parametrize(
    ("heading", "use_case", "names"),
    [(heading, use, names) for heading, uses in CATEGORIES.items() for use, names in uses.items()],
)
def test_every_use_case_of_a_category_is_a_type_of_that_category(
    heading: str, use_case: str, names: tuple[str, ...]
) -> None:
    for name in names:
        assert name in CATALOG.types, f"{use_case}: no type {name}"
        if (heading, name) not in ALSO_ELSEWHERE:
            assert CATALOG.types[name].category == CATEGORY_NAMES[heading]


@pytest.mark.parametrize(
    ("channel", "use_case", "names"),
    [(channel, use, names) for channel, uses in CHANNELS.items() for use, names in uses.items()],
)
def test_every_use_case_of_a_channel_uses_that_channel(channel: str, use_case: str, names: tuple[str, ...]) -> None:
    for name in names:
        assert name in CATALOG.types, f"{use_case}: no type {name}"
        assert channel in CATALOG.types[name].all_channels


@pytest.mark.parametrize("row", MAPPING, ids=lambda row: f"{row[0]}>{row[1]}")
def test_every_row_of_the_mapping(row: tuple[str, str, str, tuple[str, ...], str, str]) -> None:
    event, name, timing, channels, lane, template = row
    entry = next(entry for entry in CATALOG.for_event(event) if entry.type.name == name)
    if timing == "immediate":
        assert entry.trigger.timing == "immediate"
    else:
        assert [str(one.after) for one in entry.trigger.timing if not isinstance(one, str)] == [timing]
    # Critical types walk through their channels one after the other; the others begin with the row's channels.
    plan = entry.type.all_channels if lane == "critical" else entry.type.channels
    assert plan[: len(channels)] == channels
    assert entry.type.lane == lane
    assert entry.type.template_id == template


def test_the_waitlist_gives_thirty_minutes() -> None:
    (entry,) = CATALOG.for_event("waitlist.offer_made")
    assert [expiry.of for expiry in entry.trigger.expiry] == [("offer_ends_at",)]
    assert Settings.model_fields["waitlist_window_seconds"].default == 30 * 60


def test_low_stock_goes_to_admins_and_inventory_managers() -> None:
    (entry,) = CATALOG.for_event("inventory.low_stock")
    assert entry.trigger.audience.roles == ("admin", "inventory_manager")


@pytest.mark.parametrize(("use_case", "names"), EXISTING.items())
def test_what_exists_today_is_kept(use_case: str, names: tuple[str, ...]) -> None:
    assert not [name for name in names if name not in CATALOG.types], use_case


@pytest.mark.parametrize(("event", "names"), IMPLIED.items())
def test_what_the_events_imply(event: str, names: tuple[str, ...]) -> None:
    told = {entry.type.name for entry in CATALOG.for_event(event)}
    assert not set(names) - told


@pytest.mark.parametrize(
    "name",
    [
        "appointment_confirmation",
        "appointment_rescheduled",
        "appointment_cancelled",
        "payment_confirmation",
        "emergency_clinic_closure",
    ],
)
def test_the_sample_list_of_essential_types(name: str) -> None:
    assert CATALOG.types[name].essential
