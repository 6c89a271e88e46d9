"""A provider's batch of events, apart: what one entry holds must not decide over the others. Pure."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import orjson

from connectors.webhooks.receipts import ReceiptError


class Misfit(NamedTuple):
    """An entry that is none of its provider's forms: signed all the same, so it is kept. ``raw`` may hold PHI."""

    provider: str
    number: int
    raw: bytes
    error: ReceiptError

    def __repr__(self) -> str:
        return f"Misfit({self.provider}, entry {self.number}, {len(self.raw)} bytes)"


def entries(body: bytes) -> list[Any]:
    """The batch's entries, in order. Raises ReceiptError where the body is no JSON array."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson takes no half of a surrogate pair and no NaN, which one entry may hold; Python's own reader takes both.
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        raise ReceiptError(f"a body of {len(body)} bytes that is no JSON array")
    return found


def misfit(provider: str, number: int, entry: Any, error: ReceiptError) -> Misfit:
    """The entry as it is kept: the same entry is the same bytes, whenever and with whatever others it comes."""
    return Misfit(provider, number, json.dumps(entry, sort_keys=True).encode(), error)
