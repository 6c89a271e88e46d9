"""Patients for the API's tests."""

from __future__ import annotations

import uuid
from typing import Any

from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records

CLINIC = "c1"
PHONE, EMAIL = "+15551230001", "jane@example.com"


async def patient(pool: Pool, records: Records, clinic_id: str = CLINIC, **content: Any) -> str:
    """A new patient's id; one phone, one email, both verified, unless ``content`` says otherwise."""
    id_ = f"p-{uuid.uuid4()}"
    given = {
        "first_name": "Jane",
        "phones": [{"e164": PHONE, "verified": True}],
        "emails": [{"address": EMAIL, "verified": True}],
        "consents": [],
        **content,
    }
    async with pool.connection() as connection:
        await upsert_many(connection, records, [Recipient(f"patient:{id_}", clinic_id, given)], "test")
    return id_
