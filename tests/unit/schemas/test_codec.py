"""The wire format: what is refused on the way in and out, under which code, and without telling a value."""

from __future__ import annotations

import datetime as dt
import struct
import traceback
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from schemas.codec import EVENT_MAX_BYTES, Codec, CodecError, Decoded
from schemas.definitions import Schema, definition
from schemas.registry import FileRegistry, RegistryError, RegistryUnavailableError, UnknownSchemaIdError

TOPIC, NAME = "events.appointment", "luxe.events.AppointmentCreated"
SECRET = "Rumpelstiltskin"

EVENT: dict[str, Any] = {
    "event_id": "0b0e7a9e-6b52-4f0e-9a51-0c5f3f0b7a01",
    "event_type": "appointment.created",
    "occurred_at": dt.datetime(2026, 5, 1, 12, 30, 15, 123000, tzinfo=dt.UTC),
    "schema_version": "1.0",
    "source": "practice-management",
    "correlation_id": None,
    "clinic_id": "clinic-1",
    "aggregate_id": "appointment-1",
    "aggregate_version": 7,
    "metadata": {"import": "nightly"},
    "appointment_id": "appointment-1",
    "patient_id": "patient-1",
    "patient_name": SECRET,
    "patient_phone": "+15551234567",
    "patient_email": None,
    "service": "Botox Treatment",
    "provider": "Dr. Smith",
    "provider_id": "staff-1",
    "appointment_date": dt.date(2026, 5, 4),
    "appointment_time": "14:00",
    "duration": 30,
    "status": "scheduled",
    "sms_opt_in": True,
    "email_opt_in": False,
    "time_zone": "America/New_York",
    "confirm_url": None,
}


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(FileRegistry())


@pytest.fixture(scope="module")
def wire(codec: Codec) -> bytes:
    return codec.encode(TOPIC, NAME, EVENT)


def refused(act: Callable[[], object]) -> CodecError:
    with pytest.raises(CodecError) as caught:
        act()
    told = "".join(traceback.format_exception(caught.value, chain=True))
    assert SECRET not in told
    return caught.value


def test_what_was_written_is_read(codec: Codec, wire: bytes) -> None:
    decoded = codec.decode(wire)
    assert (decoded.name, decoded.value) == (NAME, EVENT)
    assert wire[:1] == b"\0"
    assert struct.unpack(">I", wire[1:5])[0] == decoded.schema_id == FileRegistry().id_of(TOPIC, NAME)


def test_a_decoded_record_prints_without_its_value(codec: Codec, wire: bytes) -> None:
    assert SECRET not in repr(codec.decode(wire))
    assert SECRET not in str(codec.decode(wire))


def test_fields_with_a_default_may_be_left_out(codec: Codec) -> None:
    left_out = {"schema_version", "correlation_id", "metadata", "status", "time_zone", "confirm_url", "patient_email"}
    short = {field: value for field, value in EVENT.items() if field not in left_out}
    value = codec.decode(codec.encode(TOPIC, NAME, short)).value
    assert (value["status"], value["metadata"], value["time_zone"]) == ("scheduled", {}, None)


@pytest.mark.parametrize(
    ("code", "mangled"),
    [
        ("tombstone", lambda wire: None),
        ("truncated_record", lambda wire: b""),
        ("unknown_magic_byte", lambda wire: b"\x01" + wire[1:]),
        ("unknown_magic_byte", lambda wire: b'{"event_type":'),
        ("unknown_magic_byte", lambda wire: b"\x7f"),
        ("unknown_schema_id", lambda wire: b"\0\xff\xff\xff\xff" + wire[5:]),
        ("unknown_schema_id", lambda wire: b"\0\0\0\0\0" + wire[5:]),
        ("trailing_bytes", lambda wire: wire + b"\0"),
        ("trailing_bytes", lambda wire: wire + wire),
        ("oversized_record", lambda wire: wire + bytes(EVENT_MAX_BYTES)),
        ("oversized_record", lambda wire: wire + bytes(10 * EVENT_MAX_BYTES)),
        ("invalid_utf8", lambda wire: wire.replace(b"Botox", b"Bo\xffox")),
        ("invalid_utf8", lambda wire: wire.replace(b"import", b"imp\xedrt")),
        ("truncated_record", lambda wire: wire[:5] + b"\xfe\xff\xff\xff\xff\x7f" + wire[6:]),
        ("truncated_record", lambda wire: wire[:5] + b"\x01" + wire[6:]),
    ],
)
def test_bytes_that_cannot_be_read(codec: Codec, wire: bytes, code: str, mangled: Callable[[bytes], bytes]) -> None:
    error = refused(lambda: codec.decode(mangled(wire)))
    assert error.code == code


