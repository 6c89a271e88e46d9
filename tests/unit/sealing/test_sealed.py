"""What is sealed opens only with its own key, for its own record, whole; and refusals never show content."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sealing import DataKey, SealError, header_of, open_sealed, seal
from connectors.sealing.sealed import OVERHEAD_BYTES

RECORD_ID = "6e8c5a52-9c1e-5a52-8f4b-0f6d3c1b2a11"
CONTENT = b"Dear Philippa, your Botox is at 10:00"

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)


def recipient_key() -> DataKey:
    return DataKey(os.urandom(32), "patient:1")


@given(names, names, st.binary(max_size=2000))
def test_what_was_sealed_opens_again(record_type: str, record_id: str, plaintext: bytes) -> None:
    key = recipient_key()
    sealed = seal(key, record_type, record_id, plaintext)
    assert open_sealed(key, record_type, record_id, sealed) == plaintext
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES


@given(st.data())
def test_any_changed_bit_or_cut_is_refused(data: st.DataObject) -> None:
    key = recipient_key()
    sealed = seal(key, "ChannelMessage", RECORD_ID, CONTENT)
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[position // 8] ^= 1 << position % 8
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for damaged in (bytes(flipped), cut, sealed + b"\0"):
        with pytest.raises(SealError):
            open_sealed(key, "ChannelMessage", RECORD_ID, damaged)


@given(names, names, names, names)
def test_a_sealed_field_belongs_to_one_record(type_a: str, id_a: str, type_b: str, id_b: str) -> None:
    key = recipient_key()
    sealed = seal(key, type_a, id_a, CONTENT)
    if (type_a, id_a) == (type_b, id_b):
        assert open_sealed(key, type_b, id_b, sealed) == CONTENT
    else:
        with pytest.raises(SealError, match=r"^unauthentic"):
            open_sealed(key, type_b, id_b, sealed)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda sealed: b"", "truncated"),
        (lambda sealed: sealed[: OVERHEAD_BYTES - 1], "truncated"),
        (lambda sealed: b"\x02" + sealed[1:], "unknown_version"),
        (lambda sealed: sealed[:1] + b"x" + sealed[2:], "unknown_scope"),
        (lambda sealed: sealed[:2] + bytes(8) + sealed[10:], "wrong_key"),
        (lambda sealed: sealed[:1] + b"c" + sealed[2:], "wrong_key"),
        (lambda sealed: sealed[:-1], "unauthentic"),
    ],
)
def test_a_refusal_says_why(damage: object, code: str) -> None:
    key = recipient_key()
    sealed = seal(key, "Recipient", "patient:1", CONTENT)
    assert callable(damage)
    with pytest.raises(SealError) as refusal:
        open_sealed(key, "Recipient", "patient:1", damage(sealed))
    assert refusal.value.code == code
    assert "Recipient" in str(refusal.value)


def test_a_refusal_shows_neither_id_nor_content_nor_key() -> None:
    key, other = recipient_key(), recipient_key()
    with pytest.raises(SealError) as refusal:
        open_sealed(other, "Recipient", "patient:philippa", seal(key, "Recipient", "patient:philippa", CONTENT))
    assert refusal.value.code == "wrong_key"
    assert "philippa" not in str(refusal.value)
    assert "Botox" not in str(refusal.value)
    assert "16 characters" in str(refusal.value)


def test_the_header_says_which_key_is_needed() -> None:
    own = recipient_key()
    strangers = DataKey(os.urandom(32), "clinic:c1")
    assert header_of(seal(own, "Event", "1", b"")) == ("r", own.key_id)
    assert header_of(seal(strangers, "Event", "1", b"")) == ("c", strangers.key_id)


def test_a_key_prints_without_itself_or_its_person() -> None:
    secret = os.urandom(32)
    printed = repr(DataKey(secret, "patient:philippa"))
    assert "philippa" not in printed
    assert secret.hex() not in printed


def test_equal_content_seals_to_different_bytes() -> None:
    key = recipient_key()
    assert seal(key, "Event", "1", CONTENT) != seal(key, "Event", "1", CONTENT)
