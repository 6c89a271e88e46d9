"""The one place where every no ends: preferences, consents and their history, gates, and an entry of its own; one transaction.

Everything may be repeated. ``waiting`` of what is returned: outbox rows that must be in Kafka before anybody is told that it
holds, those of an earlier try included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from connectors.postgres import gates, preference_gates, recipients
from connectors.postgres.gates import Suppression, address_gate, consent_gate
from connectors.postgres.in_force import unpublished
from connectors.postgres.recipients import Edit, Recipient
from connectors.postgres.records import Records
from connectors.unsubscribing import history, wishes
from connectors.unsubscribing.history import Action, OptOut, Path
from connectors.unsubscribing.links import Link
from connectors.unsubscribing.wishes import START_SOURCE, STOP_SOURCE, Said, Scope, SenderClass
from schemas.topics import GATES, RECIPIENTS

LINK_SOURCES: Mapping[Path, str] = {"link": "unsubscribe link", "one_click": "one-click unsubscribe"}


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """A keyword that came by text: the provider's id, whose number, to which of our senders. Carries PHI: never printed."""

    message_id: str
    number: str
    sender_class: SenderClass


class CarriedOut(NamedTuple):
    """What was made of it. ``action`` None: nothing; a YES of somebody who is not opted out is a message for people."""

    action: Action | None
    recipients: Sequence[str]
    waiting: list[int]


async def stop(
    connection: psycopg.AsyncConnection, records: Records, text: Text, now: datetime, *, every_sender: bool
) -> CarriedOut:
    """No more texts to this number from this sender, whoever shares the phone; see docs/adr on which senders that is."""
    address_hash = records.ring.address_hash("sms", text.number)
    if (earlier := await history.noted(connection, text.message_id)) is not None:
        return await _again(connection, earlier)
    await history.in_turn(connection, address_hash)
    patients = await patients_at(connection, records, "sms", text.number)
    said = Said(f"number:{address_hash}", STOP_SOURCE, now)
    await edit(
        connection, records, patients, lambda content: wishes.stopped(content, said), said, "webhook", address_hash
    )
    classes: tuple[SenderClass, ...] = (
        ("care", "marketing") if every_sender or text.sender_class == "care" else ("marketing",)
    )
    shut = [Suppression(address_gate("sms", one, address_hash), "opted_out", "webhook") for one in classes]
    await gates.put(connection, records, shut)
    return await _noted(connection, text, "out", classes, patients, address_hash)


async def start(
    connection: psycopg.AsyncConnection, records: Records, text: Text, now: datetime, *, if_opted_out: bool
) -> CarriedOut:
    """Texts from this sender to this number again. ``if_opted_out``: only where a STOP stands (YES), else nothing is done."""
    address_hash = records.ring.address_hash("sms", text.number)
    if (earlier := await history.noted(connection, text.message_id)) is not None:
        return await _again(connection, earlier)
    await history.in_turn(connection, address_hash)
    gate = address_gate("sms", text.sender_class, address_hash)
    if if_opted_out:
        # Twilio signs no time: an old YES that somebody recorded, posted again after a STOP, must not undo that.
        if await history.was_passed_on(connection, text.message_id):
            return CarriedOut(None, (), [])
        if not await is_opted_out(connection, gate):
            await history.passed_on(connection, text.message_id)
            return CarriedOut(None, (), [])
    patients = await patients_at(connection, records, "sms", text.number)
    said = Said(f"number:{address_hash}", START_SOURCE, now)
    if text.sender_class == "marketing":
        before = await before_last(connection, patients, "sms_marketing")
        for patient in patients:
            status = before.get(patient)

            def again(content: Mapping[str, Any], status: str | None = status) -> dict[str, Any]:
                return wishes.started(content, status, said)

            await edit(connection, records, [patient], again, said, "webhook", address_hash)
    await gates.lift(connection, records, [gate], "opted_out")
    return await _noted(connection, text, "in", (text.sender_class,), patients, address_hash)


async def unsubscribe(
    connection: psycopg.AsyncConnection, records: Records, link: Link, scope: Scope, path: Path, now: datetime
) -> list[int]:
    """What the holder of a link said no to; outbox rows to wait for. Raises ValueError for a category that is none."""
    withdrawn = wishes.consents_withdrawn(link.channel, scope, link.category)
    said = Said(link.recipient, LINK_SOURCES[path], now)

    def no(content: Mapping[str, Any]) -> dict[str, Any]:
        return wishes.unsubscribed(content, link.channel, scope, link.category, said)

    written = await edit(connection, records, [link.recipient], no, said, "api")
    shut = [consent_gate(link.recipient, consent_type) for consent_type in withdrawn]
    if written.unknown:
        # Nobody has a record of them, but the message came: their wish is kept where the sinks look.
        await gates.put(connection, records, [Suppression(gate, "opted_out", "api") for gate in shut])
    if written.changed or written.unknown:
        said_no = scope if scope != "category" else f"category:{link.category}"
        entry = OptOut(
            "out",
            path,
            link.recipient,
            [link.recipient],
            link.channel,
            said_no,
            notification_id=link.notification_id or None,
        )
        await history.append(connection, entry)
    return await waiting(connection, [link.recipient, *shut, *preference_gates.keys([link.recipient])])


