"""What becomes of a message to several devices, and how it is built. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.fcm import MAX_TTL, encoded, refused, ttl_until
from connectors.providers.outcome import ERROR_CLASSES, Accepted, OutcomeUnknown, Refused
from sinks.push import judged
from sinks.push_message import build

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE: dict[str, Any] = {
    "delivery_id": "d",
    "notification_id": "n",
    "notification_type": "message_received",
    "category": "transactional",
    "lane": "normal",
    "expires_at": None,
}
CONTENT: dict[str, Any] = {"subject": "A new message", "body": "Open the app to read it.", "media_urls": [], "data": {}}

TAKEN = Accepted("m")
ends = st.one_of(
    st.just(TAKEN),
    st.just(OutcomeUnknown("TimeoutError")),
    st.builds(lambda kind: Refused(kind, code="c"), st.sampled_from(ERROR_CLASSES)),
)


@given(st.dictionaries(st.text(min_size=1), ends, min_size=1, max_size=5))
def test_one_device_is_enough_and_doubt_outweighs_refusal(several: Mapping[str, Accepted | BaseException]) -> None:
    dead = {
        token for token, end in several.items() if isinstance(end, Refused) and end.error_class == "permanent_recipient"
    }
    taken = sum(end is TAKEN for end in several.values())
    if taken:
        accepted = judged(several)
        assert set(accepted.dead_addresses) == dead
        assert accepted.provider_status == f"{taken}/{len(several)}"
    elif any(isinstance(end, OutcomeUnknown) for end in several.values()):
        with pytest.raises(OutcomeUnknown):
            judged(several)
    else:
        with pytest.raises(Refused) as told:
            judged(several)
        # For good only if it is so for every device: else the next attempt may reach one.
        assert (told.value.error_class == "permanent_recipient") == (len(dead) == len(several))


def test_a_defect_of_ours_is_not_taken_for_an_end() -> None:
    with pytest.raises(KeyError):
        judged({"a": TAKEN, "b": KeyError("x")})


def test_a_message_the_sdk_refuses_is_told_without_its_text() -> None:
    unusable = build(MESSAGE, {**CONTENT, "media_urls": [7]}, "token:1", "luxe://notifications/", NOW)
    with pytest.raises(Refused) as told:
        encoded(unusable)
    assert (told.value.error_class, told.value.code) == ("content_filtered", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (None, MAX_TTL),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=40), MAX_TTL),
        (timedelta(seconds=-5), timedelta(0)),
    ],
)
def test_it_is_kept_for_a_device_out_of_reach_while_it_is_of_use(left: timedelta | None, kept: timedelta) -> None:
    assert ttl_until(None if left is None else NOW + left, NOW) == kept


@pytest.mark.parametrize(
    ("status", "content", "error_class", "code"),
    [
        (502, b"<html>Bad Gateway</html>", "transient", "UNKNOWN"),
        (500, b"", "transient", "INTERNAL"),
        (418, b"{}", "unknown", "UNKNOWN"),
        (400, b'{"error": {"status": "INVALID_ARGUMENT"}}', "content_filtered", "INVALID_ARGUMENT"),
        (404, b'{"error": {"status": "NOT_FOUND"}}', "account", "NOT_FOUND"),
        (504, b'{"error": {"status": "DEADLINE_EXCEEDED"}}', "transient", "DEADLINE_EXCEEDED"),
    ],
)
def test_answers_that_are_not_fcms_own_are_judged_too(status: int, content: bytes, error_class: str, code: str) -> None:
    told = refused(status, content, "700")
    assert (told.error_class, told.code, told.retry_after_seconds) == (error_class, code, 700)