def test_a_record_cut_off_anywhere_is_truncated(codec: Codec, wire: bytes) -> None:
    for end in range(len(wire)):
        error = refused(partial(codec.decode, wire[:end]))
        assert error.code == "truncated_record", end
        assert (error.field is None) == (end < 5), end


def test_the_field_at_fault_is_named(codec: Codec, wire: bytes) -> None:
    error = refused(lambda: codec.decode(wire.replace(b"Botox", b"Bo\xffox")))
    assert (error.field, error.name) == ("service", NAME)
    assert "service" in str(error)


@pytest.mark.parametrize("index", [b"\x01", b"\x03", b"\x04", b"\x7f"])
def test_an_index_outside_a_union_is_refused(codec: Codec, index: bytes) -> None:
    # fastavro alone takes -1 for the last branch.
    wire = codec.encode_bare("luxe.pipeline.DeadLetterContent", {"key": b"k", "value": None, "headers": []})
    assert wire[:1] == b"\x02"
    error = refused(lambda: codec.decode_bare("luxe.pipeline.DeadLetterContent", index + wire[1:]))
    assert (error.code, error.field) == ("schema_violation", "key")


def test_an_index_outside_an_enum_is_refused(codec: Codec) -> None:
    name = "luxe.pipeline.Gate"
    gate = {
        "gate_key": "consent:patient:1:marketing",
        "kind": "consent",
        "reason": "opted_out",
        "source": "api",
        "aggregate_version": None,
        "created_at": EVENT["occurred_at"],
        "expires_at": None,
    }
    body = codec.encode_bare(name, gate)
    at = body.index(b"marketing") + len(b"marketing")
    assert codec.decode_bare(name, body) == gate
    for index in (b"\x01", b"\x0a"):
        error = refused(partial(codec.decode_bare, name, body[:at] + index + body[at + 1 :]))
        assert (error.code, error.field) == ("schema_violation", "kind")


def test_a_huge_array_length_allocates_nothing(codec: Codec) -> None:
    body = codec.encode_bare("luxe.pipeline.DeadLetterContent", {"key": None, "value": None, "headers": []})
    claims_2_to_40_items = body[:-1] + b"\x80\x80\x80\x80\x80\x80\x01"
    error = refused(lambda: codec.decode_bare("luxe.pipeline.DeadLetterContent", claims_2_to_40_items))
    assert error.code == "truncated_record"


def test_a_time_that_no_calendar_has_is_refused(codec: Codec) -> None:
    wire = codec.encode(TOPIC, NAME, EVENT)
    start = wire.index(b"appointment.created") + len(b"appointment.created")
    end = wire.index(b"\x061.0")
    year_300_million = b"\xfe" + b"\xff" * 8 + b"\x01"
    error = refused(lambda: codec.decode(wire[:start] + year_300_million + wire[end:]))
    assert (error.code, error.field) == ("schema_violation", "occurred_at")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration", 1.5),
        ("duration", "30"),
        ("duration", True),
        ("duration", 2**31),
        ("aggregate_version", 2**63),
        ("occurred_at", dt.datetime(2026, 5, 1, 12)),  # noqa: DTZ001
        ("occurred_at", 1_777_000_000_000),
        ("appointment_date", dt.datetime(2026, 5, 1, tzinfo=dt.UTC)),
        ("appointment_date", "2026-05-01"),
        ("sms_opt_in", "yes"),
        ("sms_opt_in", 1),
        ("patient_email", 5),
        ("service", None),
        ("service", b"Botox"),
        ("service", "\ud800"),
        ("metadata", {"a": 1}),
        ("metadata", {1: "a"}),
        ("metadata", None),
    ],
)
def test_values_that_do_not_fit_are_not_written(codec: Codec, field: str, value: object) -> None:
    error = refused(lambda: codec.encode(TOPIC, NAME, {**EVENT, field: value}))
    assert error.code == "schema_violation"
    assert error.field is not None
    assert error.field.startswith(field)


def test_a_missing_field_and_a_foreign_one_are_not_written(codec: Codec) -> None:
    missing = {field: value for field, value in EVENT.items() if field != "service"}
    assert refused(lambda: codec.encode(TOPIC, NAME, missing)).field == "service"
    for left_out in ("", "status"):
        value = {field: value for field, value in EVENT.items() if field != left_out} | {SECRET: 1}
        assert refused(partial(codec.encode, TOPIC, NAME, value)).code == "schema_violation"


