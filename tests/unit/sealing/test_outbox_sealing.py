"""Events in the outbox: nothing of them is to be read there, and the relay gets them back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.postgres.outbox_sealing import opened, sealed_row
from connectors.sealing import KeyRing, SealError
from connectors.sealing.keyring import ensure_key_ring
from connectors.settings import Settings

EVENT = b"\x00\x00\x00\x00\x07Zebediah at nine"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return ensure_key_ring(Settings(state_dir=tmp_path))


def test_what_is_sealed_is_opened_and_shows_nothing(ring: KeyRing) -> None:
    row = sealed_row(ring, "events.waitlist", b"s-1", EVENT)
    assert row.sealed
    assert row.value is not None
    assert b"Zebediah" not in row.value
    assert opened(ring, "events.waitlist", row.value) == EVENT
    assert sealed_row(ring, "events.waitlist", b"s-1", EVENT).value != row.value


def test_after_a_rotation_what_waits_is_still_opened(ring: KeyRing) -> None:
    row = sealed_row(ring, "events.birthday", b"p", EVENT)
    ring.add_kek()
    assert opened(ring, "events.birthday", row.value or b"") == EVENT


@pytest.mark.parametrize(
    "spoil", [lambda v: v[:-1], lambda v: v[:1], lambda v: b"", lambda v: v[:-1] + bytes([v[-1] ^ 1])]
)
def test_what_was_altered_or_is_for_another_topic_is_refused(ring: KeyRing, spoil: object) -> None:
    value = sealed_row(ring, "events.waitlist", b"s-1", EVENT).value or b""
    assert callable(spoil)
    with pytest.raises(SealError):
        opened(ring, "events.waitlist", spoil(value))
    with pytest.raises(SealError):
        opened(ring, "events.birthday", value)
