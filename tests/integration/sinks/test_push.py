"""What only push has: several devices a person, some of them gone, and a payload that anybody may see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.postgres.pool import open_pool
from connectors.postgres.recipients import Recipient, get_many, upsert_many
from tests.integration.api.conftest import api_on
from tests.integration.sinks.outgoing import CLINIC, Outbox
from tests.integration.sinks.rig import Rig, wait_for
from tests.integration.sinks.test_conformance import gate, shut

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _push(rig: Rig) -> None:
    rig.ensure("push")


def devices_of(rig: Rig, outbox: Outbox, recipient: str) -> list[str]:
    async def read() -> list[str]:
        async with open_pool(rig.settings, "tests", size=1) as pool, pool.connection() as connection:
            found = await get_many(connection, outbox.records, [recipient])
            return [device["token"] for device in found[recipient].content["devices"]]

    return asyncio.run(read())


def with_devices(rig: Rig, outbox: Outbox, name: str, *tokens: str) -> str:
    """Somebody whose app is on these devices, or whose browser."""
    recipient = f"patient:{name}"
    devices = [
        {"token": one, "platform": "web" if one.startswith("browser") else "ios", "registered_at": datetime.now(UTC)}
        for one in tokens
    ]
    content: dict[str, Any] = {"devices": devices}

    async def store() -> None:
        async with open_pool(rig.settings, "tests", size=1) as pool, pool.connection() as connection:
            await upsert_many(connection, outbox.records, [Recipient(recipient, CLINIC, content)], "tests")
        await outbox.make_keys([recipient])

    asyncio.run(store())
    return recipient


def test_every_device_gets_it_and_one_that_is_gone_is_forgotten(rig: Rig, outbox: Outbox) -> None:
    tokens = ("phone:several", "tablet:several", "gone:several")
    recipient = with_devices(rig, outbox, "several", *tokens)
    rig.provider.misbehave("gone:several", kind="fcm_error", code="UNREGISTERED")
    message = outbox.outgoing("push", recipient, {"to": " ".join(tokens)})
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert (end["status"], end["provider_status"]) == ("sent", "2/3")
    assert [len(rig.provider.messages(token)) for token in tokens] == [1, 1, 0]
    assert end["provider_message_id"] == rig.provider.messages(tokens[0])[0]["id"]
    wait_for(lambda: devices_of(rig, outbox, recipient) == ["phone:several", "tablet:several"])


def test_when_no_device_is_left_it_fails_for_good(rig: Rig, outbox: Outbox) -> None:
    recipient = with_devices(rig, outbox, "removed", "phone:removed", "not/a/token")
    rig.provider.misbehave("phone:removed", kind="fcm_error", code="UNREGISTERED")
    message = outbox.outgoing("push", recipient, {"to": "phone:removed not/a/token"})
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert (end["status"], end["error_class"], end["retry_at"]) == ("failed", "permanent_recipient", None)
    wait_for(lambda: devices_of(rig, outbox, recipient) == [])


def test_a_device_that_may_come_back_is_kept_and_tried_again(rig: Rig, outbox: Outbox) -> None:
    recipient = with_devices(rig, outbox, "away", "phone:away", "gone:away")
    rig.provider.misbehave("phone:away", kind="status", status=503)
    rig.provider.misbehave("gone:away", kind="fcm_error", code="UNREGISTERED")
    message = outbox.outgoing("push", recipient, {"to": "phone:away gone:away"})
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert (end["status"], end["error_class"]) == ("failed", "transient")
    assert end["retry_at"] is not None
    wait_for(lambda: devices_of(rig, outbox, recipient) == ["phone:away"])


def test_a_device_that_is_somebody_elses_by_now_shows_nothing_of_what_was_rendered_before(
    rig: Rig, outbox: Outbox
) -> None:
    before = with_devices(rig, outbox, "signed-out", "phone:kept")
    message = outbox.outgoing("push", before, {"to": "phone:kept phone:shared"})
    with_devices(rig, outbox, "signed-in", "phone:shared")
    alone = outbox.outgoing("push", before, {"to": "phone:shared"})
    outbox.send_as_it_is([message, alone])
    assert rig.eye.end(message.id)["provider_status"] == "1/1"
    end = rig.eye.end(alone.id)
    assert (end["status"], end["error_class"], end["error_code"]) == ("failed", "permanent_recipient", "no_address")
    assert [len(rig.provider.messages(token)) for token in ("phone:kept", "phone:shared")] == [1, 0]


def test_a_shut_gate_of_one_device_leaves_the_others(rig: Rig, outbox: Outbox, patient: str) -> None:
    message = outbox.outgoing("push", patient, {"to": "phone:open tablet:shut"})
    key = f"address:push:*:{outbox.records.ring.address_hash('push', 'tablet:shut')}"
    shut(rig, outbox, "push", gate(key, "manual"), key)
    outbox.send([message])
    assert rig.eye.end(message.id)["provider_status"] == "1/1"
    assert [len(rig.provider.messages(token)) for token in ("phone:open", "tablet:shut")] == [1, 0]


def test_the_payload_is_ids_and_a_text_for_lock_screens_and_a_repetition_replaces_it(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    data = {"notification_id": "n", "notification_type": "message_received"}
    limits = {"expires_at": datetime.now(UTC) + timedelta(hours=1)}
    message = outbox.outgoing("push", patient, {"data": data, "subject": "A new message"}, lane="critical", **limits)
    outbox.send([message])
    rig.eye.end(message.id)
    sent = rig.provider.messages(str(message.content["to"]))[0]["payload"]["message"]
    ident = message.message["notification_id"]
    assert sent["data"] == {**data, "delivery_id": message.id, "deep_link": f"luxe://notifications/{ident}"}
    assert (sent["android"]["priority"], sent["apns"]["headers"]["apns-priority"]) == ("high", "10")
    assert 3500 < float(sent["android"]["ttl"].rstrip("s")) <= 3600
    assert {
        sent["android"]["collapse_key"],
        sent["android"]["notification"]["tag"],
        sent["apns"]["headers"]["apns-collapse-id"],
        sent["webpush"]["notification"]["tag"],
    } == {ident}
    assert patient not in str(sent)


def in_inbox(rig: Rig, outbox: Outbox, recipient: str, count: int) -> list[str]:
    """So many new items of an inbox; their notifications' ids."""
    rig.ensure("in_app")
    items = [outbox.outgoing("in_app", recipient) for _ in range(count)]
    outbox.send(items)
    for item in items:
        rig.eye.status(item.id, "delivered")
    return [item.message["notification_id"] for item in items]