@pytest.mark.parametrize("amount", [Decimal("1.234"), Decimal("99999999999.00"), Decimal("NaN"), 5, 5.0])
def test_amounts_that_do_not_fit_are_not_written(codec: Codec, amount: object) -> None:
    value = {name: EVENT[name] for name in list(EVENT)[:10]} | {
        "event_type": "payment.received",
        "payment_id": "p",
        "patient_id": "p",
        "amount": amount,
        "method": "card",
        "receipt_url": "https://clinic.example/r",
    }
    error = refused(lambda: codec.encode("events.payment", "luxe.events.PaymentReceived", value))
    assert (error.code, error.field) == ("schema_violation", "amount")


def test_an_event_too_large_is_not_written(codec: Codec) -> None:
    error = refused(lambda: codec.encode(TOPIC, NAME, {**EVENT, "service": "x" * EVENT_MAX_BYTES}))
    assert error.code == "oversized_record"


def test_a_dead_letter_may_be_larger_than_an_event(codec: Codec) -> None:
    body: dict[str, Any] = {"key": None, "value": bytes(10 * EVENT_MAX_BYTES), "headers": []}
    name = "luxe.pipeline.DeadLetterContent"
    assert codec.decode_bare(name, codec.encode_bare(name, body)) == body


def test_a_topic_carries_only_its_records(codec: Codec) -> None:
    with pytest.raises(RegistryError):
        codec.encode("events.payment", NAME, EVENT)


class OneSchema:
    """A registry that holds one schema under every id."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def id_of(self, topic: str, name: str) -> int:
        return 1

    def schema(self, schema_id: int) -> Schema:
        return self._schema


def test_a_producer_s_older_or_newer_version_is_read_as_ours(wire: bytes) -> None:
    ours = definition(NAME)
    older = {**ours, "fields": [field for field in ours["fields"] if field["name"] not in ("confirm_url", "status")]}
    newer = {**ours, "fields": [*ours["fields"], {"name": "added", "type": ["null", "string"], "default": None}]}
    ending = wire[: wire.rindex(b"scheduled") - 1] + wire[wire.rindex(b"scheduled") + 9 : -1]
    assert Codec(OneSchema(older)).decode(ending).value == EVENT
    assert Codec(OneSchema(newer)).decode(wire + b"\x02\x04hi").value == EVENT


def test_indexes_are_refused_in_other_versions_too(wire: bytes) -> None:
    ours = definition(NAME)
    newer = {**ours, "fields": [*ours["fields"], {"name": "added", "type": ["null", "string"], "default": None}]}
    error = refused(lambda: Codec(OneSchema(newer)).decode(wire + b"\x01\x04hi"))
    assert error.code == "schema_violation"


def test_a_recursive_schema_of_a_stranger_is_refused(wire: bytes) -> None:
    node = {"type": "record", "name": "a.Node", "fields": [{"name": "next", "type": ["null", "a.Node"]}]}
    assert refused(lambda: Codec(OneSchema(node)).decode(wire)).code == "schema_violation"


def test_a_stranger_s_record_is_read_by_its_own_schema() -> None:
    schema = {"type": "record", "name": "a.Note", "fields": [{"name": "text", "type": "string"}]}
    decoded: Decoded = Codec(OneSchema(schema)).decode(b"\0\0\0\0\1\x04hi")
    assert (decoded.name, decoded.value) == ("a.Note", {"text": "hi"})


class Unreachable(OneSchema):
    def schema(self, schema_id: int) -> Schema:
        raise RegistryUnavailableError("no answer")


def test_a_registry_that_does_not_answer_is_no_fault_of_the_record(wire: bytes) -> None:
    with pytest.raises(RegistryUnavailableError):
        Codec(Unreachable({})).decode(wire)


class Counting(OneSchema):
    asked = 0

    def schema(self, schema_id: int) -> Schema:
        self.asked += 1
        if schema_id != 1:
            raise UnknownSchemaIdError("unknown")
        return definition(NAME)


def test_a_schema_is_asked_for_once(wire: bytes) -> None:
    registry = Counting({})
    codec = Codec(registry)
    for _ in range(3):
        codec.decode(b"\0\0\0\0\1" + wire[5:])
    assert registry.asked == 1
