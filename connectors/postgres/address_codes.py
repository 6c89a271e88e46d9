"""Codes that prove that somebody reads an address: one open code an address, keyed hash, bounded in time, tries and number."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg

CODE_DIGITS = 6
# Long enough to fetch a phone, short enough that a code found later opens nothing.
LIFETIME = timedelta(minutes=10)
# Of one code: 5 in 1,000,000.
MAX_ATTEMPTS = 5
# Messages cost money, and may go to somebody who never asked: one a minute, few a day, to one address and by one person.
RESEND_AFTER = timedelta(seconds=60)
MAX_SENT_A_DAY = 5
MAX_SENT_A_DAY_BY_RECIPIENT = 10

Verdict = Literal["right", "wrong", "over"]


@dataclass(frozen=True, slots=True)
class AddressId:
    """One address of one recipient."""

    recipient: str
    channel: str
    address_hash: str


class TooManyCodes(Exception):
    """Another code may be sent in ``wait_seconds``."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("too many codes were sent; wait")
        self.wait_seconds = wait_seconds


def new_code() -> str:
    """A code that nobody can guess."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"


def code_hash(secret: str, address: AddressId, code: str) -> bytes:
    """What is stored of a code: keyed, for six digits would be found by trying; and of this address only."""
    said = "\0".join(("address-code", address.recipient, address.channel, address.address_hash, code))
    return hmac.digest(secret.encode(), said.encode(), "sha256")


async def open_code(connection: psycopg.AsyncConnection, address: AddressId, hashed: bytes, now: datetime) -> datetime:
    """Store a code that replaces an earlier one; until when it is good. The recipient's row is locked by the caller.

    Raises TooManyCodes.
    """
    cursor = await connection.execute(
        "SELECT channel, address_hash, sent_at, sent_in_day FROM address_codes WHERE recipient = %s AND day = %s",
        (address.recipient, now.date()),
    )
    sent_today = await cursor.fetchall()
    ours = [row for row in sent_today if (row[0], row[1]) == (address.channel, address.address_hash)]
    wait = _wait([row[3] for row in sent_today], [(row[2], row[3]) for row in ours], now)
    if wait > timedelta():
        raise TooManyCodes(wait.total_seconds())
    expires_at = now + LIFETIME
    await connection.execute(
        """INSERT INTO address_codes (recipient, channel, address_hash, code_hash, sent_at, expires_at, day, sent_in_day)
           VALUES (%(recipient)s, %(channel)s, %(hash)s, %(code)s, %(now)s, %(until)s, %(day)s, 1)
           ON CONFLICT (recipient, channel, address_hash) DO UPDATE SET
               code_hash = excluded.code_hash, sent_at = excluded.sent_at, expires_at = excluded.expires_at, attempts = 0,
               sent_in_day = CASE WHEN address_codes.day = excluded.day THEN address_codes.sent_in_day + 1 ELSE 1 END,
               day = excluded.day""",
        {
            "recipient": address.recipient,
            "channel": address.channel,
            "hash": address.address_hash,
            "code": hashed,
            "now": now,
            "until": expires_at,
            "day": now.date(),
        },
    )
    return expires_at


def _wait(all_today: Sequence[int], ours: Sequence[tuple[datetime, int]], now: datetime) -> timedelta:
    """How long until another code may be sent."""
    tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo) - now
    if sum(all_today) >= MAX_SENT_A_DAY_BY_RECIPIENT or any(sent >= MAX_SENT_A_DAY for _, sent in ours):
        return tomorrow
    return max((sent_at + RESEND_AFTER - now for sent_at, _ in ours), default=timedelta())


async def attempt(connection: psycopg.AsyncConnection, address: AddressId, hashed: bytes, now: datetime) -> Verdict:
    """Whether this is the address's code. A wrong one counts, once the caller's transaction is committed.

    ``over``: there is no code that could be right: none was sent, it expired, or it was guessed at too often.
    """
    cursor = await connection.execute(
        """SELECT code_hash, expires_at, attempts FROM address_codes
           WHERE recipient = %s AND channel = %s AND address_hash = %s FOR UPDATE""",
        (address.recipient, address.channel, address.address_hash),
    )
    found = await cursor.fetchone()
    if found is None or found[1] <= now or found[2] >= MAX_ATTEMPTS:
        return "over"
    if hmac.compare_digest(found[0], hashed):
        return "right"
    await connection.execute(
        """UPDATE address_codes SET attempts = attempts + 1
           WHERE recipient = %s AND channel = %s AND address_hash = %s""",
        (address.recipient, address.channel, address.address_hash),
    )
    return "wrong" if found[2] + 1 < MAX_ATTEMPTS else "over"


async def close_code(connection: psycopg.AsyncConnection, address: AddressId, now: datetime) -> None:
    """The code has done its work; that it was sent still counts."""
    await connection.execute(
        """UPDATE address_codes SET expires_at = %s
           WHERE recipient = %s AND channel = %s AND address_hash = %s""",
        (now, address.recipient, address.channel, address.address_hash),
    )
