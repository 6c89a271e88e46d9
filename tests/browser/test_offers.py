"""A waitlist's offer on the inbox's page, claimed by its button in a real Chromium: the slot is a row in Postgres, as ever."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from connectors.postgres.inbox_arrivals import Arrival
from connectors.sealing import DataKey
from connectors.waitlist.keeping import Offer, SlotRows
from connectors.waitlist.saying import About
from streams.catalog import Catalog
from streams.render.in_app import said as behaviour
from streams.waitlist.coordinator import Coordinator
from tests.browser.conftest import NARROW, ApiProcess, sign_in, window
from tests.browser.test_inbox_page import CONTRASTS
from tests.integration.api.inboxes import Inboxes, arrival, person
from tests.integration.waitlist.conftest import CLINIC, WINDOW, clinic, now_seconds, patients, said

pytestmark = pytest.mark.integration

CLAIMED = "The spot is yours. See you then."
DECLINED = "Thanks for letting us know. You passed on this spot. You keep your place on the list."
TAKEN = "The spot is taken. Somebody else has it. You keep your place on the list."
OVER = "This offer is over. The spot went on to whoever is next. You keep your place on the list."


class Waitlist:
    """Slots that are offered to a patient first, and to somebody else after her."""

    def __init__(self, inboxes: Inboxes, api: ApiProcess) -> None:
        self._inboxes = inboxes
        self._rows = SlotRows(inboxes.records, api.url)
        self.coordinator = Coordinator(inboxes.pool, inboxes.records, Catalog.load(), self._rows, WINDOW)
        self.recipient = ""
        self._key: DataKey | None = None

    async def open(self) -> None:
        self.recipient, self._key = await person(self._inboxes.pool, self._inboxes.records, clinic_id=CLINIC)
        await clinic(self._inboxes.pool, self._inboxes.records)
        # Whatever the hour, it is a noon of theirs.
        hour = now_seconds().hour
        zone = "Etc/GMT" + (f"{hour - 12:+d}" if hour != 12 else "")
        patient = self.recipient.partition(":")[2]
        await patients(self._inboxes.pool, self._inboxes.records, patient, "next", zone=zone)

    async def offers(self, slot_id: str) -> tuple[Offer, Arrival]:
        """A slot that is hers to claim, and the item that says so."""
        now = now_seconds()
        listed = [self.recipient.partition(":")[2], "next"]
        await self.coordinator.hear(said("waitlist.slot_available", slot_id, now, waitlist_patients=listed), now)
        await self.coordinator.turn(now)
        offer = (await self.all_of(slot_id))[0]
        assert self._key is not None
        actions = behaviour(Catalog.load().types["waitlist_opening"].in_app, "en")
        item = arrival(
            self._inboxes.records,
            self.recipient,
            self._key,
            f"A spot opened: {slot_id}",
            data=dict(actions),
            clinic_id=CLINIC,
            notification_type="waitlist_opening",
            lane="critical",
            group_key=f"waitlist:{offer.offer_id}",
            expires_at=offer.ends_at,
        )
        return offer, item

    async def all_of(self, slot_id: str) -> list[Offer]:
        async with self._inboxes.pool.connection() as connection:
            return await self._rows.offers(connection, About(CLINIC, slot_id, None))

    async def expires(self, item: Arrival) -> None:
        async with self._inboxes.pool.connection() as connection:
            await connection.execute(
                "UPDATE inbox_items SET expires_at = now() WHERE notification_id = %s", (item.notification_id,)
            )


@pytest.fixture
async def waitlist(inboxes: Inboxes, api: ApiProcess) -> Waitlist:
    opened = Waitlist(inboxes, api)
    await opened.open()
    return opened


def card(page: Page, item: Arrival) -> Locator:
    return page.locator(f"#item-{item.notification_id}")


async def test_its_button_claims_it_without_a_reload_and_every_window_says_so(
    waitlist: Waitlist, api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    token = api.token(waitlist.recipient)
    async with window(browser) as one, window(browser, viewport=NARROW) as two:
        for page in (one, two):
            await sign_in(page, api, token)
            await page.evaluate("window.same = true")
        _, item = await waitlist.offers("s1")
        await inboxes.put([item])
        for page in (one, two):
            await expect(card(page, item).get_by_role("button", name="Claim it")).to_be_visible()
            assert await page.evaluate(CONTRASTS) == []
        claim = card(one, item).get_by_role("button", name="Claim it")
        await expect(claim).to_have_accessible_description("A spot opened: s1")
        await claim.focus()
        await one.keyboard.press("Enter")
        # Whoever uses a keyboard or a screen reader is where it is told how it went.
        await expect(card(one, item).locator(".outcome")).to_be_focused()
        for page in (one, two):
            await expect(card(page, item).locator(".outcome")).to_have_text(CLAIMED)
            await expect(card(page, item).get_by_role("button")).to_have_count(0)
            await expect(page.locator("#unread")).to_be_hidden()
            assert await page.evaluate("window.same")
            assert await page.evaluate(CONTRASTS) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]
        assert [offer.outcome for offer in await waitlist.all_of("s1")] == ["claimed"]
        await one.reload()
        await expect(card(one, item).locator(".outcome")).to_have_text(CLAIMED)
        await one.get_by_role("link", name="A spot opened: s1").click()
        await expect(one.locator(".whole .outcome")).to_have_text(CLAIMED)


async def test_who_is_too_late_is_told_so_plainly(
    waitlist: Waitlist, api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    (_, gone), (_, over), (_, expired), (_, passed) = [await waitlist.offers(f"s{n}") for n in range(4)]
    await inboxes.put([gone, over, expired, passed])
    async with window(browser) as page:
        await sign_in(page, api, api.token(waitlist.recipient))
        await expect(page.get_by_role("button", name="Claim it")).to_have_count(4)
        now = now_seconds()
        by_telephone = said("waitlist.slot_claimed", "s0", now, version=3, patient_id="next")
        await waitlist.coordinator.hear(by_telephone, now)
        # The hour of s1 is another: what is offered anew has an item of its own.
        changed = said("waitlist.slot_available", "s1", now, version=9, waitlist_patients=["next"], time="16:00")
        await waitlist.coordinator.hear(changed, now)
        await waitlist.expires(expired)
        for item, name, outcome in (
            (gone, "Claim it", TAKEN),
            (over, "Claim it", OVER),
            (expired, "Claim it", OVER),
            (passed, "Pass it on", DECLINED),
        ):
            await card(page, item).get_by_role("button", name=name).click()
            await expect(card(page, item).locator(".outcome")).to_have_text(outcome)
            await expect(card(page, item).locator("form[data-step=claim]")).to_be_hidden()
        assert [(await waitlist.all_of(f"s{n}"))[0].outcome for n in (0, 1, 3)] == ["taken", "withdrawn", "declined"]


async def test_without_a_script_its_form_claims_it_and_the_page_says_so(
    waitlist: Waitlist, api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    (_, listed), (_, opened) = [await waitlist.offers(f"s{n}") for n in range(2)]
    await inboxes.put([listed, opened])
    async with window(browser, java_script_enabled=False, locale="es") as page:
        token = api.token(waitlist.recipient)
        await page.context.add_cookies([{"name": "luxe_inbox", "value": token, "url": f"{api.url}/inbox"}])
        await page.goto(f"{api.url}/inbox")
        await card(page, listed).get_by_role("button", name="Reservarlo").click()
        await expect(card(page, listed).locator(".outcome")).to_have_text("El hueco es suyo. Le esperamos.")
        await page.get_by_role("link", name="A spot opened: s1").click()
        await page.get_by_role("button", name="Dejarlo pasar").click()
        await expect(page).to_have_url(re.compile(rf"/inbox/items/{opened.notification_id}\?lang=es$"))
        await expect(page.locator(".outcome")).to_contain_text("Ha dejado pasar este hueco.")
    assert [(await waitlist.all_of(f"s{n}"))[0].outcome for n in range(2)] == ["claimed", "declined"]


async def test_an_offer_is_answered_by_whose_it_is_from_the_page_itself(
    waitlist: Waitlist, api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    _, item = await waitlist.offers("s1")
    await inboxes.put([item])
    stranger, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, stranger, key, group_key=item.group_key)])
    claim = f"{api.url}/inbox/items/{item.notification_id}/claim"
    forged = f'<form method="post" action="{claim}"><button>Win</button></form>'
    async with window(browser) as hers, window(browser) as other:
        await sign_in(other, api, api.token(stranger))
        assert await other.get_by_role("button", name="Claim it").count() == 0
        status = f"fetch('{claim}', {{method: 'POST'}}).then((answer) => answer.status)"
        assert await other.evaluate(status) == 404
        await sign_in(hers, api, api.token(waitlist.recipient))
        await hers.route("http://127.0.0.1:1/", lambda route: route.fulfill(content_type="text/html", body=forged))
        await hers.goto("http://127.0.0.1:1/")
        async with hers.expect_navigation() as going:
            await hers.get_by_role("button").click()
        answer = await going.value
        assert answer is not None
        assert answer.status == 403
    assert (await waitlist.all_of("s1"))[0].outcome is None
