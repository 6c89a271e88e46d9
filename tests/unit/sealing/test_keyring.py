"""The ring: wraps for one subject and clinic, keeps its file private and whole, follows rotations, hashes addresses."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sealing import KeyCache, KeyRing, KeyRingError, SealError, ensure_key_ring, open_sealed, seal
from connectors.sealing.keyring import kek_id_of
from connectors.settings import Settings


@pytest.fixture(scope="module")
def unchanged_ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """For properties, which only read it."""
    return ensure_key_ring(Settings(kek_file=tmp_path_factory.mktemp("ring") / "keys.json"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return ensure_key_ring(settings)


def test_a_wrapped_key_comes_back_the_same(ring: KeyRing) -> None:
    wrapped, key = ring.new_data_key("patient:1", "c1")
    again = ring.unwrap(wrapped, "patient:1", "c1")
    assert again.key_id == key.key_id
    assert open_sealed(again, "Event", "1", seal(key, "Event", "1", b"x")) == b"x"
    assert (key.scope, ring.new_data_key("clinic:c1", "c1")[1].scope) == ("r", "c")


@pytest.mark.parametrize(("subject", "clinic_id"), [("patient:2", "c1"), ("patient:1", "c2")])
def test_a_wrapped_key_is_one_subjects_at_one_clinic(ring: KeyRing, subject: str, clinic_id: str) -> None:
    wrapped, _ = ring.new_data_key("patient:1", "c1")
    with pytest.raises(SealError, match=r"^unauthentic") as refusal:
        ring.unwrap(wrapped, subject, clinic_id)
    assert "patient" not in str(refusal.value)


def test_a_recipient_who_moves_keeps_her_key(ring: KeyRing) -> None:
    wrapped, key = ring.new_data_key("patient:1", "c1")
    moved = ring.rewrap(wrapped, "patient:1", "c1", to_clinic_id="c2")
    assert ring.unwrap(moved, "patient:1", "c2").key_id == key.key_id
    with pytest.raises(SealError):
        ring.unwrap(moved, "patient:1", "c1")


@given(st.binary(max_size=120))
def test_rubbish_is_no_wrapped_key(unchanged_ring: KeyRing, rubbish: bytes) -> None:
    with pytest.raises(SealError):
        unchanged_ring.unwrap(rubbish, "patient:1", "c1")


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_subject_and_clinic_can_have_a_key(unchanged_ring: KeyRing, subject: str, clinic_id: str) -> None:
    wrapped, key = unchanged_ring.new_data_key(subject, clinic_id)
    assert unchanged_ring.unwrap(wrapped, subject, clinic_id).key_id == key.key_id


# The file


def test_the_file_is_private_and_made_once(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as threads:
        rings = list(threads.map(lambda _: ensure_key_ring(settings), range(8)))
    assert stat.S_IMODE(settings.kek_path.stat().st_mode) == 0o600
    wrapped, key = rings[0].new_data_key("patient:1", "c1")
    assert {ring.unwrap(wrapped, "patient:1", "c1").key_id for ring in rings} == {key.key_id}
    assert [path.name for path in settings.kek_path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_open_to_others_is_refused(ring: KeyRing, settings: Settings, mode: int) -> None:
    settings.kek_path.chmod(mode)
    with pytest.raises(KeyRingError, match="chmod 600"):
        KeyRing.load(settings.kek_path)


def _short_key(found: dict[str, object]) -> None:
    found["keys"] = {"k1": "AAAA"}


def _no_active(found: dict[str, object]) -> None:
    found["active"] = "k9"


def _no_secret(found: dict[str, object]) -> None:
    del found["address_secret"]


def _misnamed(found: dict[str, object]) -> None:
    found["keys"] = {"k1": "AA" * 22, "../k": "AA"}


@pytest.mark.parametrize("damage", [_short_key, _no_active, _no_secret, _misnamed])
def test_a_damaged_file_is_refused_without_showing_keys(ring: KeyRing, settings: Settings, damage: object) -> None:
    found = json.loads(settings.kek_path.read_text())
    secret = found["keys"]["k1"]
    assert callable(damage)
    damage(found)
    settings.kek_path.write_text(json.dumps(found))
    with pytest.raises(KeyRingError, match="backup") as refusal:
        KeyRing.load(settings.kek_path)
    assert secret not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"keys": 3}', "\xff"])
def test_what_is_no_ring_is_refused(settings: Settings, text: str) -> None:
    settings.kek_path.write_text(text)
    settings.kek_path.chmod(0o600)
    with pytest.raises(KeyRingError, match="not a key ring"):
        KeyRing.load(settings.kek_path)


def test_a_missing_file_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(KeyRingError, match="backup"):
        KeyRing.load(settings.kek_path)


# Rotation


def test_rotation_wraps_anew_and_the_old_key_can_go(ring: KeyRing, settings: Settings) -> None:
    wrapped, key = ring.new_data_key("patient:1", "c1")
    elsewhere = KeyRing.load(settings.kek_path)
    assert ring.add_kek() == "k2"
    again = ring.rewrap(wrapped, "patient:1", "c1")
    assert (kek_id_of(wrapped), kek_id_of(again)) == ("k1", "k2")
    assert ring.unwrap(wrapped, "patient:1", "c1").key_id == key.key_id
    # Another process, started before the rotation, follows it both ways.
    assert elsewhere.unwrap(again, "patient:1", "c1").key_id == key.key_id
    assert kek_id_of(elsewhere.new_data_key("patient:2", "c1")[0]) == "k2"

    ring.retire_kek("k1")
    assert ring.kek_ids == ("k2",)
    with pytest.raises(SealError, match=r"^unknown_kek"):
        ring.unwrap(wrapped, "patient:1", "c1")
    assert stat.S_IMODE(settings.kek_path.stat().st_mode) == 0o600


def test_ids_of_retired_keys_are_not_used_again(ring: KeyRing) -> None:
    assert ring.add_kek() == "k2"
    ring.retire_kek("k1")
    assert ring.add_kek() == "k3"


def test_the_active_key_cannot_be_retired(ring: KeyRing) -> None:
    with pytest.raises(KeyRingError, match="active"):
        ring.retire_kek("k1")
    with pytest.raises(KeyRingError, match="not in the ring"):
        ring.retire_kek("k7")


def test_address_hashes_outlive_rotations_and_restarts(ring: KeyRing, settings: Settings) -> None:
    before = ring.address_hash("sms", "+15005550006")
    ring.add_kek()
    ring.retire_kek("k1")
    assert KeyRing.load(settings.kek_path).address_hash("sms", "+15005550006") == before


def test_a_ring_prints_no_key(ring: KeyRing, settings: Settings) -> None:
    for key in json.loads(settings.kek_path.read_text())["keys"].values():
        assert key not in repr(ring)


# Addresses


def test_one_address_written_differently_has_one_hash(unchanged_ring: KeyRing) -> None:
    hash_of = unchanged_ring.address_hash
    assert hash_of("sms", "+1 (500) 555-0006") == hash_of("sms", "+15005550006")
    assert hash_of("email", " Ann@Example.COM ") == hash_of("email", "ann@example.com")
    assert hash_of("sms", "+15005550006") != hash_of("sms", "+15005550007")
    assert hash_of("push", "token") != hash_of("email", "token")


def test_another_installations_hashes_differ(unchanged_ring: KeyRing, ring: KeyRing) -> None:
    assert unchanged_ring.address_hash("sms", "+15005550006") != ring.address_hash("sms", "+15005550006")


@pytest.mark.parametrize("number", ["5005550006", "", "+0123456789", "+1500", "tel:+15005550006", "+1500555000x"])
def test_a_number_without_its_country_is_refused_unshown(unchanged_ring: KeyRing, number: str) -> None:
    with pytest.raises(ValueError, match=r"E\.164") as refusal:
        unchanged_ring.address_hash("sms", number)
    assert not number or number not in str(refusal.value)


# The cache


def test_the_cache_keeps_what_is_used(ring: KeyRing) -> None:
    cache = KeyCache(ring, max_entries=2)
    wrapped = {name: ring.new_data_key(name, "c1")[0] for name in ("patient:1", "patient:2", "patient:3")}
    first = cache.get(wrapped["patient:1"], "patient:1", "c1")
    second = cache.get(wrapped["patient:2"], "patient:2", "c1")
    assert cache.get(wrapped["patient:1"], "patient:1", "c1") is first
    cache.get(wrapped["patient:3"], "patient:3", "c1")  # pushes out the second
    assert len(cache) == 2
    assert cache.get(wrapped["patient:1"], "patient:1", "c1") is first
    assert cache.get(wrapped["patient:2"], "patient:2", "c1") is not second


def test_the_cache_is_as_strict_as_the_ring(ring: KeyRing) -> None:
    cache = KeyCache(ring)
    wrapped, _ = ring.new_data_key("patient:1", "c1")
    cache.get(wrapped, "patient:1", "c1")
    with pytest.raises(SealError, match=r"^wrong_subject"):
        cache.get(wrapped, "patient:2", "c1")


def test_a_forgotten_key_is_unwrapped_anew(ring: KeyRing) -> None:
    cache = KeyCache(ring)
    wrapped, _ = ring.new_data_key("patient:1", "c1")
    first = cache.get(wrapped, "patient:1", "c1")
    cache.forget(wrapped)
    cache.forget(b"never seen")
    assert cache.get(wrapped, "patient:1", "c1") is not first
