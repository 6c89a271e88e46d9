"""Short links: their codes, and targets that nobody but us can make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sealing import KeyRing, ensure_key_ring
from connectors.settings import Settings
from connectors.short_links.codes import ALPHABET, CODE_CHARACTERS, ShortLinks, TargetError, is_code

URL = "https://pay.luxe.example/i/1?a=b"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return ensure_key_ring(Settings(state_dir=tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def short(ring: KeyRing) -> ShortLinks:
    return ShortLinks(ring, "https://luxe.example/")


def test_a_link_is_short_and_always_the_same(short: ShortLinks, ring: KeyRing) -> None:
    code = short.code("d-1", URL)
    assert short.url("link", code) == f"https://luxe.example/l/{code}"
    assert short.url("picture", code) == f"https://luxe.example/o/{code}.gif"
    assert len(short.url("link", code)) == short.url_characters == len("https://luxe.example/l/") + 11
    assert code == ShortLinks(ring, "https://elsewhere.example").code("d-1", URL)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), unique=True, max_size=50))
def test_codes_are_codes_and_differ(short: ShortLinks, asked: list[tuple[str, str]]) -> None:
    asked = [(delivery, place) for delivery, place in asked if "\0" not in delivery + place]
    codes = [short.code(*one) for one in asked]
    assert all(is_code(code) for code in codes)
    assert len(set(codes)) == len(set(asked))


@given(st.text(max_size=20))
def test_what_is_no_code(text: str) -> None:
    assert is_code(text) == (len(text) == CODE_CHARACTERS and all(char in ALPHABET for char in text))


def test_another_installation_names_and_seals_otherwise(
    short: ShortLinks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = ShortLinks(ensure_key_ring(Settings(state_dir=tmp_path_factory.mktemp("other"))), "https://luxe.example")
    assert other.code("d-1", URL) != short.code("d-1", URL)
    with pytest.raises(TargetError):
        other.open("c", "d-1", short.seal("c", "d-1", URL))


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_target_opens_for_its_code_and_delivery_only(short: ShortLinks, url: str) -> None:
    sealed = short.seal("c", "d-1", url)
    assert short.open("c", "d-1", sealed) == url
    for code, delivery in (("x", "d-1"), ("c", "d-2"), ("c\0d", "-1")):
        with pytest.raises(TargetError):
            short.open(code, delivery, sealed)


@given(st.data())
def test_no_altered_target_opens(short: ShortLinks, data: st.DataObject) -> None:
    sealed = bytearray(short.seal("c", "d-1", URL))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(sealed)))
    for wrong in (bytes(sealed), bytes(sealed[:cut])):
        with pytest.raises(TargetError):
            short.open("c", "d-1", wrong)
