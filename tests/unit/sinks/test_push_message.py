"""What a device is sent, system by system, within FCM's bound. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers.fcm import MAX_PAYLOAD_BYTES, MAX_TTL, encoded
from sinks.push_message import build, silent
from streams.catalog import Catalog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
APP = "luxe://notifications/"
WEB = "https://portal.example/n/"
TOKEN = "token:1"
ACTIONS = '[{"name":"confirm","label":"Confirm"},{"name":"reschedule","label":"Reschedule"}]'
IMAGE = "https://img.example/spring.png"
MESSAGE: dict[str, Any] = {
    "delivery_id": "d",
    "notification_id": "n",
    "notification_type": "appointment_reminder_48h",
    "category": "transactional",
    "lane": "normal",
    "expires_at": None,
}
IDS = {"notification_id": "n", "notification_type": "appointment_reminder_48h"}
CONTENT: dict[str, Any] = {
    "subject": "A new message",
    "body": "Open the app to read it.",
    "media_urls": [],
    "data": IDS,
}


def sent(message: dict[str, Any], content: dict[str, Any], link: str = APP, token: str = TOKEN) -> dict[str, Any]:
    """As it goes to FCM."""
    body: dict[str, Any] = orjson.loads(encoded(build(MESSAGE | message, CONTENT | content, token, link, NOW)))
    made: dict[str, Any] = body["message"]
    return made


def at(made: dict[str, Any], path: str) -> Any:
    """What lies at a path; None where nothing does."""
    found: Any = made
    for name in path.split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


WITH_ACTIONS = {"data": IDS | {"actions": ACTIONS}}
WITH_IMAGE = {"media_urls": [IMAGE]}


def with_badge(unread: int) -> dict[str, Any]:
    """As the runtime says it, just before the call."""
    return {"data": IDS | {"badge": str(unread)}}


@pytest.mark.parametrize(
    ("message", "content", "link", "path", "value"),
    [
        ({}, {}, APP, "token", TOKEN),
        ({}, {}, APP, "notification", {"title": "A new message", "body": "Open the app to read it."}),
        ({}, {}, APP, "data", IDS | {"delivery_id": "d", "deep_link": f"{APP}n"}),
        # Android
        ({}, {}, APP, "android/priority", "normal"),
        ({"lane": "high"}, {}, APP, "android/priority", "high"),
        ({}, {}, APP, "android/collapse_key", "n"),
        ({}, {}, APP, "android/ttl", f"{int(MAX_TTL.total_seconds())}s"),
        ({"expires_at": NOW + timedelta(hours=1)}, {}, APP, "android/ttl", "3600s"),
        (
            *({}, {}, APP, "android/notification"),
            {"tag": "n", "channel_id": "transactional", "sound": "default", "visibility": "PRIVATE"},
        ),
        # Apple's devices
        ({}, {}, APP, "apns/headers/apns-priority", "5"),
        ({"lane": "critical"}, {}, APP, "apns/headers/apns-priority", "10"),
        ({}, {}, APP, "apns/headers/apns-expiration", str(int((NOW + MAX_TTL).timestamp()))),
        ({}, {}, APP, "apns/headers/apns-collapse-id", "n"),
        (
            *({}, {}, APP, "apns/payload/aps"),
            {"sound": "default", "category": "appointment_reminder_48h", "thread-id": "transactional"},
        ),
        ({}, WITH_ACTIONS, APP, "apns/payload/aps/mutable-content", 1),
        ({}, WITH_IMAGE, APP, "apns/payload/aps/mutable-content", 1),
        ({}, WITH_IMAGE, APP, "apns/fcm_options", {"image": IMAGE}),
        ({}, {}, APP, "apns/fcm_options", None),
        # Browsers
        ({}, {}, APP, "webpush/headers", {"TTL": str(int(MAX_TTL.total_seconds())), "Urgency": "normal"}),
        ({"lane": "high"}, {}, APP, "webpush/headers/Urgency", "high"),
        ({}, {}, APP, "webpush/notification", {"tag": "n"}),
        ({}, WITH_IMAGE, APP, "webpush/notification/image", IMAGE),
        (
            *({}, WITH_ACTIONS, APP, "webpush/notification/actions"),
            [{"action": "confirm", "title": "Confirm"}, {"action": "reschedule", "title": "Reschedule"}],
        ),
        ({}, {}, APP, "webpush/fcm_options", None),
        ({}, {}, WEB, "webpush/fcm_options/link", f"{WEB}n"),
        # All of them
        ({}, WITH_IMAGE, APP, "notification/image", IMAGE),
        ({}, WITH_ACTIONS, APP, "data/actions", ACTIONS),
        # How many are unread; unknown, it leaves every badge as it is. FCM takes a count of 0 on Android for none given.
        ({}, with_badge(3), APP, "apns/payload/aps/badge", 3),
        ({}, with_badge(3), APP, "android/notification/notification_count", 3),
        ({}, with_badge(3), APP, "data/badge", "3"),
        ({}, with_badge(0), APP, "apns/payload/aps/badge", 0),
        ({}, with_badge(0), APP, "android/notification/notification_count", None),
        ({}, with_badge(0), APP, "data/badge", "0"),
        ({}, {}, APP, "apns/payload/aps/badge", None),
        ({}, {}, APP, "data/badge", None),
    ],
)
def test_each_system_is_told_by_its_own_means(
    message: dict[str, Any], content: dict[str, Any], link: str, path: str, value: Any
) -> None:
    assert at(sent(message, content, link), path) == value


def test_an_installation_id_is_aimed_at_as_such() -> None:
    made = sent({}, {}, token="cInst4llation-Id_22chr")
    assert (made.get("token"), made["fid"]) == (None, "cInst4llation-Id_22chr")


LONGEST_TYPE = max(Catalog.load().types, key=len)
LONGEST_CATEGORY = max((kind.category for kind in Catalog.load().types.values()), key=len)
IDENT = "123e4567-e89b-12d3-a456-426614174000"
WIDEST: dict[str, Any] = {
    "delivery_id": IDENT,
    "notification_id": IDENT,
    "notification_type": LONGEST_TYPE,
    "category": LONGEST_CATEGORY,
    "lane": "critical",
    "expires_at": NOW + timedelta(days=27, seconds=1),
}
# What JSON writes longer than it is, what is several bytes, and what is neither.
texts = st.builds(
    lambda piece, times, end: (piece * times)[:5_000] + end,
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.integers(0, 5_000),
    st.text(st.characters(codec="utf-8"), max_size=8),
)


@given(
    title=texts,
    body=texts,
    image=st.one_of(st.none(), st.integers(20, 2_000).map(lambda size: "https://" + "i" * size)),
    label=st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=1_500)),
    link=st.sampled_from((APP, "https://" + "w" * 192)),
)
def test_no_message_is_over_fcms_bound_and_ids_are_never_left_out(
    title: str, body: str, image: str | None, label: str | None, link: str
) -> None:
    ids = {"notification_id": IDENT, "notification_type": LONGEST_TYPE, "badge": "1000000"}
    actions = None if label is None else orjson.dumps([{"name": "confirm", "label": label}]).decode()
    content = {
        "subject": title,
        "body": body,
        "media_urls": [] if image is None else [image],
        "data": ids if actions is None else ids | {"actions": actions},
    }
    made = sent(WIDEST, content, link)
    assert len(orjson.dumps(made)) <= MAX_PAYLOAD_BYTES
    assert ids.items() <= made["data"].items()
    assert made["data"]["deep_link"] == link + IDENT
    shown = made["notification"]
    cut = shown.get("body") != body or shown.get("title") != title
    lost_image = image is not None and "image" not in shown
    lost_actions = actions is not None and "actions" not in made["data"]
    # In this order: buttons, image, text; the app's buttons and the browsers' together.
    assert ("actions" in made["data"]) == ("actions" in made["webpush"]["notification"])
    assert actions is None or lost_actions or not (lost_image or cut)
    assert image is None or lost_image or not cut
    assert body.startswith(shown.get("body", "").removesuffix("…"))


def test_only_what_is_too_much_is_left_out() -> None:
    """A text as long as any of ours leaves room for everything."""
    content = {"subject": "t" * 100, "body": "b" * 1_000, **WITH_IMAGE, **WITH_ACTIONS}
    made = sent(WIDEST, content)
    assert made["notification"] == {"title": "t" * 100, "body": "b" * 1_000, "image": IMAGE}
    assert made["data"]["actions"] == ACTIONS


@pytest.mark.parametrize("unread", [0, 3])
def test_a_silent_push_is_a_count_and_nothing_that_is_shown(unread: int) -> None:
    made = orjson.loads(encoded(silent(TOKEN, unread, NOW)))["message"]
    assert made == {
        "token": TOKEN,
        "data": {"sync": "inbox", "badge": str(unread)},
        "android": {"priority": "normal", "ttl": "86400s", "collapse_key": "inbox"},
        "apns": {
            "headers": {
                "apns-push-type": "background",
                "apns-priority": "5",
                "apns-expiration": str(int((NOW + timedelta(days=1)).timestamp())),
                "apns-collapse-id": "inbox",
            },
            "payload": {"aps": {"content-available": 1}},
        },
    }
