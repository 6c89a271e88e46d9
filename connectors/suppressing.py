"""An address that a provider says is dead, or whose owner said no: its gate shuts, for one class of sender or for all.

Where the provider's code is the owner's own no, consents and their history follow it, in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from connectors.postgres import gates
from connectors.postgres.gates import Reason, Suppression, address_gate
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import RecipientError
from connectors.postgres.records import Records
from connectors.providers.outcome import ErrorClass
from connectors.sealing import SealError
from connectors.settings import Settings
from connectors.unsubscribing import at_providers
from connectors.unsubscribing.at_providers import GROUP_UNSUBSCRIBE, SenderClass, Word

log = logging.getLogger(__name__)

CarryOut = Callable[[psycopg.AsyncConnection, Records, Word, str, datetime], Awaitable[None]]

# Error classes that say something of the address, not of the message or of us.
_REASONS: dict[str, Reason] = {"permanent_recipient": "hard_bounce", "opted_out": "opted_out"}


@dataclass(frozen=True, slots=True, repr=False)
class DeadAddress:
    """An address not to be written to, and by whom. Carries PHI: never printed.

    ``code``: the provider's; ``said_at``: when it was so, at the earliest (see at_providers.Word).
    """

    channel: str
    address: str
    sender_class: SenderClass
    reason: Reason
    provider: str
    code: str
    said_at: datetime


def reason_of(error_class: ErrorClass | str | None) -> Reason | None:
    """Why an address is not written to again, for the error classes that say so of an address."""
    return None if error_class is None else _REASONS.get(error_class)


def sms_sender_class(settings: Settings, sender: str) -> SenderClass:
    """Which of our senders a number or messaging service is: a STOP to one never blocks the other."""
    return "marketing" if sender == settings.twilio_marketing_sender != settings.twilio_care_sender else "care"


def email_sender_class(code: str | None) -> SenderClass:
    """Which emails SendGrid refuses after that: a group's alone, or all. Care is sent in no group."""
    return "marketing" if code == GROUP_UNSUBSCRIBE else "*"


async def suppress(pool: Pool, records: Records, addresses: Sequence[DeadAddress], source: str) -> None:
    """Shut the gates of addresses. A hard bounce concerns every sender. Addresses of no valid form have no gate."""
    suppressions = []
    for dead in addresses:
        if dead.reason == "opted_out" and at_providers.is_no(dead.provider, dead.code):
            word = Word(dead.provider, dead.code, dead.channel, dead.address, dead.sender_class, dead.said_at)
            if await _carried_out(pool, records, at_providers.no, word, source):
                continue
        try:
            address_hash = records.ring.address_hash(dead.channel, dead.address)
        except ValueError:
            continue
        sender_class: SenderClass = dead.sender_class if dead.reason == "opted_out" else "*"
        suppressions.append(Suppression(address_gate(dead.channel, sender_class, address_hash), dead.reason, source))
    if suppressions:
        async with pool.connection() as connection:
            await gates.put(connection, records, suppressions)


async def reopen(pool: Pool, records: Records, words: Sequence[Word], source: str) -> None:
    """What owners said yes to again at a provider."""
    for word in words:
        await _carried_out(pool, records, at_providers.yes_again, word, source)


async def _carried_out(pool: Pool, records: Records, what: CarryOut, word: Word, source: str) -> bool:
    """Whether it is in force and recorded; False: somebody at that address cannot be read or stored, which must stop nothing."""
    try:
        async with pool.connection() as connection:
            await what(connection, records, word, source, datetime.now(UTC))
    except ValueError:
        return False
    except (RecipientError, SealError) as error:
        log.error("what %s says (%s) changes no consent: %s", word.provider, word.code, type(error).__name__)  # noqa: TRY400
        return False
    return True
