"""Policies and templates: published with their change, once, and the key for people without a record."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from connectors.postgres import policies, templates
from connectors.postgres.policies import PolicyError
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.postgres.templates import TemplateError
from connectors.sealing import ensure_key_ring
from connectors.sealing.sealed import SealError
from connectors.settings import Settings
from schemas.codec import CodecError
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

POLICY: dict[str, Any] = {
    "clinic_id": "c1",
    "name": "Luxe",
    "time_zone": "America/New_York",
    "holidays": [date(2026, 12, 25)],
    "quiet_hours": {"start": "21:00", "end": "08:00"},
    "service_names": {"Botox": "injectable"},
}
TEMPLATE: dict[str, Any] = {
    "template_id": "welcome",
    "channel": "sms",
    "locale": "en",
    "name": "Welcome",
    "category": "transactional",
    "subject": None,
    "body": "Welcome, {{ first_name }}",
    "html": None,
    "variables": [{"name": "first_name", "type": "string", "example": "Ann"}],
}


async def put(pool: Pool, records: Records, policy: dict[str, Any]) -> policies.PolicyWritten:
    async with pool.connection() as connection:
        return await policies.put(connection, records, policy, "tester")


async def publish(pool: Pool, records: Records, template: dict[str, Any], by: str = "luxe") -> int:
    async with pool.connection() as connection:
        return len(await templates.publish(connection, records, [template], by, only_own=by == "luxe"))


async def test_a_policy_is_published_whole_and_only_when_it_changes(
    pool: Pool, records: Records, outbox: Outbox
) -> None:
    assert (await put(pool, records, POLICY)).version == 1
    assert (await put(pool, records, POLICY)).outbox_ids == []
    assert (await put(pool, records, POLICY | {"name": "Luxe Spa"})).version == 2
    first, second = (record for _, record in outbox.take("policies"))
    assert first is not None
    assert second is not None
    assert (first["holidays"], first["quiet_hours"]["end"], first["locale"]) == ([date(2026, 12, 25)], "08:00", "en-US")
    assert (second["name"], second["version"]) == ("Luxe Spa", 2)
    assert first["wrapped_key"] == second["wrapped_key"]


async def test_strangers_have_their_clinics_key_or_the_systems(pool: Pool, records: Records) -> None:
    with pytest.raises(LookupError, match="luxe up"):
        await policies.wrapped_key(pool, "c1")
    await put(pool, records, POLICY | {"clinic_id": "*"})
    await put(pool, records, POLICY)
    wrapped, clinic_id = await policies.wrapped_key(pool, "c1")
    assert (clinic_id, records.ring.unwrap(wrapped, "clinic:c1", "c1").scope) == ("c1", "c")
    assert (await policies.wrapped_key(pool, "elsewhere"))[1] == "*"


async def test_another_installations_ring_is_noticed_before_anything_is_sealed(
    pool: Pool, records: Records, settings: Settings
) -> None:
    await put(pool, records, POLICY)
    settings.kek_path.unlink()
    foreign = Records(ensure_key_ring(settings), records.codec)
    with pytest.raises(SealError, match="another installation"):
        await put(pool, foreign, POLICY)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"time_zone": "New York"}, "time_zone"),
        ({"quiet_hours": {"start": "9pm", "end": "08:00"}}, "quiet_hours.start"),
        ({"disabled_channels": ["fax"]}, "disabled_channels"),
        ({"name": None}, "name"),
    ],
)
async def test_an_impossible_policy_is_refused(
    pool: Pool, records: Records, outbox: Outbox, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises((PolicyError, CodecError), match=named):
        await put(pool, records, POLICY | wrong)
    assert outbox.take("policies") == []


async def test_a_changed_template_becomes_the_next_version(pool: Pool, records: Records, outbox: Outbox) -> None:
    assert await publish(pool, records, TEMPLATE) == 1
    assert await publish(pool, records, TEMPLATE) == 0
    assert await publish(pool, records, TEMPLATE | {"body": "Hello"}) == 2
    published = outbox.take("templates")
    assert [(key, record and record["status"]) for key, record in published] == [
        ("welcome/sms/en/1", "active"),
        ("welcome/sms/en/2", "active"),
        ("welcome/sms/en/1", "archived"),
    ]


async def test_the_products_own_texts_never_replace_a_clinics(pool: Pool, records: Records, outbox: Outbox) -> None:
    await publish(pool, records, TEMPLATE)
    await publish(pool, records, TEMPLATE | {"body": "Ours"}, by="clinic")
    assert await publish(pool, records, TEMPLATE | {"body": "From the next release"}) == 0
    active = [record for _, record in outbox.take("templates") if record and record["status"] == "active"]
    assert active[-1]["body"] == "Ours"


async def test_an_impossible_template_is_refused(pool: Pool, records: Records, outbox: Outbox) -> None:
    variables = [{"name": "x", "type": "string", "level": 9}]
    with pytest.raises(TemplateError, match=r"welcome, sms, en: field variables\[0\]\.level"):
        await publish(pool, records, TEMPLATE | {"variables": variables})
    assert outbox.take("templates") == []
