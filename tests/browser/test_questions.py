"""A reminder on the inbox's page, confirmed by its button in a real Chromium: an event for the practice system."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from connectors.postgres import text_questions
from connectors.postgres.text_questions import Meant
from connectors.settings import Settings
from tests.browser.conftest import NARROW, ApiProcess, sign_in, window
from tests.browser.test_inbox_page import CONTRASTS
from tests.browser.test_offers import card
from tests.integration.api.inboxes import Inboxes, arrival, asking, overtaken, person
from tests.integration.stores import relaying

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("relay")]

CONFIRMED = "Thank you, you have confirmed. See you then."
CHANGED = "This appointment was changed or called off. The newest message says how it is."
BEGUN = "It is too late to answer this message. Please call the clinic."


@pytest.fixture
def relay(settings: Settings) -> Iterator[None]:
    with relaying(settings):
        yield


async def said(inboxes: Inboxes, recipient: str, notification_id: str) -> Meant | None:
    async with inboxes.pool.connection() as connection:
        (put,) = await text_questions.put_to(connection, recipient, [notification_id])
    return put.said


async def test_its_button_confirms_without_a_reload_and_every_window_says_so(
    inboxes: Inboxes, api: ApiProcess, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    item, _ = await asking(inboxes.pool, inboxes.records, recipient, key)
    # Its button is for an app: what our page could do with it is nowhere asked.
    told = arrival(inboxes.records, recipient, key, data={"actions": '[{"name": "confirm", "label": "Confirm"}]'})
    token = api.token(recipient)
    async with window(browser) as one, window(browser, viewport=NARROW) as two:
        for page in (one, two):
            await sign_in(page, api, token)
            await page.evaluate("window.same = true")
        await inboxes.put([item, told])
        for page in (one, two):
            await expect(card(page, item).get_by_role("button", name="I will come")).to_be_visible()
            await expect(card(page, told).get_by_role("button", name="I will come")).to_be_hidden()
            await expect(card(page, item).get_by_role("button", name="Claim it")).to_have_count(0)
        confirm = card(one, item).get_by_role("button", name="I will come")
        await expect(confirm).to_have_accessible_description("See you soon")
        await confirm.focus()
        await one.keyboard.press("Enter")
        await expect(card(one, item).locator(".outcome")).to_be_focused()
        for page in (one, two):
            await expect(card(page, item).locator(".outcome")).to_have_text(CONFIRMED)
            await expect(card(page, item).get_by_role("button", name="I need another time")).to_be_hidden()
            assert await page.evaluate("window.same")
            assert await page.evaluate(CONTRASTS) == []
        await one.reload()
        await expect(card(one, item).locator(".outcome")).to_have_text(CONFIRMED)
    assert await said(inboxes, recipient, item.notification_id) == "confirm"


async def known_behind(partition: int, settings: Settings, inboxes: Inboxes, api: ApiProcess) -> None:
    """Waits until the API has read what lies in this partition of gates: one of somebody else's, written now, holds."""
    other, key = await person(inboxes.pool, inboxes.records)
    item, question = await asking(inboxes.pool, inboxes.records, other, key)
    await inboxes.put([item])
    await overtaken(settings, inboxes.records, question, 4, partition)
    url = f"{api.url}/v1/inbox/items/{item.notification_id}/confirm"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {api.token(other)}"}) as session,
        asyncio.timeout(60),
    ):
        while True:
            async with session.post(url) as answer:
                if answer.status == 409:
                    return
            async with inboxes.pool.connection() as connection:
                await connection.execute("DELETE FROM text_answers WHERE delivery_id = %s", (item.delivery_id,))


async def test_what_changed_or_began_since_is_said_plainly(
    inboxes: Inboxes, settings: Settings, api: ApiProcess, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    moved, question = await asking(inboxes.pool, inboxes.records, recipient, key)
    begun, _ = await asking(inboxes.pool, inboxes.records, recipient, key, starts_in=timedelta(minutes=-1))
    await inboxes.put([moved, begun])
    async with window(browser) as page:
        await sign_in(page, api, api.token(recipient))
        await expect(card(page, begun).locator(".outcome")).to_have_text(BEGUN)
        await expect(card(page, moved).get_by_role("button", name="I need another time")).to_be_visible()
        partition = await overtaken(settings, inboxes.records, question, 4)
        await known_behind(partition, settings, inboxes, api)
        await card(page, moved).get_by_role("button", name="I will come").click()
        await expect(card(page, moved).locator(".outcome")).to_have_text(CHANGED)
    assert await said(inboxes, recipient, moved.notification_id) is None


async def test_without_a_script_its_form_asks_for_another_time_and_the_page_says_so(
    inboxes: Inboxes, api: ApiProcess, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    item, _ = await asking(inboxes.pool, inboxes.records, recipient, key)
    await inboxes.put([item])
    async with window(browser, java_script_enabled=False, locale="es") as page:
        await page.context.add_cookies(
            [{"name": "luxe_inbox", "value": api.token(recipient), "url": f"{api.url}/inbox"}]
        )
        await page.goto(f"{api.url}/inbox")
        await page.get_by_role("link", name="See you soon").click()
        await page.get_by_role("button", name="Necesito otra hora").click()
        await expect(page).to_have_url(re.compile(rf"/inbox/items/{item.notification_id}\?lang=es$"))
        await expect(page.locator(".outcome")).to_contain_text("Su clínica sabe que necesita otra hora.")
    assert await said(inboxes, recipient, item.notification_id) == "reschedule"
