"""An inbox as it is served: items with their text opened, pages, counts. Field names are stable: clients are built on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson
from pydantic import AwareDatetime, Field

from api.preference_model import Instant, Strict
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.inbox import Counts, Item
from connectors.postgres.records import Records
from connectors.sealing import SealError, open_sealed
from schemas.codec import CodecError

CONTENT = "luxe.pipeline.MessageContent"
MAX_PAGE = 100
DEFAULT_PAGE = 30
MAX_SEARCH_CHARACTERS = 200
MAX_SNOOZE_DAYS = 90


class About(Strict):
    """What an item is about."""

    type: str = Field(description="Kind of thing: appointment, payment, treatment …")
    id: str = Field(description="Its id at the practice system.")


class Action(Strict):
    """A button. ``acknowledge`` is this API's own; ``claim`` is `/v1/waitlist/{about.id}/claim`; what the others open, the app
    knows by ``about``."""

    name: str
    label: str = Field(description="In the item's language.")


class InboxItem(Strict):
    """One message. Text is what a list may show (Level 2); ``detail`` comes with the item itself."""

    id: str = Field(description="The notification's id: what push messages name too.")
    number: int = Field(description="Rises with every item that comes: the list's order.")
    version: int = Field(description="Rises with every change of the inbox; this item's last one. Also its ETag.")
    type: str
    category: str
    lane: Literal["critical", "high", "normal", "low"]
    title: str
    body: str
    locale: str
    about: About
    group: str = Field(description="Items about the same thing have the same.")
    actions: list[Action]
    auto_dismiss_seconds: int = Field(description="A toast goes by itself after so long; 0: it stays.")
    acknowledge: Literal["none", "own", "shared"] = Field(
        description="shared: an alert that whoever takes first takes for everybody it was sent to."
    )
    created_at: AwareDatetime
    expires_at: AwareDatetime = Field(description="Past it, it is in no list: leave it out from then on.")
    seen_at: AwareDatetime | None
    read_at: AwareDatetime | None
    archived_at: AwareDatetime | None
    snoozed_until: AwareDatetime | None = Field(description="Until then it is among the snoozed only.")
    acknowledged_at: AwareDatetime | None
    acknowledged_by: str | None = Field(description="staff:<id> of whoever took it.")


class InboxItemInFull(InboxItem):
    """One message with all it says (Level 3)."""

    detail: str | None = Field(description="Plain text; null: it says no more than `body`.")


class InboxCounts(Strict):
    """Of what is open."""

    unread: int
    unseen: int = Field(description="Came since the list was looked at last.")
    version: int = Field(description="The inbox's: give it to the live routes as `after`.")


class InboxPage(InboxCounts):
    """Newest first. ``next``: the cursor of the next page; null: there is none."""

    items: list[InboxItem]
    next: str | None


class InboxSearched(Strict):
    """What was found among the newest ``searched`` items before the cursor."""

    items: list[InboxItem]
    searched: int
    next: str | None = Field(description="Go on from here: older items were not searched yet; null: all were.")


class InboxGroup(Strict):
    """What is open about one thing."""

    group: str
    items: int
    unread: int
    latest: InboxItem


class InboxGroups(Strict):
    """That with the newest item first."""

    groups: list[InboxGroup]
    next: str | None


class Marked(InboxCounts):
    """How many items were changed, and what counts now."""

    changed: int


class UpTo(Strict):
    """Which items are meant: what was on the screen, and nothing that came since."""

    up_to: int = Field(ge=0, lt=2**63, description="`number` of the newest item shown.")


class Search(Strict):
    """Words, all of which must be in title, body or detail; case and accents make no difference."""

    words: str = Field(min_length=1, max_length=MAX_SEARCH_CHARACTERS)
    cursor: str | None = Field(None, pattern=r"^[0-9]{1,18}$")


class Snooze(Strict):
    """Until when it is out of the list."""

    until: Instant


class Openings:
    """Opens items with their owners' keys. A person without a key is erased, and has no items."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def contents(self, items: Iterable[Item], key: WrappedKey | None) -> Iterable[tuple[Item, Mapping[str, Any]]]:
        """Each item with its MessageContent; what cannot be opened is left out. Raises SealError for an unknown ring key."""
        if key is None:
            return
        data_key = self._records.keys.get(key.wrapped, key.subject, key.clinic_id)
        for item in items:
            try:
                plaintext = open_sealed(data_key, "ChannelMessage", item.delivery_id, item.sealed)
                yield item, self._records.codec.decode_content(CONTENT, plaintext)
            except (SealError, CodecError):
                continue  # sealed with a key that was destroyed since: somebody erased, who is known again

    def listed(self, items: Iterable[Item], key: WrappedKey | None) -> list[dict[str, Any]]:
        """Items as lists show them."""
        return [served(item, content) for item, content in self.contents(items, key)]


def served(item: Item, content: Mapping[str, Any]) -> dict[str, Any]:
    """An InboxItem."""
    data = content["data"]
    kind, _, id_ = item.group_key.partition(":")
    return {
        "id": item.notification_id,
        "number": item.number,
        "version": item.version,
        "type": item.notification_type,
        "category": item.category,
        "lane": item.lane,
        "title": content["subject"] or "",
        "body": content["body"],
        "locale": item.locale,
        "about": {"type": kind, "id": id_},
        "group": item.group_key,
        "actions": orjson.loads(data.get("actions", "[]")),
        "autoDismissSeconds": int(data.get("auto_dismiss_seconds", "0")),
        "acknowledge": item.acknowledge,
        "createdAt": item.created_at,
        "expiresAt": item.expires_at,
        "seenAt": item.seen_at,
        "readAt": item.read_at,
        "archivedAt": item.archived_at,
        "snoozedUntil": item.snoozed_until,
        "acknowledgedAt": item.acknowledged_at,
        "acknowledgedBy": item.acknowledged_by,
    }


def in_full(item: Item, content: Mapping[str, Any]) -> dict[str, Any]:
    """An InboxItemInFull. The detail travels as ``html``, and is plain text (streams/render/in_app.py)."""
    return {**served(item, content), "detail": content["html"]}


def counted(counts: Counts) -> dict[str, Any]:
    """InboxCounts."""
    return {"unread": counts.unread, "unseen": counts.unseen, "version": counts.version}
