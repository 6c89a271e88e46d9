"""The staff's alert board in a real Chromium: what is critical first, taken once for everybody, live at every desk."""

from __future__ import annotations

import uuid

import pytest
from playwright.async_api import Browser, expect

from connectors.sealing import DataKey
from tests.browser.conftest import ApiProcess, sign_in, window
from tests.integration.api.inboxes import Inboxes, arrival, person
from tests.integration.api.people import CLINIC

pytestmark = pytest.mark.integration


class Desk:
    """Two people of one clinic, who are both sent each alert."""

    def __init__(self, inboxes: Inboxes) -> None:
        self.inboxes = inboxes
        self.people: list[str] = []
        self.keys: dict[str, DataKey] = {}

    async def staff(self) -> None:
        found = [await person(self.inboxes.pool, self.inboxes.records, "staff") for _ in range(2)]
        self.keys = dict(found)
        self.people = list(self.keys)

    async def alert(self, title: str, lane: str, acknowledge: str = "shared") -> None:
        event_id = str(uuid.uuid4())
        alike = {"notification_type": "staff_alert", "lane": lane, "acknowledge": acknowledge}
        alerts = [
            arrival(self.inboxes.records, recipient, key, title, event_id=event_id, **alike)
            for recipient, key in self.keys.items()
        ]
        await self.inboxes.put(alerts)


async def test_whoever_takes_an_alert_takes_it_off_every_board(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    desk = Desk(inboxes)
    await desk.staff()
    await desk.alert("Fire drill", "critical")
    await desk.alert("Room 2 is out of gloves", "high")
    await inboxes.put([arrival(inboxes.records, desk.people[0], desk.keys[desk.people[0]], "No alert")])
    async with window(browser) as one, window(browser) as two:
        for page, recipient in zip((one, two), desk.people, strict=True):
            await sign_in(page, api, api.token(recipient, CLINIC))
            await expect(page).to_have_title("(2) Alerts")
            assert page.url.startswith(f"{api.url}/inbox/board")
        titles = one.locator("#items h2")
        await expect(titles).to_have_text(["Fire drill", "Room 2 is out of gloves"])
        await desk.alert("Adverse reaction", "critical")
        await desk.alert("Printer", "normal", "own")
        for page in (one, two):
            await expect(page.locator("#items h2")).to_have_text(
                ["Adverse reaction", "Fire drill", "Printer", "Room 2 is out of gloves"]
            )
        await expect(two.locator("#alerts")).to_have_text("4")
        await one.locator(".item").first.get_by_role("button", name="Acknowledge for everyone").click()
        for page in (one, two):
            await expect(page.locator("#items h2")).to_have_text(["Fire drill", "Printer", "Room 2 is out of gloves"])
            await expect(page.locator("#news")).to_have_text("Acknowledged: Adverse reaction")
        # One that each must know is gone for its reader alone.
        await one.get_by_role("button", name="Acknowledge", exact=True).click()
        await expect(one.locator("#items h2")).to_have_text(["Fire drill", "Room 2 is out of gloves"])
        await expect(two.locator("#items h2")).to_have_count(3)
        await one.reload()
        await expect(one.locator("#items h2")).to_have_text(["Fire drill", "Room 2 is out of gloves"])


async def test_without_a_script_an_alert_is_taken_by_a_form_and_a_patient_sees_no_board(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    desk = Desk(inboxes)
    await desk.staff()
    await desk.alert("Fire drill", "critical")
    async with window(browser) as signing, window(browser, java_script_enabled=False) as page:
        await sign_in(signing, api, api.token(desk.people[0], CLINIC))
        await page.context.add_cookies([dict(one) for one in await signing.context.cookies()])  # type: ignore[misc]
        await page.goto(f"{api.url}/inbox/board")
        await page.get_by_role("button", name="Acknowledge for everyone").click()
        await expect(page.locator("#empty")).to_be_visible()
        await expect(signing.locator("#items h2")).to_have_count(0)
    patient, _ = await person(inboxes.pool, inboxes.records)
    async with window(browser) as page:
        await sign_in(page, api, api.token(patient))
        assert await page.get_by_role("link", name="Alerts").count() == 0
        await page.goto(f"{api.url}/inbox/board")
        await expect(page.locator("h1")).to_have_text("Inbox")
