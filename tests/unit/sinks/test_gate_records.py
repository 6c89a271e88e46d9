"""A gate that cannot be read here holds up whom it is about, and nobody else; it is read as soon as that can be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.registry import FileRegistry, RegistryUnavailableError, UnknownSchemaIdError
from schemas.topics import GATES
from sinks.runtime import gate_records
from sinks.runtime.gate_records import RECORD, GateRecords
from sinks.runtime.gates import Gates, LaterGateError
from sinks.runtime.later_schemas import LaterSchemas

NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)
HASH = "0" * 64


class Behind(FileRegistry):
    """Of the release before: it does not know these ids yet."""

    def __init__(self, *unknown: int) -> None:
        super().__init__()
        self.unknown, self.away, self.asked = set(unknown), False, 0

    def schema(self, schema_id: int) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise RegistryUnavailableError("it does not answer")
        if schema_id in self.unknown:
            raise UnknownSchemaIdError(f"schema id {schema_id} is not known", later=True)
        return super().schema(schema_id)


def shut(key: str) -> bytes:
    gate = {
        "gate_key": key,
        "kind": "recipient",
        "reason": "erased",
        "source": "test",
        "aggregate_version": None,
        "created_at": NOW,
        "expires_at": None,
    }
    return Codec(FileRegistry()).encode(GATES, RECORD, gate)


def message(recipient: str) -> dict[str, Any]:
    return {
        "expires_at": None,
        "send_not_after": None,
        "channel": "sms",
        "recipient": recipient,
        "sender_class": "care",
        "consent_scope": None,
        "preferences": [],
        "notification_id": "n",
        "delivery_id": "d",
        "clinic_id": "c",
        "aggregate_type": "appointment",
        "aggregate_id": "a",
        "aggregate_version": 1,
        "visit": "",
        "visit_version": -1,
    }


class World:
    """One sink's view of the gates, and what it knows of schemas."""

    def __init__(self) -> None:
        self.registry = Behind(int.from_bytes(shut("x")[1:5], "big"))
        self.gates, self.later = Gates(), LaterSchemas("sms")
        self.records = GateRecords(self.gates, Codec(self.registry), self.later)

    def hear(self, recipient: str, value: bytes | None) -> None:
        self.records.apply(f"recipient:{recipient}".encode(), value, "gates[0]@0")

    def verdict(self, recipient: str) -> str | None:
        found = self.gates.verdict(message(recipient), HASH, NOW)
        return None if found is None else found.reason

    @property
    def waiting(self) -> float:
        (sample,) = self.later.source.family().samples
        return float(sample.value)


@pytest.fixture
def world() -> World:
    return World()


def test_who_it_is_about_waits_and_nobody_else(world: World) -> None:
    world.hear("patient:1", shut("recipient:patient:1"))
    assert (world.verdict("patient:2"), world.waiting, world.gates.any_later) == (None, 1, True)
    with pytest.raises(LaterGateError):
        world.verdict("patient:1")


def test_it_is_read_once_its_schema_is_known(world: World) -> None:
    world.hear("patient:1", shut("recipient:patient:1"))
    world.records.try_again()
    assert world.gates.any_later
    world.registry.unknown.clear()
    world.records.try_again()
    assert (world.verdict("patient:1"), world.waiting, world.gates.any_later) == ("erased", 0, False)


@pytest.mark.parametrize("away", [True, False], ids=["registry away", "still unknown"])
def test_however_many_are_kept_the_registry_is_asked_once_for_their_schema(world: World, away: bool) -> None:
    for number in range(50):
        world.hear(f"patient:{number}", shut(f"recipient:patient:{number}"))
    world.registry.away, world.registry.asked = away, 0
    world.records.try_again()
    assert (world.registry.asked, world.waiting) == (1, 50)
    world.registry.away = False
    world.registry.unknown.clear()
    world.records.try_again()
    assert (world.verdict("patient:49"), world.waiting, world.gates.any_later) == ("erased", 0, False)


def test_those_past_the_bound_hold_who_they_are_about_until_they_are_written_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_records, "UNREAD_KEPT", 1)
    for number in range(2):
        world.hear(f"patient:{number}", shut(f"recipient:patient:{number}"))
    world.registry.unknown.clear()
    world.records.try_again()
    assert world.verdict("patient:0") == "erased"
    with pytest.raises(LaterGateError):
        world.verdict("patient:1")
    world.hear("patient:1", None)
    assert (world.verdict("patient:1"), world.gates.any_later) == (None, False)


@pytest.mark.parametrize("lifted", [True, False], ids=["lifted", "written anew"])
def test_a_newer_record_of_its_key_takes_its_place(world: World, lifted: bool) -> None:
    world.hear("patient:1", shut("recipient:patient:1"))
    world.registry.unknown.clear()
    world.hear("patient:1", None if lifted else shut("recipient:patient:1"))
    assert (world.verdict("patient:1"), world.waiting, world.gates.any_later) == (
        None if lifted else "erased",
        0,
        False,
    )
    world.records.try_again()  # what was kept of the older one does not come back
    assert world.verdict("patient:1") == (None if lifted else "erased")


@pytest.mark.parametrize("value", [b"", b"nonsense", b"\0\x00\x0f\xff\xff"], ids=["empty", "no frame", "nobody's id"])
def test_what_nobody_can_read_counts_as_closed(world: World, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world.hear("patient:1", value)
    assert (world.verdict("patient:1"), world.waiting) == ("unreadable", 0)
    assert "counts as closed" in caplog.text


@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_without_a_key_it_shuts_nothing(world: World, key: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    world.records.apply(key, shut("x"), "gates[0]@7")
    assert (len(world.gates), "gates[0]@7: a gate without a readable key" in caplog.text) == (0, True)
