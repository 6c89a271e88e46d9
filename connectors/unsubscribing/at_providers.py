"""A no that somebody said to a provider, told us by its code, and a yes again: carried out as if it were said to us.

It holds for the address, whoever shares it. Once: where it is known already nothing is written. Everything may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg

from connectors.postgres import gates
from connectors.postgres.gates import Suppression, address_gate
from connectors.postgres.records import Records
from connectors.unsubscribing import history, wishes
from connectors.unsubscribing.carrying_out import before_last, edit, is_opted_out, patients_at
from connectors.unsubscribing.history import Action, OptOut
from connectors.unsubscribing.wishes import PROVIDER_SOURCES, RESUBSCRIBE_SOURCE, Said

SenderClass = Literal["care", "marketing", "*"]
GROUP_UNSUBSCRIBE = "group_unsubscribe"
_INSTANT = timedelta(microseconds=1)  # as fine as Postgres keeps times


@dataclass(frozen=True, slots=True, repr=False)
class Word:
    """What a provider says of an address, for one class of sender. Carries PHI: never printed.

    ``said_at``: it was so then, or later; whoever said yes to us after that is not meant.
    """

    provider: str
    code: str
    channel: str
    address: str
    sender_class: SenderClass
    said_at: datetime


def is_no(provider: str, code: str) -> bool:
    """Whether the code says that the recipient herself said no there. Carriers' blocks and complaints are none."""
    return (provider, code) in PROVIDER_SOURCES


async def no(connection: psycopg.AsyncConnection, records: Records, word: Word, source: str, now: datetime) -> None:
    """Marketing ends for everybody at the address, and its gate shuts for what the provider refuses: in one transaction.

    ``source``: of the gates (webhook, sink). Raises ValueError for an address of no valid form.
    """
    address_hash = records.ring.address_hash(word.channel, word.address)
    await history.in_turn(connection, address_hash)
    if await history.said_yes_since(connection, address_hash, word.sender_class, word.said_at):
        return
    patients = await patients_at(connection, records, word.channel, word.address)
    said = Said(_actor(word, address_hash), PROVIDER_SOURCES[word.provider, word.code], now)

    def ended(content: Mapping[str, Any]) -> dict[str, Any]:
        if wishes.agreed_since(content, word.channel, word.said_at):
            return dict(content)
        return wishes.without_marketing(content, word.channel, said)

    written = await edit(connection, records, patients, ended, said, source, address_hash)
    gate = address_gate(word.channel, word.sender_class, address_hash)
    is_shut = await is_opted_out(connection, gate)
    if not is_shut:
        await gates.put(connection, records, [Suppression(gate, "opted_out", source)])
    if written.changed or not is_shut:
        await _enter(connection, word, "out", patients, said.by, address_hash)


async def yes_again(
    connection: psycopg.AsyncConnection, records: Records, word: Word, source: str, now: datetime
) -> None:
    """What a group's unsubscribing took comes back to those who had agreed before it; nothing else does. Raises ValueError."""
    address_hash = records.ring.address_hash(word.channel, word.address)
    await history.in_turn(connection, address_hash)
    if await history.said_no_since(connection, address_hash, word.said_at):
        return
    patients = await patients_at(connection, records, word.channel, word.address)
    said = Said(_actor(word, address_hash), RESUBSCRIBE_SOURCE, now)
    before = await before_last(connection, patients, f"{word.channel}_marketing")
    changed = False
    for patient in patients:
        status = before.get(patient)

        def again(content: Mapping[str, Any], status: str | None = status) -> dict[str, Any]:
            return wishes.started(content, status, said, word.channel)

        changed |= (await edit(connection, records, [patient], again, said, source, address_hash)).changed
    gate = address_gate(word.channel, word.sender_class, address_hash)
    is_shut = await is_opted_out(connection, gate)
    if is_shut:
        await gates.lift(connection, records, [gate], "opted_out")
    # Entered though it changes nothing: the no that it follows may come after it.
    known = await history.said_yes_since(connection, address_hash, word.sender_class, word.said_at - _INSTANT)
    if changed or is_shut or not known:
        await _enter(connection, word, "in", patients, said.by, address_hash)


def _actor(word: Word, address_hash: str) -> str:
    return f"{'number' if word.channel == 'sms' else 'address'}:{address_hash}"


async def _enter(
    connection: psycopg.AsyncConnection, word: Word, action: Action, patients: list[str], actor: str, address_hash: str
) -> None:
    scope = f"sender:{word.sender_class}"
    entry = OptOut(action, "provider", actor, patients, word.channel, scope, address_hash, at=word.said_at)
    await history.append(connection, entry)
