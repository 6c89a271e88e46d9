"""What receipts say of our own account and senders, not of the person. Pure.

Twilio takes a text of a number that is not registered (30034, 30032), or of an account that is being suspended (30002), and tells
only by its receipt that no carrier has it: without this every text of a day would be taken, and lost for its channel, one by one.

Of emails only the receiving server speaks, for itself: that it does not take our domain's says nothing of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.postgres.deliveries import Delivery
from connectors.postgres.sender_refusals import Arrived, Refused, SenderRefusal, Subject
from connectors.providers import twilio
from connectors.providers.outcome import reach
from connectors.settings import Settings
from connectors.webhooks.receipts import Receipt

Known = Sequence[tuple[Receipt, Delivery]]
_REFUSED = ("failed", "undelivered")
_ARRIVED = ("delivered", "read")


def refused(settings: Settings, known: Known) -> list[Refused]:
    """Accounts and senders that may not send, with what shows it."""
    return [
        Refused(
            SenderRefusal(subject, receipt.error_code or "", delivery.clinic_id), delivery.delivery_id, delivery.attempt
        )
        for receipt, delivery in known
        if receipt.status in _REFUSED
        for subject in sorted(subjects(settings, receipt))
    ]


def arrived(settings: Settings, known: Known) -> list[Arrived]:
    """Texts that arrived, with whoever may send, as one sees by them."""
    return [
        Arrived(frozenset({"account", *senders}), delivery.delivery_id, delivery.attempt)
        for receipt, delivery in known
        if receipt.status in _ARRIVED and (senders := _senders(settings, receipt))
    ]


def subjects(settings: Settings, receipt: Receipt) -> frozenset[Subject]:
    """Whom a receipt's error code refuses as a whole; nobody, where it is the message's own."""
    if receipt.provider != twilio.PROVIDER or receipt.error_class != "account":
        return frozenset()
    how_far = reach(receipt.provider, "account", receipt.error_code or "")
    if how_far == "account":
        return frozenset({"account"})
    return _senders(settings, receipt) if how_far == "sender" else frozenset()


def _senders(settings: Settings, receipt: Receipt) -> frozenset[Subject]:
    """Both classes, where they share a number; none for a number that is ours no longer."""
    found: set[Subject] = set()
    if receipt.provider == twilio.PROVIDER:
        if receipt.sender == settings.twilio_care_sender:
            found.add("care")
        if receipt.sender == settings.twilio_marketing_sender:
            found.add("marketing")
    return frozenset(found)
