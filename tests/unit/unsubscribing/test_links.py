"""Tokens: opaque, sealed for one purpose, over after their time."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sealing import KeyRing, ensure_key_ring
from connectors.settings import Settings
from connectors.unsubscribing.links import Link, LinkError, Links

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NOTIFICATION = "6f1d3c0a-7a52-5c1e-9f0e-3b8d2a4c6e10"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return ensure_key_ring(Settings(state_dir=tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def links(ring: KeyRing) -> Links:
    return Links(ring, "https://luxe.example/", 180)


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


def unsubscribe(links: Links, recipient: str = "patient:philippa-1") -> str:
    return links.unsubscribe_url(recipient, "email", "marketing", NOTIFICATION, "es-MX", NOW)


def test_a_link_says_what_it_was_made_for_until_its_end(links: Links) -> None:
    url = unsubscribe(links)
    assert url.startswith("https://luxe.example/u/")
    end = NOW + timedelta(days=180)
    made = Link("patient:philippa-1", "email", "marketing", NOTIFICATION, "es-MX", end)
    assert links.open("unsubscribe", token_of(url), NOW) == made
    assert links.open("unsubscribe", token_of(url), end - timedelta(seconds=1)) == made
    with pytest.raises(LinkError) as caught:
        links.open("unsubscribe", token_of(url), end)
    assert caught.value.code == "expired"


def test_nobody_reads_a_link_and_no_two_are_alike(links: Links) -> None:
    first, second = unsubscribe(links), unsubscribe(links)
    assert first != second
    token = token_of(first)
    assert b"philippa" not in base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert "philippa" not in repr(links.open("unsubscribe", token, NOW))


def test_a_token_of_one_purpose_opens_nothing_else(links: Links) -> None:
    with pytest.raises(LinkError, match="unreadable"):
        links.open("preferences", token_of(unsubscribe(links)), NOW)
    with pytest.raises(LinkError, match="unreadable"):
        links.open("unsubscribe", token_of(links.preferences_url("patient:1", "en-US", NOW)), NOW)


def test_the_page_of_all_preferences_is_open_for_an_hour(links: Links) -> None:
    token = token_of(links.preferences_url("patient:1", "en-US", NOW))
    assert links.open("preferences", token, NOW + timedelta(minutes=59)).recipient == "patient:1"
    with pytest.raises(LinkError, match="expired"):
        links.open("preferences", token, NOW + timedelta(hours=1))


def test_links_outlive_the_rotation_and_the_retiring_of_keys(tmp_path: Path) -> None:
    ring = ensure_key_ring(Settings(state_dir=tmp_path))
    token = token_of(unsubscribe(Links(ring, "https://luxe.example", 180)))
    old = ring.active
    ring.add_kek()
    ring.retire_kek(old)
    later = Links(KeyRing.load(tmp_path / "keys.json"), "https://luxe.example", 180)
    assert later.open("unsubscribe", token, NOW).recipient == "patient:philippa-1"


def test_another_installation_s_link_opens_nothing(links: Links, tmp_path: Path) -> None:
    other = Links(ensure_key_ring(Settings(state_dir=tmp_path)), "https://luxe.example", 180)
    with pytest.raises(LinkError, match="unreadable"):
        links.open("unsubscribe", token_of(unsubscribe(other)), NOW)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_is_no_token_of_ours_is_refused(links: Links, text: str) -> None:
    with pytest.raises(LinkError, match="unreadable"):
        links.open("unsubscribe", text, NOW)


@given(st.data())
def test_a_token_that_was_changed_anywhere_is_refused(links: Links, data: st.DataObject) -> None:
    token = token_of(unsubscribe(links))
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LinkError, match="unreadable"):
        links.open("unsubscribe", base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), NOW)


def test_the_longest_recipient_fits(links: Links) -> None:
    recipient = "patient:" + "é" * 200
    assert links.open("unsubscribe", token_of(unsubscribe(links, recipient)), NOW).recipient == recipient
