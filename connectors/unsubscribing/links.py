"""Links in messages: an opaque, sealed, expiring token names the recipient, so that a click needs no sign-in.

Token: base64url of ``version (1) ‖ nonce (12) ‖ AES-256-GCM``; each purpose has a key of its own, derived from the ring, so that
a token of one purpose is none for another. Whoever has a token may do what it is for: it is a secret, and never logged. See
docs/opting-out.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

import orjson
from cryptography.exceptions import InvalidTag

from connectors.sealing.keyring import KeyRing
from connectors.sealing.nonces import NONCE_BYTES, nonce
from connectors.settings import Settings
from connectors.short_links.codes import ShortLinks

Purpose = Literal["unsubscribe", "preferences"]
UNSUBSCRIBE_PATH = "/u/"
PREFERENCES_PATH = "/p/"

_VERSION = b"\x01"
_PATHS: dict[Purpose, str] = {"unsubscribe": UNSUBSCRIBE_PATH, "preferences": PREFERENCES_PATH}
# The page of all preferences is opened at once, or asked for anew.
PREFERENCES_MINUTES = 60
# A recipient key has at most 208 characters (UTF-8: four times as many bytes), the rest is short.
MAX_TOKEN_CHARACTERS = 2_048

LinkErrorCode = Literal["unreadable", "expired"]


class LinkError(Exception):
    """A token that opens nothing. ``code``: unreadable (cut, forged, another installation's), or expired."""

    def __init__(self, code: LinkErrorCode) -> None:
        super().__init__(f"a link's token is {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. ``channel`` and ``category`` (an opt-in of that channel): what the message was; empty for the page."""

    recipient: str
    channel: str
    category: str
    notification_id: str
    locale: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Link({self.channel or 'page'}, {self.category or 'all'}, until {self.expires_at:%Y-%m-%d})"


class Links:
    """Makes and opens links. Raises nothing but LinkError, whatever it is given to open. ``short``: those without a token."""

    def __init__(self, ring: KeyRing, base_url: str, unsubscribe_days: int) -> None:
        self._base_url = base_url.rstrip("/")
        self._unsubscribe_days = unsubscribe_days
        self.short = ShortLinks(ring, base_url)
        self._keys = {purpose: ring.link_key(purpose) for purpose in get_args(Purpose)}

    @classmethod
    def of(cls, settings: Settings, ring: KeyRing) -> Links:
        """As the settings say."""
        return cls(ring, settings.pages_url, settings.unsubscribe_days)

    def unsubscribe_url(
        self, recipient: str, channel: str, category: str, notification_id: str, locale: str, now: datetime
    ) -> str:
        """The link that a message on this channel carries, for the opt-in that it falls under."""
        expires_at = now + timedelta(days=self._unsubscribe_days)
        return self._url("unsubscribe", Link(recipient, channel, category, notification_id, locale, expires_at))

    def preferences_url(self, recipient: str, locale: str, now: datetime) -> str:
        """The link to the page of all preferences, for whoever has proved to be the recipient; for PREFERENCES_MINUTES."""
        expires_at = now + timedelta(minutes=PREFERENCES_MINUTES)
        return self._url("preferences", Link(recipient, "", "", "", locale, expires_at))

    def open(self, purpose: Purpose, token: str, now: datetime) -> Link:
        """What a token of this purpose says. Raises LinkError."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise LinkError("unreadable")
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if sealed[:1] != _VERSION:
                raise LinkError("unreadable")
            start = 1 + NONCE_BYTES
            opened = self._keys[purpose].decrypt(sealed[1:start], sealed[start:], _VERSION)
        except (binascii.Error, ValueError, InvalidTag):
            raise LinkError("unreadable") from None
        # What we sealed ourselves has this form.
        expires_seconds, recipient, channel, category, notification_id, locale = orjson.loads(opened)
        link = Link(recipient, channel, category, notification_id, locale, _at(expires_seconds, now))
        if link.expires_at <= now:
            raise LinkError("expired")
        return link

    def _url(self, purpose: Purpose, link: Link) -> str:
        said = orjson.dumps(
            [
                int(link.expires_at.timestamp()),
                link.recipient,
                link.channel,
                link.category,
                link.notification_id,
                link.locale,
            ]
        )
        unique = nonce()
        sealed = _VERSION + unique + self._keys[purpose].encrypt(unique, said, _VERSION)
        token = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        return f"{self._base_url}{_PATHS[purpose]}{token}"


def _at(seconds: int, now: datetime) -> datetime:
    return datetime.fromtimestamp(seconds, now.tzinfo)
