"""Searching what lies sealed: words against the opened text of a bounded number of items. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any


def folded(text: str) -> str:
    """Without case and accents: what people type finds what was written."""
    decomposed = text
    # Twice: what a sign stands for may have a case again ("🄐" is "(A)"), and what that folds to may be decomposed.
    for _ in range(2):
        decomposed = unicodedata.normalize("NFKD", decomposed.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one))


def says_all(content: Mapping[str, Any], words: str) -> bool:
    """Whether every word is somewhere in title, body or detail of a MessageContent."""
    text = folded("\n".join(part for part in (content["subject"], content["body"], content["html"]) if part))
    return all(word in text for word in folded(words).split())
