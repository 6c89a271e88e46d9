"""In-app content: title and body for the list, detail that opens behind sign-in (kept in ``html``, as plain text), buttons."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
import yaml

from streams.catalog_model import InApp
from streams.render.email import one_line
from streams.render.engine import Rendered
from streams.render.formats import fallbacks


def content(
    rendered: Rendered, recipient: str, aggregate_type: str, aggregate_id: str, behaviour: InApp, locale: str
) -> dict[str, Any]:
    """MessageContent for one inbox. ``data``: what the item is about, so that the app can link to it, and how it behaves."""
    return {
        "to": recipient,
        "to_name": None,
        "subject": one_line(rendered.subject or ""),
        "body": rendered.body,
        "html": rendered.html,
        "media_urls": [],
        "data": {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id, **said(behaviour, locale)},
        "headers": {},
        "attachments": [],
        "links": [],
    }


@cache  # one entry a behaviour and locale: a few dozen, and locales are those of texts
def said(behaviour: InApp, locale: str) -> Mapping[str, str]:
    """A type's behaviour as the message carries it; nothing where there is nothing to say."""
    told: dict[str, str] = {}
    if behaviour.acknowledge != "none":
        told["acknowledge"] = behaviour.acknowledge
    if behaviour.auto_dismiss is not None:
        told["auto_dismiss_seconds"] = str(behaviour.auto_dismiss.total_seconds)
    names = (*(("acknowledge",) if behaviour.acknowledge != "none" else ()), *behaviour.actions)
    if names:
        told["actions"] = orjson.dumps([{"name": name, "label": _label(name, locale)} for name in names]).decode()
    return told


def _label(name: str, locale: str) -> str:
    words = _labels()[name]
    return next(words[tag] for tag in fallbacks(locale, "en") if tag in words)


@cache
def _labels() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = yaml.safe_load((files("streams.render") / "actions.yaml").read_bytes())
    return found
