"""What the webhooks count of receipts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from connectors.metrics import catalogue
from connectors.metrics.counting import Counts, Source
from connectors.webhooks.receipts import Receipt

Refusal = Literal["signature", "form", "entry", "size"]


class Counted:
    """Counters of one process; its sources are the exporter's."""

    def __init__(self) -> None:
        self._taken = Counts(catalogue.RECEIPTS)
        self._refused = Counts(catalogue.RECEIPTS_REFUSED)
        self._parked = Counts(catalogue.RECEIPTS_PARKED)
        self._claimed = Counts(catalogue.RECEIPTS_CLAIMED)
        self._dead_letters = Counts(catalogue.DEAD_LETTERS)

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        return [self._taken, self._refused, self._parked, self._claimed, self._dead_letters]

    def taken(self, receipts: Iterable[Receipt]) -> None:
        """They are durable."""
        for receipt in receipts:
            self._taken.add(receipt.provider, receipt.status)

    def refused(self, provider: str, reason: Refusal) -> None:
        """A request, or an entry of one, was not taken."""
        self._refused.add(provider, reason)

    def buried(self, code: str, count: int) -> None:
        """So many entries went to the dead letters."""
        self._dead_letters.add("webhooks", code, by=count)

    def parked(self, receipts: Iterable[Receipt]) -> None:
        """Nobody knows their messages yet."""
        for receipt in receipts:
            self._parked.add(receipt.provider)

    def claimed(self, provider: str) -> None:
        """A parked receipt's message became known."""
        self._claimed.add(provider)
