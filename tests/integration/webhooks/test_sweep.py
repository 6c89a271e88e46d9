"""A text that reached Twilio and not us is taken by the sweep, once, as if the webhook had taken it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from connectors.metrics.requests import SOURCES
from connectors.metrics.swept import SWEEPS_CUT
from connectors.providers.outcome import Refused
from connectors.settings import Settings
from connectors.webhooks import sweep as sweep_module
from connectors.webhooks.app import INBOUND_DESK, SWEEP
from connectors.webhooks.inbound import Inbound
from connectors.webhooks.sweeping import GRACE
from tests.integration.sinks.rig import loopback
from tests.integration.webhooks.conftest import Phone, Register, World, serving
from tests.integration.webhooks.test_inbound import MARKETING, new_number

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("relay")]

SERVICE, IN_SERVICE = "MG0123456789abcdef0123456789abcdef", "+15005550017"


async def lost(url: str, number: str, to: str, body: str) -> str:
    """A text that the provider took while nobody of ours answered; its sid."""
    said = {"from": number, "to": to, "body": body, "handled": False}
    answer = await asyncio.to_thread(requests.post, f"{url}/inbound", json=said, timeout=20)
    assert answer.status_code == 502
    return str(answer.json()["message_sid"])


async def sweep(phone: Phone, hours: int) -> int:
    """As of so many hours from now: what came a moment ago is old enough then."""
    while True:
        taken: int | None = await phone.client.app[SWEEP].once(datetime.now(UTC) + timedelta(hours=hours))
        if taken is not None:  # the process' own first sweep may be at it
            return taken
        await asyncio.sleep(0.05)


async def test_what_came_while_we_were_away_is_taken_once(
    settings: Settings, register: Register, world: World, tmp_path: Path
) -> None:
    asking, stopping, undecided = new_number(), new_number(), new_number()
    patient = await register(asking)
    await register(stopping)
    with loopback(tmp_path / "provider", settings.webhook_port, "--messaging-service", f"{SERVICE}={IN_SERVICE}") as (
        url,
        _,
    ):
        ours = settings.model_copy(
            update={"twilio_base_url": url, "inbound_sweep_seconds": 3600, "twilio_care_sender": SERVICE}
        )
        words = await lost(url, asking, IN_SERVICE, "Can I come at five?")
        stop = await lost(url, stopping, MARKETING, "STOP")
        start = await lost(url, undecided, MARKETING, "START")
        async with serving(ours) as phone:
            assert (await phone.text(undecided, MARKETING, "STOP"))[0] == 200
            # Whoever has heard of it just now may be at it still.
            assert not await phone.client.app[SWEEP].once(datetime.now(UTC) - GRACE)
            assert world.events(words) == []
            assert await sweep(phone, hours=2) == 3
            assert [(event["body"], event["patient_id"]) for event in world.events(words)] == [
                ("Can I come at five?", patient.partition(":")[2])
            ]
            assert await world.shut(stopping) == {"marketing"}
            # She said no after her yes, and that was heard first: it stands, and people read the other.
            assert await world.shut(undecided) == {"marketing"}
            assert [event["body"] for event in world.events(start)] == ["START"]
            assert await sweep(phone, hours=4) == 0
            # Twilio's own post comes after all.
            assert (await phone.text(asking, IN_SERVICE, "Can I come at five?", sid=words))[0] == 200
            assert (await phone.text(stopping, MARKETING, "STOP", sid=stop))[0] == 200
            assert len(world.events(words)) == 1
            assert await world.rows("SELECT count(*) FROM opt_outs WHERE message_id = %s", stop) == [(1,)]
            # What the webhook took is none of the sweep's.
            assert (await phone.text(asking, IN_SERVICE, "Or six?"))[0] == 200
            assert await sweep(phone, hours=6) == 0


async def test_a_late_start_holds_where_no_stop_came_after_it(phone: Phone, register: Register, world: World) -> None:
    number = new_number()
    await register(number)
    assert (await phone.text(number, MARKETING, "STOP"))[0] == 200
    now = datetime.now(UTC)
    form = {"MessageSid": f"SM{number[1:]}", "From": number, "To": MARKETING, "Body": "START"}
    await phone.client.app[INBOUND_DESK].take(Inbound.read(form, said_at=now + timedelta(seconds=5)), now)
    assert await world.shut(number) == set()


async def test_what_cannot_be_asked_is_asked_again_from_there(settings: Settings, tmp_path: Path, world: World) -> None:
    number = new_number()
    with loopback(tmp_path / "provider", settings.webhook_port) as (url, _):
        sid = await lost(url, number, MARKETING, "hello")
        ours = settings.model_copy(update={"twilio_base_url": url, "inbound_sweep_seconds": 3600})
        refused = ours.model_copy(update={"twilio_auth_token": SecretStr("another account's")})
        async with serving(refused) as phone:
            before = await world.rows("SELECT through, swept_at FROM inbound_sweep")
            with pytest.raises(Refused, match="account: code 20003, HTTP status 401"):
                await sweep(phone, hours=2)
            assert await world.rows("SELECT through, swept_at FROM inbound_sweep") == before
        # A messaging service that the account does not have keeps nobody's texts waiting.
        async with serving(ours.model_copy(update={"twilio_care_sender": SERVICE})) as phone:
            assert await sweep(phone, hours=2) == 1
    assert [event["body"] for event in world.events(sid)] == ["hello"]


async def test_a_number_that_is_flooded_is_told_of(
    settings: Settings, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More of them within the shortest time that is asked about than one answer holds."""
    monkeypatch.setattr(sweep_module, "MOST_TEXTS", 1)
    monkeypatch.setattr(sweep_module, "SHORTEST_SLICE", timedelta(hours=1))
    with loopback(tmp_path / "provider", settings.webhook_port) as (url, _):
        numbers = [new_number(), new_number()]
        sids = [await lost(url, number, MARKETING, "hello") for number in numbers]
        ours = settings.model_copy(update={"twilio_base_url": url, "inbound_sweep_seconds": 3600})
        async with serving(ours) as phone:
            assert await sweep(phone, hours=2) == 1
            assert cuts(phone) >= 1
    assert "got 1 texts or more" in caplog.text
    assert not any(number in caplog.text for number in numbers)
    assert [len(world.events(sid)) for sid in sids] == [0, 1]  # the newest


def cuts(phone: Phone) -> float:
    """``luxe_inbound_sweeps_cut_total``, as Prometheus reads it."""
    assert phone.client.app is not None
    (source,) = [one for one in phone.client.app[SOURCES] if one.metric is SWEEPS_CUT]
    return float(sum(one.value for one in source.family().samples if one.name.endswith("_total")))
