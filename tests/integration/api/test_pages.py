"""A patient says no by a link and by the page: nothing by opening it, everything by posting it, and never before it holds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from api.app import make_app
from connectors.postgres import recipients
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from connectors.unsubscribing.links import Links
from tests.integration.api.conftest import Api
from tests.integration.api.people import patient
from tests.integration.api.test_preferences import MERGE
from tests.integration.stores import relaying

pytestmark = pytest.mark.integration

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
AGREED = {"consent_date": datetime(2026, 3, 1, tzinfo=UTC), "method": "written", "source": "form", "status": "opted_in"}
NOTIFICATION = "6f1d3c0a-7a52-5c1e-9f0e-3b8d2a4c6e10"


class Browser:
    """Opens links and posts forms, without cookies or scripts."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self._client.get(path, headers=headers) as answer:
            assert answer.content_type == "text/html"
            assert not answer.cookies
            return answer.status, await answer.text()

    async def post(self, path: str, form: Any, **headers: str) -> tuple[int, str]:
        async with self._client.post(path, data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303 or answer.content_type == "text/html"
            return answer.status, answer.headers.get("Location") or await answer.text()


@pytest.fixture
async def browser(settings: Settings) -> AsyncIterator[Browser]:
    async with browsing(settings) as opened:
        yield opened


@asynccontextmanager
async def browsing(settings: Settings) -> AsyncIterator[Browser]:
    async with TestClient(TestServer(make_app(settings)), timeout=aiohttp.ClientTimeout(total=90)) as client:
        yield Browser(client)


@pytest.fixture
def links(settings: Settings) -> Links:
    return Links(ensure_key_ring(settings), "", 180)


async def willing(pool: Pool, records: Records, **content: Any) -> str:
    """A patient who said yes to everything; her key."""
    on = dict.fromkeys(("transactional", "clinical", "marketing", "membership", "reviews"), True)
    consents = ("sms_marketing", "email_marketing", "sms_transactional", "email_transactional")
    given = {
        "preferences": {"sms_opt_in": on, "email_opt_in": on, "push_opt_in": {}},
        "consents": [{"consent_type": consent_type, **AGREED} for consent_type in consents],
    }
    return f"patient:{await patient(pool, records, **(given | content))}"


def unsubscribe_link(links: Links, recipient: str, category: str = "marketing") -> str:
    return links.unsubscribe_url(recipient, "email", category, NOTIFICATION, "en-US", datetime.now(UTC))


async def content_of(pool: Pool, records: Records, recipient: str) -> Mapping[str, Any]:
    async with pool.connection() as connection:
        return (await recipients.get_many(connection, records, [recipient]))[recipient].content


async def withdrawn(pool: Pool, records: Records, recipient: str) -> set[str]:
    found = await content_of(pool, records, recipient)
    return {one["consent_type"] for one in found["consents"] if one["status"] == "opted_out"}


async def rows(pool: Pool, query: str, *values: Any) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()


def form_of(html: str) -> dict[str, str]:
    """What a browser would send of a page's form as it stands."""
    form = {}
    for tag in re.findall(r"<input[^>]*>", html):
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        if attributes["type"] not in ("checkbox", "radio") or " checked" in tag:
            form[attributes["name"]] = attributes["value"]
    for name, options in re.findall(r'<select name="([^"]*)".*?>(.*?)</select>', html, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        form[name] = unescape(chosen.group(1)) if chosen else ""
    return form


@pytest.mark.usefixtures("relay")
async def test_opening_a_link_changes_nothing_however_often(
    browser: Browser, links: Links, pool: Pool, records: Records
) -> None:
    recipient = await willing(pool, records)
    before = await content_of(pool, records, recipient)
    link = unsubscribe_link(links, recipient)
    for suffix in ("", "?lang=es", "?List-Unsubscribe=One-Click&scope=everything"):
        assert (await browser.get(link + suffix, **{"User-Agent": "scanner"}))[0] == 200
    assert await content_of(pool, records, recipient) == before
    assert await rows(pool, "SELECT 1 FROM opt_outs") == []


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("multipart", [False, True])
async def test_the_mail_program_s_button_unsubscribes_from_what_the_email_was(
    multipart: bool, browser: Browser, links: Links, pool: Pool, records: Records
) -> None:
    recipient = await willing(pool, records)
    link = unsubscribe_link(links, recipient)
    for _ in range(3):
        form: Any = aiohttp.FormData(ONE_CLICK, default_to_multipart=True) if multipart else ONE_CLICK
        assert (await browser.post(link, form))[0] == 200
    assert await withdrawn(pool, records, recipient) == {"email_marketing"}
    assert await rows(
        pool, "SELECT action, path, actor, recipients, channel, scope, notification_id FROM opt_outs"
    ) == [("out", "one_click", recipient, [recipient], "email", "category:marketing", NOTIFICATION)]
    history = await rows(
        pool, "SELECT status, source, updated_by FROM consents WHERE consent_type = 'email_marketing' ORDER BY id"
    )
    assert history == [("opted_in", "form", "test"), ("opted_out", "one-click unsubscribe", recipient)]
    assert await rows(pool, "SELECT 1 FROM suppressions WHERE gate_key = %s", f"consent:{recipient}:email_marketing")
    assert await rows(pool, "SELECT 1 FROM outbox WHERE published_at IS NULL") == []


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("scope", "category", "closed"),
    [
        ("category", "marketing", {"email_marketing"}),
        ("category", "reviews", set()),
        ("channel", "reviews", {"email_marketing", "email_transactional"}),
        ("everything", "clinical", {"email_marketing", "sms_marketing"}),
    ],
)
async def test_the_page_says_no_to_as_much_as_was_chosen(
    scope: str, category: str, closed: set[str], browser: Browser, links: Links, pool: Pool, records: Records
) -> None:
    recipient = await willing(pool, records)
    link = unsubscribe_link(links, recipient, category)
    html = (await browser.get(link))[1]
    assert form_of(html) == {"scope": "category"}
    assert (await browser.post(link, {"scope": scope}))[0] == 200
    assert await withdrawn(pool, records, recipient) == closed
    preferences = (await content_of(pool, records, recipient))["preferences"]
    assert preferences["email_opt_in"][category] is (
        scope == "channel" or (scope == "everything" and category != "marketing")
    )
    assert (preferences["email_enabled"], preferences["global_opt_out"]) == (scope != "channel", scope == "everything")


@pytest.mark.usefixtures("relay")
async def test_what_is_no_form_changes_nothing(browser: Browser, links: Links, pool: Pool, records: Records) -> None:
    recipient = await willing(pool, records)
    link = unsubscribe_link(links, recipient)
    for form in ({}, {"scope": "all"}, {"List-Unsubscribe": "one-click"}):
        assert (await browser.post(link, form))[0] == 422
    for kind in (
        "application/x-www-form-urlencoded; charset=no-such",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
    ):
        assert (await browser.post(link, b"scope=\xff", **{"Content-Type": kind}))[0] in (400, 422)
    assert await withdrawn(pool, records, recipient) == set()


async def test_links_that_open_nothing(browser: Browser, links: Links, pool: Pool, records: Records) -> None:
    old = links.unsubscribe_url("patient:1", "email", "marketing", "", "en", datetime.now(UTC) - timedelta(days=181))
    for method in (browser.get, lambda path: browser.post(path, ONE_CLICK)):
        assert (await method(old))[0] == 410
        assert (await method("/u/AAAA"))[0] == 404
        assert (await method("/u/" + "A" * 5000))[0] == 404
        assert (await method(links.preferences_url("patient:1", "en", datetime.now(UTC)).replace("/p/", "/u/")))[
            0
        ] == 404
    status, html = await browser.get("/u/x", **{"Accept-Language": "es-MX,es;q=0.9"})
    assert (status, 'lang="es"' in html) == (404, True)


async def test_nobody_is_told_that_it_holds_before_it_is_in_kafka(
    browser: Browser, links: Links, pool: Pool, records: Records, settings: Settings
) -> None:
    recipient = await willing(pool, records)
    link = unsubscribe_link(links, recipient)
    async with browsing(settings.model_copy(update={"api_in_force_seconds": 1.5})) as hasty:
        assert (await hasty.post(link, ONE_CLICK))[0] == 503
        assert (await hasty.post(link, ONE_CLICK))[0] == 503  # stored by the first, and still not in force
    with relaying(settings):
        assert (await browser.post(link, ONE_CLICK))[0] == 200
    assert await withdrawn(pool, records, recipient) == {"email_marketing"}
    assert await rows(pool, "SELECT count(*) FROM opt_outs") == [(1,)]


@pytest.mark.usefixtures("relay")
async def test_somebody_without_a_record_is_heard_by_the_sinks(browser: Browser, links: Links, pool: Pool) -> None:
    link = unsubscribe_link(links, "patient:stranger")
    assert (await browser.get(link))[0] == 200
    assert (await browser.post(link, ONE_CLICK))[0] == 200
    assert await rows(pool, "SELECT gate_key, reason FROM suppressions") == [
        ("consent:patient:stranger:email_marketing", "opted_out")
    ]
    assert await rows(pool, "SELECT 1 FROM recipients") == []


@pytest.mark.usefixtures("relay")
async def test_the_page_of_all_preferences(browser: Browser, links: Links, pool: Pool, records: Records) -> None:
    recipient = await willing(pool, records, locale="es-US")
    path = links.preferences_url(recipient, "es-US", datetime.now(UTC))
    status, html = await browser.get(path)
    assert (status, 'lang="es"' in html) == (200, True)
    form = form_of(html)
    assert form["language"] == "es-US"
    # Saved as it is: nothing changes.
    assert (await browser.post(path, form))[0] == 200
    assert await rows(pool, "SELECT 1 FROM opt_outs") == []
    del form["channels.sms.optIn.marketing"]
    form |= {"quietHours.enabled": "on", "quietHours.start": "21:30", "quietHours.end": "07:00", "language": "en-US"}
    last_day = (datetime.now(UTC) + timedelta(days=9)).date()
    form |= {"doNotDisturb.enabled": "on", "doNotDisturb.until": str(last_day)}
    form |= {"ours.digest.treatments": "on", "ours.digest.hour": "18"}
    status, html = await browser.post(path, form)
    assert (status, 'role="status"' in html) == (200, True)
    content = await content_of(pool, records, recipient)
    assert content["locale"] == "en-US"
    assert content["preferences"]["do_not_disturb_until"].date() - last_day == timedelta(days=1)
    assert (content["preferences"]["digest_categories"], content["preferences"]["digest_hour"]) == (["treatments"], 18)
    assert form_of(html)["doNotDisturb.until"] == str(last_day)
    assert content["preferences"]["sms_opt_in"]["marketing"] is False
    assert (content["preferences"]["quiet_hours"]["start"], content["preferences"]["updated_by"]) == (
        "21:30",
        recipient,
    )
    assert await withdrawn(pool, records, recipient) == {"sms_marketing"}
    assert await rows(pool, "SELECT action, path, scope FROM opt_outs") == [("out", "page", "preferences")]
    # A fresh opt-in, by the words of the page.
    again = form_of(html) | {"channels.sms.optIn.marketing": "on"}
    assert (await browser.post(path, again))[0] == 200
    assert await withdrawn(pool, records, recipient) == set()
    assert (await rows(pool, "SELECT source, text_version FROM consents ORDER BY id DESC LIMIT 1")) == [
        ("preferences page", "preferences-page-1")
    ]


# As older imports left it: what the document cannot say, and what nobody can mend on the page.
IMPORTED: Mapping[str, Any] = {
    "sms_opt_in": {"transactional": False, "marketing": True},
    "email_opt_in": {},
    "push_opt_in": {},
    "quiet_hours": {
        **{"enabled": True, "start": "22:00", "end": "22:00", "weekdays": [0, 6, 6, 9]},
        **{"exceptions": ["Lab results", "lab\n", "lab", "lab"]},
    },
    "channel_order": ["sms", "sms"],
    "digest_categories": ["financial", "financial"],
}


@pytest.mark.usefixtures("relay")
async def test_what_an_older_import_left_keeps_nobody_from_a_no(
    browser: Browser, api: Api, links: Links, pool: Pool, records: Records
) -> None:
    for say_no in ("page", "patch"):
        recipient = await willing(pool, records, preferences=IMPORTED)
        caller = api.caller("patient", recipient.removeprefix("patient:"))
        document = f"/v1/recipients/{recipient.removeprefix('patient:')}/preferences"
        served = await caller("GET", document)
        assert (served.json["ours"]["quietWeekdays"], served.json["quietHours"]["exceptions"]) == ([7, 6], ["lab"])
        if say_no == "page":
            link = links.preferences_url(recipient, "en-US", datetime.now(UTC))
            form = form_of((await browser.get(link))[1])
            del form["channels.sms.enabled"]
            status, _ = await browser.post(link, form)
        else:
            off = {"channels": {"sms": {"enabled": False}}}
            status = (await caller("PATCH", document, off, content_type=MERGE, If_Match=served.etag)).status
        assert status == 200, say_no
        kept = (await content_of(pool, records, recipient))["preferences"]
        assert (kept["sms_enabled"], kept["channel_order"], kept["sms_opt_in"]["transactional"]) == (
            *(False, ["sms"], False),
        )


@pytest.mark.usefixtures("relay")
async def test_two_pages_at_once_lose_nothing(browser: Browser, links: Links, pool: Pool, records: Records) -> None:
    recipient = await willing(pool, records)
    path = links.preferences_url(recipient, "en", datetime.now(UTC))
    _, html = await browser.get(path)
    first, second = form_of(html), form_of(html) | {"frequency.marketing": "never"}
    del first["channels.email.enabled"]
    assert (await browser.post(path, first))[0] == 200
    assert (await browser.post(path, first))[0] == 200  # the same once more is no conflict
    status, html = await browser.post(path, second)
    assert (status, 'role="alert"' in html) == (409, True)
    assert "channels.email.enabled" not in form_of(html)
    assert (await content_of(pool, records, recipient))["preferences"]["frequency_marketing"] == "weekly"


@pytest.mark.usefixtures("relay")
async def test_a_form_that_contradicts_itself_is_shown_again_with_what_was_typed(
    browser: Browser, links: Links, pool: Pool, records: Records
) -> None:
    recipient = await willing(pool, records)
    path = links.preferences_url(recipient, "en", datetime.now(UTC))
    form = form_of((await browser.get(path))[1])
    del form["channels.email.enabled"]
    wrong = form | {"quietHours.enabled": "on", "quietHours.start": "08:00", "quietHours.end": "08:00"}
    status, html = await browser.post(path, wrong)
    assert (status, 'role="alert"' in html, 'href="#quietHours.end"' in html) == (422, True, True)
    assert form_of(html) == wrong
    assert (await browser.post(path, wrong | {"quietHours.start": "25:99"}))[0] == 422
    status, html = await browser.post(path, form | {"doNotDisturb.enabled": "on", "doNotDisturb.until": "2020-01-01"})
    assert (status, 'href="#doNotDisturb.until"' in html) == (422, True)
    for unusable in ({}, {"version": "1"}, form | {"frequency.marketing": "hourly"}, form | {"language": "<b>"}):
        assert (await browser.post(path, unusable))[0] == 400
    assert await rows(pool, "SELECT 1 FROM opt_outs") == []


@pytest.mark.usefixtures("relay")
async def test_the_portal_hands_its_patient_over_and_staff_get_a_link(
    browser: Browser, api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    recipient = await willing(pool, records)
    patient_id = recipient.partition(":")[2]
    caller = api.caller("patient", patient_id)
    status, where = await browser.post("/preferences", {"access_token": caller._token})
    assert status == 303
    assert (await browser.get(where.removeprefix(settings.pages_url)))[0] == 200
    for token in ("", "rubbish", api.caller("staff", "s", "c1")._token):
        assert (await browser.post("/preferences", {"access_token": token}))[0] == 401
    assert (await browser.post("/preferences", {"access_token": api.caller("patient", "nobody")._token}))[0] == 404
    made = await api.caller("staff", "s", "c1")("POST", f"/v1/recipients/{recipient}/preferences/link")
    assert made.status == 201
    assert (await browser.get(made.json["url"].removeprefix(settings.pages_url)))[0] == 200
    assert (await api.caller("staff", "s", "c2")("POST", f"/v1/recipients/{recipient}/preferences/link")).status == 404
