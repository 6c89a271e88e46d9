"""Which URLs of a message become short links of ours. Pure.

Where following them is counted, all that lead to the clinic's hosts; else those of texts, where it saves characters. Others stay
as the event or the policy wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.short_links.codes import ShortLinks
from connectors.short_links.targets import hosts_of, may_lead_to
from streams.render.engine import Rendered


class Shortening:
    """The short links of one delivery: called with each URL of its text, told afterwards what was rendered."""

    __slots__ = ("_counted", "_delivery_id", "_found", "_hosts", "_short")

    def __init__(self, short: ShortLinks, delivery_id: str, policy: Mapping[str, Any], *, counted: bool) -> None:
        self._short = short
        self._delivery_id = delivery_id
        self._hosts = hosts_of(policy)
        self._counted = counted
        self._found: dict[str, str] = {}

    def __call__(self, url: str) -> str:
        """What stands in the text for this URL."""
        if not url or not (self._counted or len(url) > self._short.url_characters):
            return url
        if not may_lead_to(url, self._hosts):
            return url
        code = self._short.code(self._delivery_id, url)
        self._found[code] = url
        return self._short.url("link", code)

    def picture_url(self) -> str:
        """The picture that counts openings; empty where they are not counted."""
        return self._short.url("picture", self._short.code(self._delivery_id, "")) if self._counted else ""

    def links(self, rendered: Rendered, *, picture: bool = False) -> list[dict[str, Any]]:
        """The links (luxe.pipeline.ShortLink) that the texts show; a URL of the other branch of an ``if`` is none."""
        said = rendered.body + (rendered.html or "")
        links: list[dict[str, Any]] = [
            {"code": code, "url": url, "counted": self._counted} for code, url in self._found.items() if code in said
        ]
        if picture and self._counted:
            links.append({"code": self._short.code(self._delivery_id, ""), "url": None, "counted": True})
        return links
