"""What every schema must declare, and what our encoding relies on, held for each field of each record."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from schemas import phi
from schemas.definitions import (
    Schema,
    canonical,
    definition,
    definitions,
    event_types,
    fingerprint,
    full_name,
    is_recursive,
    named_types,
    topics_of,
)
from schemas.events import ENVELOPE, EVENT_TYPES
from schemas.formats import FORMATS, MENDS
from schemas.topics import BY_NAME, EVENT_TOPICS, TOPICS

ATTRIBUTES = {
    "name",
    "type",
    "phi",
    "level",
    "doc",
    "default",
    "min",
    "max",
    "minLength",
    "maxLength",
    "pattern",
    "format",
}
ATTRIBUTES |= {"maxItems"}

# Architecture §3, "Event envelope".
EVENTS_OF_THE_ARCHITECTURE = [
    "appointment.created",
    "appointment.rescheduled",
    "appointment.cancelled",
    "appointment.completed",
    "appointment.no_show",
    "appointment.confirmed",
    "appointment.checked_in",
    "waitlist.slot_available",
    "waitlist.slot_claimed",
    "waitlist.slot_declined",
    "treatment.completed",
    "treatment.room_ready",
    "treatment.payment_ready",
    "treatment.documented",
    "payment.received",
    "payment.failed",
    "payment.refunded",
    "payment.due",
    "payment.plan_updated",
    "payment.statement_ready",
    "membership.enrolled",
    "membership.credits_added",
    "membership.credits_expiring",
    "membership.renewal_due",
    "membership.tier_upgraded",
    "loyalty.points_updated",
    "package.purchased",
    "package.session_used",
    "medication.reminder_due",
    "inventory.low_stock",
    "message.received",
    "message.sent",
    "forms.due",
    "forms.completed",
    "insurance.update_requested",
    "document.received",
    "lab.result_ready",
    "consent.due",
    "consent.signed",
    "review.due",
    "clinic.closure",
    "clinic.emergency",
    "clinic.policy_changed",
    "appointment.restored",
    "appointment.reschedule_requested",
    "staff.assistance_needed",
    "staff.assignment_changed",
    "staff.schedule_changed",
    "staff.message",
    "sync.error",
    "system.alert",
    "queue.position_updated",
    "notification.requested",
    "notification.cancelled",
    "campaign.launched",
    "birthday.due",
    "patient.inactive",
]
# The waitlist's coordinator: what it tells, and what it must be told (docs/adr/0025-waitlist.md).
EVENTS_OF_OURS = [
    "waitlist.offer_made",
    "waitlist.offer_ended",
    "waitlist.slot_unfilled",
    "waitlist.slot_withdrawn",
]

# The specification's "Domain Events": every field of every payload, renamed to snake_case.
FIELDS_OF_THE_SPECIFICATION = {
    "appointment.created": "appointment_id patient_id patient_name patient_phone patient_email service provider provider_id "
    "appointment_date appointment_time duration status sms_opt_in email_opt_in",
    "appointment.rescheduled": "appointment_id patient_id old_date old_time new_date new_time reason rescheduled_by",
    "appointment.cancelled": "appointment_id patient_id appointment_date appointment_time cancellation_reason cancelled_by "
    "refund_issued",
    "appointment.completed": "appointment_id patient_id service treatment_type provider_id completed_at duration "
    "charting_complete",
    "appointment.no_show": "appointment_id patient_id scheduled_date scheduled_time no_show_fee_charged",
    "waitlist.slot_available": "slot_id waitlist_patients service provider date time expires_at",
    "treatment.completed": "treatment_id appointment_id patient_id treatment_type provider_id products_used completed_at",
    "payment.received": "payment_id patient_id amount method appointment_id package_id receipt_url",
    "payment.failed": "payment_id patient_id amount failure_reason retryable",
    "membership.credits_added": "membership_id patient_id credits_added new_balance expiry_date",
    "inventory.low_stock": "product_id product_name current_quantity reorder_point unit",
    "message.received": "message_id conversation_id patient_id from body channel received_at urgent",
}


def all_fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every field of a record and of the records in it, with its path for messages."""
    for node in named_types(schema):
        for field in node.get("fields", ()):
            yield f"{full_name(node)}.{field['name']}", field


FIELDS = [entry for schema in definitions().values() for entry in all_fields(schema)]


def test_every_event_of_the_architecture_exists_and_no_other() -> None:
    assert sorted(EVENTS_OF_THE_ARCHITECTURE + EVENTS_OF_OURS) == sorted(EVENT_TYPES)


@pytest.mark.parametrize(("event_type", "names"), FIELDS_OF_THE_SPECIFICATION.items())
def test_every_field_of_the_specification_is_there(event_type: str, names: str) -> None:
    declared = {field["name"] for field in definition(EVENT_TYPES[event_type].record)["fields"]}
    assert set(names.split()) <= declared


def test_every_field_declares_its_phi() -> None:
    for path, field in FIELDS:
        assert field["phi"] in phi.CLASSES, path
        assert field.get("level", 1) in phi.LEVELS, path
        assert not (field["phi"] in ("direct", "contact") and field.get("level", 3) == 1), path


