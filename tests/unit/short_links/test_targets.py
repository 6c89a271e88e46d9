"""Where short links may lead: the clinic's hosts, and no way around them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.short_links.targets import host_of, hosts_of, may_lead_to

POLICY: dict[str, Any] = {
    "website": "https://Luxe.example/en",
    "portal_url": "https://portal.clinic.example:8443/x",
    "booking_url": None,
    "privacy_url": "javascript:alert(1)",
    "link_hosts": ["Pay.Example", " ", ""],
}
HOSTS = hosts_of(POLICY)


def test_a_clinics_hosts() -> None:
    assert {"luxe.example", "portal.clinic.example", "pay.example"} == HOSTS
    assert hosts_of({}) == frozenset()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://luxe.example", True),
        ("https://LUXE.example/a?b=c#d", True),
        ("https://book.luxe.example/", True),
        ("http://pay.example:8080/i/1", True),
        ("https://clinic.example/", False),
        ("https://evil.example/", False),
        ("https://notluxe.example/", False),
        ("https://luxe.example.evil.example/", False),
        ("https://luxe.example@evil.example/", False),
        ("https://user:luxe.example@evil.example/", False),
        ("https://evil.example\\@luxe.example/", False),
        ("https://evil.example/\\luxe.example", False),
        ("https://luxe.example\t.evil.example/", False),
        ("https://luxe.example\n/", False),
        (" https://luxe.example/", False),
        ("//luxe.example/", False),
        ("/l/abc", False),
        ("javascript:alert('https://luxe.example')", False),
        ("data:text/html,luxe.example", False),
        ("https:luxe.example", False),
        ("https:///luxe.example", False),
        ("https://luxe.example./", False),
        ("https://.luxe.example/", False),
        ("https://luxe。example/", False),
        ("https://lux\u0435.example/", False),
        ("https://[::1/", False),
        ("https://luxe.example:port/", False),
        ("https://luxe.example/" + "a" * 2_000, False),
        ("", False),
    ],
)
def test_where_a_link_may_lead(url: str, allowed: bool) -> None:
    assert may_lead_to(url, HOSTS) is allowed


URLS = st.from_regex(r"(https?:)?[/\\]{0,3}[a-z.@:\\]{0,20}luxe\.example[a-z.@:/\\]{0,20}", fullmatch=True)


@given(st.text(max_size=60) | URLS)
def test_what_is_allowed_is_a_host_of_the_clinics(url: str) -> None:
    if may_lead_to(url, HOSTS):
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert parts.username is None
        host = parts.hostname or ""
        assert host_of(url) == host
        assert any(f".{host}".endswith("." + one) for one in HOSTS)
