"""What an empty installation begins with: the system's policy, a demo clinic, the templates that come with the product."""

from __future__ import annotations

from typing import Any

import click
import psycopg

from cli.database import in_database
from connectors.postgres import policies, templates
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.settings import Settings
from streams.render.sources import load_templates

SEEDED_BY = "luxe"
DEMO_CLINIC = "clinic-demo"

# Stands in for clinics that nobody has described: it says nothing about them, and narrows nothing.
SYSTEM_POLICY: dict[str, Any] = {"clinic_id": SYSTEM_CLINIC, "name": "your clinic", "time_zone": "America/New_York"}

DEMO_POLICY: dict[str, Any] = {
    "clinic_id": DEMO_CLINIC,
    "name": "Luxe Medical Spa",
    "phone": "+15005550100",
    "email": "care@luxe.example",
    "address": "1 Ocean Drive, Miami Beach, FL 33139",
    "website": "https://luxe.example",
    "portal_url": "https://portal.luxe.example",
    "booking_url": "https://luxe.example/book",
    "privacy_url": "https://luxe.example/privacy",
    "time_zone": "America/New_York",
    "locale": "en-US",
    "currency": "USD",
    "email_from": "care@luxe.example",
    "email_from_name": "Luxe Medical Spa",
    "generic_service_name": "treatment",
    "open_weekdays": [1, 2, 3, 4, 5, 6],
}


def seed_defaults(settings: Settings) -> None:
    """Store what is missing; leave what a clinic has changed. Idempotent. Raises click.ClickException."""

    async def seed(connection: psycopg.AsyncConnection, records: Records) -> tuple[list[str], int]:
        async with connection.transaction():
            known = {policy.clinic_id for policy in await policies.stored(connection)}
            missing = [policy for policy in (SYSTEM_POLICY, DEMO_POLICY) if policy["clinic_id"] not in known]
            for policy in missing:
                await policies.put(connection, records, policy, SEEDED_BY)
            # A ring that is not this database's is noticed now, before anything is sealed with it.
            key = await policies.strangers_key(connection, SYSTEM_CLINIC)
            records.keys.get(key.wrapped, key.subject, key.clinic_id)
            published = await templates.publish(connection, records, load_templates(), SEEDED_BY, only_own=True)
        return [policy["clinic_id"] for policy in missing], len(published)

    clinics, template_records = in_database(settings, seed)
    click.echo(f"policies: {', '.join(clinics) or 'nothing'} added; templates: {template_records} records published")