def test_every_attribute_of_a_field_is_one_we_read() -> None:
    for path, field in FIELDS:
        assert field.keys() <= ATTRIBUTES, path
        assert field.get("format", "uuid") in FORMATS, path
        re.compile(field.get("pattern", ""))
    assert FORMATS.keys() == MENDS.keys()


def test_events_begin_with_the_envelope() -> None:
    for event_type, contract in EVENT_TYPES.items():
        schema = definition(contract.record)
        assert tuple(field["name"] for field in schema["fields"][: len(ENVELOPE)]) == ENVELOPE
        type_field = schema["fields"][1]
        assert re.search(type_field["pattern"], event_type)
        assert contract.topic in BY_NAME


def test_the_envelope_is_read_the_same_in_every_event() -> None:
    envelopes = {
        canonical(
            {"type": "record", "name": "Envelope", "fields": definition(contract.record)["fields"][: len(ENVELOPE)]}
        )
        for contract in EVENT_TYPES.values()
    }
    assert len(envelopes) == 1


def test_a_file_is_named_for_its_event_and_its_record() -> None:
    for event_type, name in event_types().items():
        assert name == "luxe.events." + "".join(part.capitalize() for part in re.split(r"[._]", event_type))


def test_every_event_topic_and_pipeline_record_is_in_use() -> None:
    assert {contract.topic for contract in EVENT_TYPES.values()} == set(EVENT_TOPICS)
    for topic in TOPICS:
        for record in topic.records:
            assert record.startswith("luxe.events.*") or record in definitions(), topic.name


def test_unions_are_null_or_one_type_and_default_to_null() -> None:
    def unions(node: Any) -> Iterator[list[Any]]:
        if isinstance(node, list):
            yield node
        elif isinstance(node, dict):
            for inner in ("items", "values"):
                yield from unions(node.get(inner))

    for path, field in FIELDS:
        for union in unions(field["type"]):
            assert len(union) == 2, path
            assert union[0] == "null", path


def test_no_record_contains_itself() -> None:
    assert not any(is_recursive(schema) for schema in definitions().values())


def test_a_type_that_several_records_share_is_the_same_in_all() -> None:
    texts = defaultdict(set)
    for schema in definitions().values():
        for node in named_types(schema):
            if node is not schema:
                texts[full_name(node)].add(canonical(node))
    assert {name: len(spelled) for name, spelled in texts.items() if len(spelled) != 1} == {}


def test_every_event_about_a_patient_says_who() -> None:
    without_patients = {"inventory.low_stock", "staff.message", "staff.assistance_needed", "staff.assignment_changed"}
    without_patients |= {"sync.error", "system.alert", "waitlist.slot_unfilled", "waitlist.slot_withdrawn"}
    people = {"patient_id", "patients", "waitlist_patients", "affected_patients", "recipient"}
    for event_type, contract in EVENT_TYPES.items():
        names = {field["name"] for field in definition(contract.record)["fields"]}
        assert names & people or event_type in without_patients, event_type


def test_levels_of_the_specification() -> None:
    created = EVENT_TYPES["appointment.created"].record
    assert phi.level_of(created, "appointment_date") == phi.PUBLIC
    assert phi.level_of(created, "provider") == phi.AUTHENTICATED
    assert phi.level_of(created, "service") == phi.PORTAL
    assert phi.level_of(created, "appointment_id") == phi.PUBLIC
    assert phi.class_of(EVENT_TYPES["treatment.completed"].record, "products_used") == "direct"
    assert phi.level_of(EVENT_TYPES["payment.received"].record, "amount") == phi.PORTAL
    assert {"patient_id", "patient_name", "service", "metadata"}.isdisjoint(phi.clear_fields(created))
    with pytest.raises(LookupError):
        phi.level_of(created, "diagnosis")


def test_fingerprints_see_what_changes_reading_and_nothing_else() -> None:
    schema = definition("luxe.pipeline.Gate")
    first, *others = schema["fields"]
    documented = {
        **schema,
        "doc": "other words",
        "fields": [{**first, "doc": "", "phi": "direct", "maxLength": 9}, *others],
    }
    assert fingerprint(documented) == fingerprint(schema)
    assert fingerprint({**schema, "fields": [{**first, "default": ""}, *others]}) != fingerprint(schema)
    assert fingerprint({**schema, "fields": [{**first, "type": "bytes"}, *others]}) != fingerprint(schema)
    assert fingerprint({**schema, "fields": others}) != fingerprint(schema)
    seconds = {"type": "long", "logicalType": "timestamp-micros"}
    changed = [{**field, "type": seconds} if field["name"] == "created_at" else field for field in schema["fields"]]
    assert fingerprint({**schema, "fields": changed}) != fingerprint(schema)


def test_records_without_a_topic() -> None:
    lonely = {name.rsplit(".", 1)[-1] for name in definitions() if not topics_of(name)}
    assert lonely == {
        "MessageContent",
        "RecipientContent",
        "DeadLetterContent",
        "Timer",
        "NotificationState",
        "AskedAppointment",
    }
