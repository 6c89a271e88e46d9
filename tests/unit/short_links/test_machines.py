"""Who is counted as a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connectors.short_links.machines import SCANNED_SECONDS, is_machine

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Mobile/15E148 Safari/604.1"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@pytest.mark.parametrize(
    ("method", "headers", "channel", "seconds", "machine"),
    [
        ("GET", {"User-Agent": PHONE}, "sms", 0.5, False),
        ("GET", {"User-Agent": PHONE}, "email", 3_600, False),
        ("GET", {"User-Agent": GMAIL}, "email", 3_600, False),
        ("HEAD", {"User-Agent": PHONE}, "sms", 60, True),
        ("GET", {}, "sms", 60, True),
        ("GET", {"User-Agent": "  "}, "sms", 60, True),
        ("GET", {"User-Agent": "Mozilla/5.0"}, "email", 3_600, True),
        ("GET", {"User-Agent": "facebookexternalhit/1.1 Facebot Twitterbot/1.0"}, "sms", 60, True),
        ("GET", {"User-Agent": "WhatsApp/2.23.20.0"}, "sms", 60, True),
        ("GET", {"User-Agent": "curl/8.5.0"}, "sms", 60, True),
        ("GET", {"user-agent": PHONE, "Sec-Purpose": "prefetch;prerender"}, "sms", 60, True),
        ("GET", {"User-Agent": PHONE, "X-Purpose": "preview"}, "sms", 60, True),
        ("GET", {"User-Agent": PHONE, "X-Moz": "prefetch"}, "email", 3_600, True),
        ("GET", {"User-Agent": PHONE}, "email", SCANNED_SECONDS / 2, True),
    ],
)
def test_people_and_machines(method: str, headers: dict[str, str], channel: str, seconds: float, machine: bool) -> None:
    assert is_machine(method, CIMultiDict(headers), channel, seconds) is machine


@given(st.text(), st.dictionaries(st.sampled_from(["Sec-Purpose", "User-Agent", "X"]), st.text()), st.floats())
def test_anything_may_be_sent(method: str, headers: dict[str, str], seconds: float) -> None:
    assert is_machine(method, CIMultiDict(headers), "email", seconds) in (True, False)
