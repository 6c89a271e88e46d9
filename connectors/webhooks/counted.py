"""What the webhooks count of receipts, and of texts from phones that only the sweep found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from connectors.metrics import catalogue, swept
from connectors.metrics.counting import Counts, Source
from connectors.webhooks.receipts import Receipt

Refusal = Literal["signature", "form", "entry", "size"]
SweptResult = Literal["recovered", "unusable"]


class Counted:
    """Counters of one process; its sources are the exporter's."""

    def __init__(self) -> None:
        self._taken = Counts(catalogue.RECEIPTS)
        self._refused = Counts(catalogue.RECEIPTS_REFUSED)
        self._parked = Counts(catalogue.RECEIPTS_PARKED)
        self._claimed = Counts(catalogue.RECEIPTS_CLAIMED)
        self._dead_letters = Counts(catalogue.DEAD_LETTERS)
        self._swept = Counts(swept.SWEPT_TEXTS)
        self._sweeps_cut = Counts(swept.SWEEPS_CUT)

    @property
    def sources(self) -> list[Source]:
        """All of them."""
        receipts = [self._taken, self._refused, self._parked, self._claimed, self._dead_letters]
        return [*receipts, self._swept, self._sweeps_cut]

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

    def swept(self, result: SweptResult) -> None:
        """The sweep found a text that the webhook had missed."""
        self._swept.add(result)

    def sweep_cut(self) -> None:
        """A sweep could not look back as far as the last one's end, or at everything in between."""
        self._sweeps_cut.add()

    def claimed(self, provider: str) -> None:
        """A parked receipt's message became known."""
        self._claimed.add(provider)
