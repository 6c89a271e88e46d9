"""What a device is sent, as FCM's HTTP v1 has it. Pure. Ids, counts and labels only but for the text, made for a lock screen.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages; what an app does with it: docs/push.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from firebase_admin import messaging

from connectors.providers.fcm import MAX_PAYLOAD_BYTES, aimed, ttl_until

URGENT_LANES = ("critical", "high")
# Options, names of fields, and the ids that each system repeats: what of a message is not said by ``Shown``. With it the whole
# message is below FCM's bound, and so is what any one system passes on of it; a test holds the sum.
FRAME_BYTES = 1_300
ROOM_BYTES = MAX_PAYLOAD_BYTES - FRAME_BYTES
_ELLIPSIS = "…"
# What a silent push is about, and what the next one replaces; of a device that is off for longer, the app asks when it opens.
SYNC = "inbox"
SYNC_TTL = timedelta(days=1)


class Shown(NamedTuple):
    """What a device shows, and hands to its app. ``buttons``: (name, label), for browsers; apps find them in ``data``."""

    title: str
    body: str
    image: str | None
    data: Mapping[str, str]
    buttons: tuple[tuple[str, str], ...]

    @property
    def size_bytes(self) -> int:
        """As it is encoded; the image's address goes to each system by itself."""
        return len(orjson.dumps([self.title, self.body, *[self.image] * 3, self.data, self.buttons]))


def shown(content: Mapping[str, Any], links: Mapping[str, str]) -> Shown:
    """What of a MessageContent there is room for: first the buttons go, then the image, then the text's end.

    ``links``: what else the app needs, never left out.
    """
    data = {**content["data"], **links}
    image = next(iter(content["media_urls"]), None)
    whole = Shown(content["subject"] or "", content["body"], image, data, _buttons(data.get("actions")))
    if whole.size_bytes <= ROOM_BYTES:
        return whole
    fitted = whole._replace(data={name: value for name, value in data.items() if name != "actions"}, buttons=())
    if fitted.size_bytes > ROOM_BYTES:
        fitted = fitted._replace(image=None)
    if (excess := fitted.size_bytes - ROOM_BYTES) > 0:
        fitted = fitted._replace(body=_cut(fitted.body, excess))
    if (excess := fitted.size_bytes - ROOM_BYTES) > 0:
        fitted = fitted._replace(title=_cut(fitted.title, excess))
    return fitted


def _cut(text: str, bytes_less: int) -> str:
    """Shorter by so many bytes at least; a byte of the text is one of JSON or more."""
    kept = text.encode()[: -(bytes_less + len(_ELLIPSIS.encode()))]
    return kept.decode(errors="ignore") + _ELLIPSIS


@lru_cache(maxsize=256)  # a behaviour and locale: a few dozen
def _buttons(actions: str | None) -> tuple[tuple[str, str], ...]:
    return () if actions is None else tuple((one["name"], one["label"]) for one in orjson.loads(actions))


def build(
    message: Mapping[str, Any], content: Mapping[str, Any], token: str, deep_link: str, now: datetime
) -> messaging.Message:
    """The SDK's message for one device: what is said, for Android, Apple's devices and browsers.

    A repetition replaces what it repeats, on each system by its own means: a resend after a lost answer is seen once.
    """
    ident: str = message["notification_id"]
    urgent = message["lane"] in URGENT_LANES
    ttl = ttl_until(message["expires_at"], now)
    link = f"{deep_link}{ident}"
    says = shown(content, {"delivery_id": message["delivery_id"], "deep_link": link})
    badge = None if (count := says.data.get("badge")) is None else int(count)
    made = messaging.Message(
        notification=messaging.Notification(title=says.title, body=says.body, image=says.image),
        data=says.data,
        android=messaging.AndroidConfig(
            priority="high" if urgent else "normal",
            ttl=ttl,
            collapse_key=ident,
            notification=messaging.AndroidNotification(
                tag=ident,
                channel_id=message["category"],
                sound="default",
                visibility="private",
                notification_count=badge or None,  # 0 would mean "one more" to FCM
            ),
        ),
        apns=messaging.APNSConfig(
            headers={
                "apns-priority": "10" if urgent else "5",
                "apns-expiration": str(int((now + ttl).timestamp())),
                "apns-collapse-id": ident,
            },
            payload=messaging.APNSPayload(
                aps=messaging.Aps(
                    badge=badge,  # 0 takes it away
                    sound="default",
                    category=message["notification_type"],
                    thread_id=message["category"],
                    # The app's service extension fetches the image, and names buttons in the message's language.
                    mutable_content=says.image is not None or bool(says.buttons),
                )
            ),
            fcm_options=None if says.image is None else messaging.APNSFCMOptions(image=says.image),
        ),
        webpush=messaging.WebpushConfig(
            headers={"TTL": str(int(ttl.total_seconds())), "Urgency": "high" if urgent else "normal"},
            notification=messaging.WebpushNotification(
                tag=ident,
                image=says.image,
                actions=[messaging.WebpushNotificationAction(name, label) for name, label in says.buttons],
            ),
            # FCM opens no other scheme from a browser.
            fcm_options=messaging.WebpushFCMOptions(link) if link.startswith("https://") else None,
        ),
    )
    return aimed(made, token)


def silent(token: str, unread: int, now: datetime) -> messaging.Message:
    """What tells one device without a sound that its owner's inbox changed. The last of several is the one that counts.

    Apple allows no badge in what wakes an app in the background: the app sets it, from ``data``.
    https://developer.apple.com/documentation/usernotifications/pushing-background-updates-to-your-app
    """
    made = messaging.Message(
        data={"sync": SYNC, "badge": str(unread)},
        android=messaging.AndroidConfig(priority="normal", ttl=SYNC_TTL, collapse_key=SYNC),
        apns=messaging.APNSConfig(
            headers={
                "apns-push-type": "background",
                "apns-priority": "5",
                "apns-expiration": str(int((now + SYNC_TTL).timestamp())),
                "apns-collapse-id": SYNC,
            },
            payload=messaging.APNSPayload(aps=messaging.Aps(content_available=True)),
        ),
    )
    return aimed(made, token)
