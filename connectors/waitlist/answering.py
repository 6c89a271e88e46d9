"""What a patient says to an offer: decided under the slot's lock, so that of many who say it at once one is first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import psycopg

from connectors.waitlist import slot as slots
from connectors.waitlist.keeping import SlotRows
from connectors.waitlist.saying import About
from connectors.waitlist.slot import Answered, Step

Word = Literal["claim", "decline"]


def now_ms() -> datetime:
    """The time as events carry it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def answer(
    connection: psycopg.AsyncConnection,
    rows: SlotRows,
    about: About,
    patient_id: str,
    word: Word,
    *,
    keep: bool = True,
    number: int | None = None,
) -> Answered:
    """Claim or decline in the caller's transaction. ``keep``: she stays on the waitlist, for other slots.

    ``number``: of the offer that she answers, where she names one; if the hour was changed since, a yes is none to the new one.
    """
    locked = await rows.locked(connection, about.clinic_id, about.slot_id)
    now = now_ms()  # read under the lock: whoever waited for it past the window's end is too late
    slot = locked.slot
    if number is not None and slot.state == "offered" and slot.holder == patient_id and slot.offer_number != number:
        return Answered("over", Step(slot))
    answered = slots.claim(slot, patient_id, now) if word == "claim" else slots.decline(slot, patient_id, keep, now)
    await rows.keep(connection, locked, answered.step, now)
    return answered
