"""An address that a provider says is dead, or whose owner said no: its gate shuts, for one class of sender or for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.postgres import gates
from connectors.postgres.gates import Reason, Suppression, address_gate
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.providers.outcome import ErrorClass
from connectors.settings import Settings

SenderClass = Literal["care", "marketing", "*"]

# Error classes that say something of the address, not of the message or of us.
_REASONS: dict[str, Reason] = {"permanent_recipient": "hard_bounce", "opted_out": "opted_out"}


@dataclass(frozen=True, slots=True, repr=False)
class DeadAddress:
    """An address not to be written to, and by whom. Carries PHI: never printed."""

    channel: str
    address: str
    sender_class: SenderClass
    reason: Reason


def reason_of(error_class: ErrorClass | str | None) -> Reason | None:
    """Why an address is not written to again, for the error classes that say so of an address."""
    return None if error_class is None else _REASONS.get(error_class)


def sms_sender_class(settings: Settings, sender: str) -> SenderClass:
    """Which of our senders a number or messaging service is: a STOP to one never blocks the other."""
    return "marketing" if sender == settings.twilio_marketing_sender != settings.twilio_care_sender else "care"


async def suppress(pool: Pool, records: Records, addresses: Sequence[DeadAddress], source: str) -> None:
    """Shut the gates of addresses. A hard bounce concerns every sender. Addresses of no valid form have no gate."""
    suppressions = []
    for dead in addresses:
        try:
            address_hash = records.ring.address_hash(dead.channel, dead.address)
        except ValueError:
            continue
        sender_class: SenderClass = dead.sender_class if dead.reason == "opted_out" else "*"
        suppressions.append(Suppression(address_gate(dead.channel, sender_class, address_hash), dead.reason, source))
    if suppressions:
        async with pool.connection() as connection:
            await gates.put(connection, records, suppressions)
