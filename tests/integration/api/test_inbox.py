"""The inbox over HTTP: pages, counts, search, marks, alerts; one's own only, and nothing of what it says in an address."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from connectors.postgres import inbox_arrivals
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api, Caller, api_on
from tests.integration.api.inboxes import arrival, person
from tests.integration.api.people import CLINIC

pytestmark = pytest.mark.integration

INBOX = "/v1/inbox"


def caller_of(api: Api, recipient: str, *clinics: str) -> Caller:
    kind, _, id_ = recipient.partition(":")
    return api.caller("patient" if kind == "patient" else "staff", id_, *clinics)


async def test_pages_counts_and_one_item_in_full(api: Api, pool: Pool, records: Records) -> None:
    recipient, key = await person(pool, records)
    data = {"actions": '[{"name": "confirm", "label": "Confirm"}]', "auto_dismiss_seconds": "10"}
    items = [arrival(records, recipient, key, f"Number {n}", html="Room: 3", data=data) for n in range(5)]
    await inbox_arrivals.put(pool, records, items)
    jane = caller_of(api, recipient)
    first = (await jane("GET", f"{INBOX}?limit=3")).json
    assert [item["title"] for item in first["items"]] == ["Number 4", "Number 3", "Number 2"]
    assert (first["unread"], first["unseen"], first["version"]) == (5, 5, 5)
    second = (await jane("GET", f"{INBOX}?limit=3&cursor={first['next']}")).json
    assert [item["title"] for item in second["items"]] == ["Number 1", "Number 0"]
    assert second["next"] is None
    one = second["items"][0]
    assert "detail" not in one
    assert (one["about"], one["group"]) == ({"type": "appointment", "id": "a1"}, "appointment:a1")
    assert (one["actions"], one["autoDismissSeconds"]) == ([{"name": "confirm", "label": "Confirm"}], 10)
    whole = await jane("GET", f"{INBOX}/items/{one['id']}")
    assert (whole.json["detail"], whole.json["readAt"]) == ("Room: 3", None)
    assert (await jane("GET", f"{INBOX}/items/{one['id']}", If_None_Match=whole.etag)).status == 304
    assert (await jane("GET", f"{INBOX}/count")).json == {"unread": 5, "unseen": 5, "version": 5}


async def test_each_mark(api: Api, pool: Pool, records: Records) -> None:
    recipient, key = await person(pool, records)
    items = [arrival(records, recipient, key, f"Number {n}", group_key=f"appointment:a{n % 2}") for n in range(4)]
    await inbox_arrivals.put(pool, records, items)
    jane = caller_of(api, recipient)
    item = f"{INBOX}/items/{items[0].notification_id}"

    async def open_titles(query: str = "") -> list[str]:
        return [one["title"][-1] for one in (await jane("GET", f"{INBOX}{query}")).json["items"]]

    read = (await jane("POST", f"{item}/read")).json
    assert read["readAt"] is not None
    assert (await jane("POST", f"{item}/read")).json == read
    assert await open_titles("?unread=true") == ["3", "2", "1"]
    assert (await jane("DELETE", f"{item}/read")).json["readAt"] is None
    assert (await jane("POST", f"{item}/archive")).json["archivedAt"] is not None
    assert (await open_titles(), await open_titles("?view=archived")) == (["3", "2", "1"], ["0"])
    assert (await jane("DELETE", f"{item}/archive")).json["archivedAt"] is None
    until = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    snoozed = await jane("POST", f"{item}/snooze", {"until": until.isoformat()})
    assert datetime.fromisoformat(snoozed.json["snoozedUntil"]) == until
    assert (await open_titles(), await open_titles("?view=snoozed")) == (["3", "2", "1"], ["0"])
    assert (await jane("DELETE", f"{item}/snooze")).json["snoozedUntil"] is None
    assert await open_titles("?group=appointment:a1") == ["3", "1"]
    groups = (await jane("GET", f"{INBOX}/groups")).json["groups"]
    assert [(group["group"], group["items"], group["latest"]["title"]) for group in groups] == [
        ("appointment:a1", 2, "Number 3"),
        ("appointment:a0", 2, "Number 2"),
    ]
    seen = (await jane("POST", f"{INBOX}/seen", {"upTo": 3})).json
    assert (seen["changed"], seen["unread"], seen["unseen"]) == (2, 4, 1)
    everything = (await jane("POST", f"{INBOX}/read", {"upTo": 3})).json
    assert (everything["changed"], everything["unread"]) == (3, 1)
    with_past = await jane("POST", f"{item}/snooze", {"until": "2020-01-01T00:00:00Z"})
    assert (with_past.status, with_past.fields) == (422, ["until"])
    assert (await jane("POST", f"{item}/acknowledge")).status == 409


async def test_words_are_found_whatever_their_case_and_accents_among_the_newest(
    settings: Settings, pool: Pool, records: Records
) -> None:
    recipient, key = await person(pool, records)
    texts = ["Botox, Dr. Núñez", "Ihre Rechnung für Dezember", "Laser", "Botox again"]
    items = [
        arrival(records, recipient, key, "A title", body=text, html="Zimmer Größe" if text == "Laser" else None)
        for text in texts
    ]
    await inbox_arrivals.put(pool, records, items)
    async with api_on(settings.model_copy(update={"inbox_search_items": 3})) as api:
        jane = caller_of(api, recipient)

        async def found(words: str, cursor: str | None = None) -> tuple[list[str], int, str | None]:
            reply = (await jane("POST", f"{INBOX}/search", {"words": words, "cursor": cursor})).json
            return [item["body"] for item in reply["items"]], reply["searched"], reply["next"]

        assert await found("BOTOX") == (["Botox again"], 3, "2")
        assert await found("botox nunez", "2") == (["Botox, Dr. Núñez"], 1, None)
        assert await found("grosse") == (["Laser"], 3, "2")
        assert await found("fur rechnung") == (["Ihre Rechnung für Dezember"], 3, "2")
        assert (await jane("POST", f"{INBOX}/search", {"words": ""})).status == 422


async def test_a_shared_alert_is_taken_by_the_first_and_gone_for_all(api: Api, pool: Pool, records: Records) -> None:
    event = str(uuid.uuid4())
    people = [await person(pool, records, "staff") for _ in range(2)]
    alerts = [
        arrival(
            *(records, recipient, key, "Assistance needed"),
            event_id=event,
            notification_type="provider_assistance_needed",
            acknowledge="shared",
        )
        for recipient, key in people
    ]
    await inbox_arrivals.put(pool, records, alerts)
    ana, ben = (caller_of(api, recipient, CLINIC) for recipient, _ in people)
    taken = (await ana("POST", f"{INBOX}/items/{alerts[0].notification_id}/acknowledge")).json
    assert (taken["acknowledgedBy"], taken["acknowledgedAt"] is not None) == (people[0][0], True)
    for someone in (ana, ben):
        assert (await someone("GET", INBOX)).json["items"] == []
    late = (await ben("POST", f"{INBOX}/items/{alerts[1].notification_id}/acknowledge")).json
    assert late["acknowledgedBy"] == people[0][0]


async def test_nobody_sees_anothers_and_staff_only_their_clinics(api: Api, pool: Pool, records: Records) -> None:
    recipient, key = await person(pool, records)
    one = arrival(records, recipient, key)
    member, staff_key = await person(pool, records, "staff")
    await inbox_arrivals.put(pool, records, [one, arrival(records, member, staff_key)])
    other = api.caller("patient", "somebody-else")
    assert (await other("GET", f"{INBOX}/items/{one.notification_id}")).status == 404
    assert (await other("POST", f"{INBOX}/items/{one.notification_id}/read")).status == 404
    assert (await other("GET", INBOX)).json["items"] == []
    assert (await api.caller("service", "s", "*")("GET", INBOX)).status == 404
    assert len((await caller_of(api, member, CLINIC)("GET", INBOX)).json["items"]) == 1
    assert (await caller_of(api, member, "elsewhere")("GET", INBOX)).json["items"] == []
    assert (await api.stranger()("GET", INBOX)).status == 401


async def test_who_has_no_key_any_more_has_an_empty_inbox(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    recipient, key = await person(pool, records)
    one = arrival(records, recipient, key)
    await inbox_arrivals.put(pool, records, [one])
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("DELETE FROM data_keys WHERE subject = %s", (recipient,))
    jane = caller_of(api, recipient)
    assert (await jane("GET", INBOX)).json["items"] == []
    assert (await jane("GET", f"{INBOX}/items/{one.notification_id}")).status == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("view=deleted", "view"),
        ("unread=yes", "unread"),
        ("cursor=x", "cursor"),
        ("group=", "group"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(api: Api, query: str, field: str) -> None:
    reply = await api.caller("patient", "p")("GET", f"{INBOX}?{query}")
    assert (reply.status, reply.fields) == (422, [field])


async def test_many_who_mark_at_once_agree(api: Api, pool: Pool, records: Records) -> None:
    recipient, key = await person(pool, records)
    items = [arrival(records, recipient, key) for _ in range(20)]
    await inbox_arrivals.put(pool, records, items)
    jane = caller_of(api, recipient)
    steps = ["read", "archive"] * 10
    replies = await asyncio.gather(
        *(jane("POST", f"{INBOX}/items/{one.notification_id}/{step}") for one, step in zip(items, steps, strict=True)),
        jane("POST", f"{INBOX}/read", {"upTo": 20}),
    )
    assert {reply.status for reply in replies} == {200}
    left = (await jane("GET", INBOX)).json
    assert (len(left["items"]), left["unread"]) == (10, 0)
