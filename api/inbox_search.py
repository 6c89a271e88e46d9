"""Searching what lies sealed: words against the opened text of a bounded number of items. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any


def folded(text: str) -> str:
    """Without case and accents: what people type finds what was written."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one))


def says_all(content: Mapping[str, Any], words: str) -> bool:
    """Whether every word is somewhere in title, body or detail of a MessageContent."""
    text = folded("\n".join(part for part in (content["subject"], content["body"], content["html"]) if part))
    return all(word in text for word in folded(words).split())
