"""Notifications listed and followed over HTTP: filters, pages, whose they are."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from connectors.accounting import State
from connectors.explaining import listed
from connectors.postgres import keys, policies
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api, Caller, api_on, clickhouse_with
from tests.integration.api.people import CLINIC, patient
from tests.integration.api.test_explanations import NOW, Recorded, explanation
from tests.integration.api.test_sending import free, post

pytestmark = pytest.mark.integration

PATH = "/v1/notifications"


async def ids(caller: Caller, **query: Any) -> list[str]:
    """Every page's, one after the other."""
    found: list[str] = []
    before: dict[str, str] = {}
    while True:
        text = "&".join(f"{name}={value}" for name, value in (query | before).items())
        page = await caller("GET", f"{PATH}?{text}")
        assert page.status == 200, page.json
        found += [one["notificationId"] for one in page.json["notifications"]]
        if page.json["next"] is None:
            return found
        before = {"before": page.json["next"]}


async def zones(pool: Pool, records: Records) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "*", "time_zone": "UTC"}, "test")


async def test_listed_by_what_they_are_and_for_whom(
    settings: Settings, pool: Pool, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    await zones(pool, records)
    jane, joan, gone = [await patient(pool, records) for _ in range(3)]
    recorded = Recorded()
    hers = [recorded.notification(f"patient:{jane}", minutes_ago=minutes) for minutes in range(1, 6)]
    others = [recorded.notification(f"patient:{joan}", minutes_ago=minutes) for minutes in range(6, 9)]
    elsewhere = recorded.notification(f"patient:{jane}", "c2", minutes_ago=9)
    recorded.notification(f"patient:{gone}", minutes_ago=10)
    old = recorded.notification(f"patient:{jane}", minutes_ago=60 * 24 * 9)
    async with pool.connection() as connection:
        await keys.erase(connection, records, f"patient:{gone}", "test")
    # Small enough that pages end in the middle of what is looked at.
    monkeypatch.setattr(listed, "LOOKED_AT_ONCE", 3)
    monkeypatch.setattr(listed, "MOST_LOOKED_AT", 6)
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            desk = api.caller("staff", "s", CLINIC)
            assert await ids(desk, limit=2) == [*hers, *others]  # erased people are nobody's
            assert await ids(desk, limit=100) == [*hers, *others]
            assert await ids(api.caller("admin", "a", "*")) == [*hers, *others, elsewhere]
            assert await ids(api.caller("patient", jane)) == [*hers, elsewhere]
            assert await ids(desk, recipient=f"patient:{joan}") == others
            assert await ids(desk, state="delivered", limit=4) == [*hers, *others]
            assert await ids(desk, state="failed") == []
            assert await ids(desk, channel="email") == [*hers, *others]
            assert await ids(desk, channel="sms") == []
            assert await ids(desk, type="appointment_confirmation") == [*hers, *others]
            assert await ids(desk, type="no_such_type") == []
            assert await ids(desk, about="appointment:A-1") == [*hers, *others]
            assert await ids(desk, about="waitlist:A-1") == []
            assert await ids(desk, about="appointment:A:1") == []
            now = datetime.now(UTC).replace(tzinfo=None)
            long_ago = f"{(now - timedelta(days=30)).isoformat()}Z"
            assert await ids(desk, since=long_ago, until=f"{(now - timedelta(days=8)).isoformat()}Z") == [old]

            (first, *_) = (await desk("GET", f"{PATH}?limit=1")).json["notifications"]
            assert (first["state"], first["channels"], first["recipient"]) == (
                "delivered",
                ["email"],
                f"patient:{jane}",
            )
            assert "arrived by email at" in first["sentence"]

            for caller, query, status in (
                (api.caller("patient", joan), f"recipient=patient:{jane}", 404),
                (api.caller("marketing", "m", CLINIC), "", 404),
                (api.stranger(), "", 401),
                (desk, "state=lost", 422),
                (desk, "channel=fax", 422),
                (desk, "recipient=jane", 422),
                (desk, "before=x", 422),
                (desk, "about=a-1", 422),
                (desk, "about=appointment:", 422),
                (desk, "about=spaceship:a-1", 422),
                (desk, "since=yesterday", 422),
                (desk, "limit=0", 422),
                (desk, f"type={'x' * 201}", 422),
            ):
                assert (await caller("GET", f"{PATH}?{query}")).status == status, query


async def test_one_from_beginning_to_end(settings: Settings, pool: Pool, records: Records) -> None:
    await zones(pool, records)
    id_ = await patient(pool, records)
    recorded = Recorded()
    ours = recorded.notification(f"patient:{id_}")
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            desk = api.caller("staff", "s", CLINIC)
            told = await desk("GET", f"{PATH}/{ours}")
            assert told.status == 200, told.json
            assert [(step["kind"], step["code"]) for step in told.json["timeline"]] == [
                *(("asked", "appointment.created"), ("decided", "deliver"), ("message", "")),
                *(("status", "sent"), ("status", "delivered")),
            ]
            assert told.json["timeline"][-1]["sentence"] == "The email arrived."
            assert (await api.caller("patient", id_)("GET", f"{PATH}/{ours}")).json == told.json
            for caller, asked in (
                (api.caller("staff", "s", "c2"), ours),
                (api.caller("patient", "x"), ours),
                (api.caller("marketing", "m", CLINIC), ours),
                (desk, str(uuid.uuid4())),
                (desk, "x"),
            ):
                assert (await caller("GET", f"{PATH}/{asked}")).status == 404


async def test_every_state_is_served_and_can_be_asked_for(settings: Settings, pool: Pool, records: Records) -> None:
    await zones(pool, records)
    id_ = await patient(pool, records)
    recorded = Recorded()
    ways = {
        "waiting": ("queued",),
        "sent": ("queued", "sending", "sent"),
        "unknown": ("queued", "sending", "unknown"),
        "failed": ("queued", "sending", "failed"),
        "suppressed": ("queued", "suppressed"),
        "delivered": ("queued", "sending", "sent", "delivered"),
    }
    made = {
        state: recorded.notification(f"patient:{id_}", minutes_ago=minutes, statuses=statuses)
        for minutes, (state, statuses) in enumerate(ways.items(), start=1)
    }
    asked = recorded.rows["raw_notification_request"][-1]
    for minutes, state in enumerate(("undecided", "dead_letter"), start=len(made) + 1):
        made[state], at = str(uuid.uuid4()), (NOW - timedelta(minutes=minutes)).isoformat()
        recorded.add("notification_request", asked | {"notification_id": made[state], "requested_at": at})
    for code in ("plan_exhausted", "unknown_zone"):
        recorded.add("dead_letter", {"notification_id": made["dead_letter"], "error_code": code, "recorded_at": at})
    assert made.keys() == set(get_args(State))
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            desk = api.caller("staff", "s", CLINIC)
            assert await ids(desk) == list(made.values())
            for state, one in made.items():
                assert await ids(desk, state=state) == [one]
                for path in (f"{PATH}/{one}", explanation(one)):
                    told = await desk("GET", path)
                    assert (told.status, told.json["state"]) == (200, state), (path, told.json)


@pytest.mark.usefixtures("relay")
async def test_what_was_just_sent_is_found_where_its_answer_says(
    settings: Settings, pool: Pool, records: Records
) -> None:
    await zones(pool, records)
    id_ = await patient(pool, records)
    with clickhouse_with(settings, {}) as whole:
        async with api_on(whole) as api:
            desk = api.caller("staff", "s", CLINIC)
            location = (await post(desk, free(id_))).headers["Location"]
            told = await desk("GET", location)
            assert (told.status, told.json["state"]) == (200, "undecided")
            assert [step["kind"] for step in told.json["timeline"]] == ["asked"]
            assert (await api.caller("staff", "s", "c2")("GET", location)).status == 404


async def test_clickhouse_away_is_said(api: Api) -> None:
    for path in (PATH, f"{PATH}/{uuid.uuid4()}"):
        reply = await api.caller("staff", "s", CLINIC)("GET", path)
        assert (reply.status, bool(reply.headers["Retry-After"])) == (503, True)
