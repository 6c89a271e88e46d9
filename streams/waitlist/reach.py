"""Can a candidate be asked now? The pipeline's own rules are asked, as if an offer were neither critical nor essential.

What is sent once it is her turn is both. But whom we choose to ask, and when, is ours to choose: nobody at night, and nobody who
does not want to hear from us.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

import psycopg

from connectors.postgres import recipients
from connectors.postgres.records import Records
from streams.catalog import Catalog
from streams.what_if import Question, what_if

OFFER_TYPE = "waitlist_opening"
UNKNOWN = "unknown_recipient"


class Reach(NamedTuple):
    """``when``: now, later (``until``), or never. ``reason``: a rule's word; empty for now."""

    when: Literal["now", "later", "never"]
    reason: str = ""
    until: datetime | None = None


async def reach(
    connection: psycopg.AsyncConnection, records: Records, types: Catalog, patient_id: str, now: datetime
) -> Reach:
    """How it is with one candidate. Raises NoPolicy before `luxe up` has stored the first, SealError."""
    recipient = f"patient:{patient_id}"
    found = (await recipients.get_many(connection, records, [recipient])).get(recipient)
    if found is None:
        return Reach("never", UNKNOWN)
    question = Question(now, notification_type=OFFER_TYPE, as_optional=True)
    [foretold] = await what_if(connection, records, types, found, question, None)
    decision = foretold.decision
    if decision.outcome == "defer":
        return Reach("later", decision.reason, decision.until)
    if decision.outcome == "suppress":
        return Reach("never", decision.reason)
    return Reach("now")