async def waiting(connection: psycopg.AsyncConnection, keys: Sequence[str]) -> list[int]:
    """Outbox rows with these keys that are not in Kafka yet, this transaction's included."""
    return await unpublished(connection, [(topic, key.encode()) for topic in (RECIPIENTS, GATES) for key in keys])


class Edited(NamedTuple):
    """Whether anybody's record changed, and whether somebody has none."""

    changed: bool
    unknown: bool


async def edit(
    connection: psycopg.AsyncConnection,
    records: Records,
    who: Sequence[str],
    change: Callable[[Mapping[str, Any]], dict[str, Any]],
    said: Said,
    source: str,
    address_hash: str | None = None,
) -> Edited:
    """Change what is stored of these recipients. ``source``: of gates; ``address_hash``: for which address it was said."""
    known = await _known(connection, who)
    written = await recipients.edit_many(
        connection, records, {one: _editing(change) for one in who if one in known}, said.by, source, address_hash
    )
    return Edited(bool(written.updated), len(known) < len(who))


def _editing(change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Edit:
    def edited(found: Recipient | None) -> Recipient | None:
        return None if found is None else replace(found, content=change(found.content))

    return edited


async def _known(connection: psycopg.AsyncConnection, who: Sequence[str]) -> set[str]:
    """Those that have a row; asking ``edit_many`` about others would make one."""
    cursor = await connection.execute("SELECT recipient FROM recipients WHERE recipient = ANY(%s)", (list(who),))
    return {recipient for (recipient,) in await cursor.fetchall()}


async def patients_at(connection: psycopg.AsyncConnection, records: Records, channel: str, address: str) -> list[str]:
    """Whose address it is; several may share it. Raises ValueError for a number that is not E.164."""
    found = await recipients.find_by_address(connection, records, channel, address)
    return [recipient for recipient in found if recipient.startswith("patient:")]


async def is_opted_out(connection: psycopg.AsyncConnection, gate: str) -> bool:
    """Whether somebody's no shuts this gate."""
    cursor = await connection.execute(
        "SELECT 1 FROM suppressions WHERE gate_key = %s AND reason = 'opted_out'", (gate,)
    )
    return await cursor.fetchone() is not None


async def before_last(
    connection: psycopg.AsyncConnection, patients: Sequence[str], consent_type: str
) -> dict[str, str]:
    """Recipient → what stood before the consent that stands now."""
    cursor = await connection.execute(
        """SELECT recipient, status FROM (
               SELECT recipient, status, row_number() OVER (PARTITION BY recipient ORDER BY id DESC) AS place
               FROM consents WHERE recipient = ANY(%s) AND consent_type = %s) AS c
           WHERE place = 2""",
        (list(patients), consent_type),
    )
    return dict(await cursor.fetchall())


async def _noted(
    connection: psycopg.AsyncConnection,
    text: Text,
    action: Action,
    classes: Sequence[SenderClass],
    patients: Sequence[str],
    address_hash: str,
) -> CarriedOut:
    entry = OptOut(
        action,
        "text",
        f"number:{address_hash}",
        patients,
        "sms",
        f"sender:{','.join(classes)}",
        address_hash,
        text.message_id,
    )
    await history.append(connection, entry)
    return CarriedOut(action, patients, await _waiting_for(connection, address_hash, patients))


async def _again(connection: psycopg.AsyncConnection, earlier: history.Noted) -> CarriedOut:
    """The same text once more: nothing is done again, but it holds only once Kafka has it."""
    rows = await _waiting_for(connection, earlier.address_hash, earlier.recipients)
    return CarriedOut(earlier.action, earlier.recipients, rows)


async def _waiting_for(connection: psycopg.AsyncConnection, address_hash: str, patients: Sequence[str]) -> list[int]:
    keys = [address_gate("sms", "care", address_hash), address_gate("sms", "marketing", address_hash)]
    keys += [consent_gate(patient, "sms_marketing") for patient in patients]
    keys += preference_gates.keys(patients)
    return await waiting(connection, [*keys, *patients])