def test_badges_show_what_is_unread_at_that_moment_and_stay_as_they_are_where_there_is_no_inbox(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    stranger = with_devices(rig, outbox, "without-inbox", "phone:without")
    in_inbox(rig, outbox, patient, 2)
    theirs = outbox.outgoing("push", patient)
    others = outbox.outgoing("push", stranger, {"to": "phone:without"})
    outbox.send([theirs, others])
    sent = []
    for message in (theirs, others):
        rig.eye.end(message.id)
        sent.append(rig.provider.messages(str(message.content["to"]))[0]["payload"]["message"])
    assert [one["apns"]["payload"]["aps"].get("badge") for one in sent] == [2, None]
    assert [one["android"]["notification"].get("notification_count") for one in sent] == [2, None]
    assert [one["data"].get("badge") for one in sent] == ["2", None]


def test_what_is_read_elsewhere_is_told_to_each_device_once_with_the_count_of_then(rig: Rig, outbox: Outbox) -> None:
    tokens = ("phone:synced", "tablet:synced", "gone:synced", "browser:synced")
    reader = with_devices(rig, outbox, "synced", *tokens)
    silenced = with_devices(rig, outbox, "silenced", "phone:silenced")
    rig.provider.misbehave("gone:synced", kind="fcm_error", code="UNREGISTERED")
    shut(
        rig,
        outbox,
        "push",
        gate(f"consent:{silenced}:push_notifications", "opted_out"),
        f"consent:{silenced}:push_notifications",
    )
    inboxes = {person: in_inbox(rig, outbox, person, 3) for person in (reader, silenced)}
    rig.end("push")

    async def read_two() -> None:
        async with api_on(rig.settings) as api:
            for person, items in inboxes.items():
                caller = api.caller("patient", person.partition(":")[2])
                for item in items[:2]:
                    assert (await caller("POST", f"/v1/inbox/items/{item}/read")).status == 200

    asyncio.run(read_two())
    rig.start("push")
    wait_for(lambda: devices_of(rig, outbox, reader) == ["phone:synced", "tablet:synced", "browser:synced"])
    taken = {token: rig.provider.messages(token) for token in (*tokens, "phone:silenced")}
    assert [len(messages) for messages in taken.values()] == [1, 1, 0, 0, 0]
    for token in tokens[:2]:
        sent = taken[token][0]["payload"]["message"]
        assert "notification" not in sent
        assert sent["data"] == {"sync": "inbox", "badge": "1"}
        assert sent["apns"]["headers"]["apns-push-type"] == "background"
    # It is no delivery.
    assert not [
        one
        for statuses in rig.eye.statuses.values()
        for one in statuses
        if one["recipient"] == reader and one["channel"] == "push"
    ]
