"""The inbox's page in a real Chromium, against the API as a process on the real stack."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, Page, expect

from connectors.postgres import inbox
from connectors.postgres.inbox import Viewer
from tests.browser.conftest import NARROW, ApiProcess, sign_in, window
from tests.integration.api.inboxes import Inboxes, arrival, person

pytestmark = pytest.mark.integration

HOSTILE = '<img src=x onerror=alert(1)> & "quotes" </script>'


async def shown(page: Page) -> list[str]:
    return await page.locator("#items h2").all_inner_texts()


async def test_what_comes_is_shown_without_reload_and_every_tab_marks_it(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key, "First", html="The whole of it")])
    token = api.token(recipient)
    async with window(browser) as one, window(browser, viewport=NARROW) as two:
        for page in (one, two):
            await sign_in(page, api, token)
            await expect(page.locator("#unread")).to_have_text("1")
        await inboxes.put([arrival(inboxes.records, recipient, key, HOSTILE, body=HOSTILE)])
        for page in (one, two):
            await expect(page.locator("#items h2").first).to_have_text(HOSTILE)
            await expect(page.locator("#unread")).to_have_text("2")
            await expect(page).to_have_title("(2) Inbox")
            assert await page.locator("#items img").count() == 0
            assert await page.locator("#news").inner_text() == f"New: {HOSTILE}"
        assert await shown(one) == [HOSTILE, "First"]
        # What came live is written as what was there: the clinic has no policy here, and so no zone.
        for written in await one.locator("#items time").all_inner_texts():
            assert re.fullmatch(r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d\d\s[AP]M UTC", written)
        # By the keyboard alone; the focus goes on to the item that was marked.
        await one.locator("#items .item").nth(1).get_by_role("button", name="Mark as read").focus()
        await one.keyboard.press("Enter")
        for page in (one, two):
            await expect(page.locator("#unread")).to_have_text("1")
            await expect(page.locator(".item.unread")).to_have_count(1)
        await expect(one.get_by_role("link", name="First")).to_be_focused()
        await two.get_by_role("button", name="Mark all as read").click()
        for page in (one, two):
            await expect(page.locator("#unread")).to_be_hidden()
            await expect(page.locator(".item.unread")).to_have_count(0)
        await one.get_by_role("link", name="First").click()
        await expect(one.locator(".detail")).to_have_text("The whole of it")
        await one.get_by_role("button", name="Mark as unread").click()
        await expect(two.locator("#unread")).to_have_text("1")
        for page in (one, two):
            assert token not in page.url
            assert "#" not in page.url


async def test_after_a_crash_of_the_api_it_goes_on_and_misses_nothing(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    async with window(browser) as page:
        await sign_in(page, api, api.token(recipient))
        await expect(page.locator("#empty")).to_be_visible()
        await inboxes.put([arrival(inboxes.records, recipient, key, "Before")])
        await expect(page.locator("#items h2")).to_have_text(["Before"])
        await page.evaluate("window.same = true")
        api.kill()
        await expect(page.locator("#connection")).to_have_text("Reconnecting …")
        await inboxes.put([arrival(inboxes.records, recipient, key, f"Meanwhile {n}") for n in range(3)])
        api.start()
        await expect(page.locator("#connection")).to_have_text("Live", timeout=60_000)
        await expect(page.locator("#items h2")).to_have_text(["Meanwhile 2", "Meanwhile 1", "Meanwhile 0", "Before"])
        await expect(page.locator("#unread")).to_have_text("4")
        assert await page.evaluate("window.same")  # nothing of it came by a reload


async def test_a_network_that_goes_and_comes_back(api: ApiProcess, inboxes: Inboxes, browser: Browser) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    async with window(browser) as page:
        await sign_in(page, api, api.token(recipient))
        # Requests get an answer that is no stream: the browser gives up, the page does not.
        await page.route("**/inbox/events*", lambda route: route.fulfill(status=503))
        await page.reload()
        await expect(page.locator("#connection")).to_have_text("Reconnecting …")
        await inboxes.put([arrival(inboxes.records, recipient, key, "Meanwhile")])
        await page.unroute("**/inbox/events*")
        await expect(page.locator("#items h2")).to_have_text(["Meanwhile"], timeout=60_000)


async def test_when_the_token_ends_nothing_is_left_on_the_screen(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key, "Mine alone")])
    async with window(browser) as page:
        await sign_in(page, api, api.token(recipient, seconds=40))
        await expect(page.locator("#items h2")).to_have_count(1)
        await expect(page.locator("#connection")).to_have_text(
            "Your sign-in has ended. Please sign in again.", timeout=60_000
        )
        await expect(page.locator("#items h2")).to_have_count(0)
        answer = await page.goto(f"{api.url}/inbox")
        assert answer is not None
        assert answer.status == 401
        assert "Mine alone" not in await page.content()
        await sign_in(page, api, api.token(recipient))
        await expect(page.locator("#items h2")).to_have_text(["Mine alone"])
        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{api.url}/inbox")
        await expect(page.locator("h1")).to_have_text("Please sign in")


async def test_without_a_script_the_list_is_there_and_forms_mark(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key, f"Number {n}") for n in range(32)])
    async with window(browser, java_script_enabled=False, locale="es-MX") as page:
        # From a portal of another site: its form, our cookie.
        await page.route(
            "http://portal.example/",
            lambda route: route.fulfill(
                content_type="text/html",
                body=f'<form method="post" action="{api.url}/inbox/enter">'
                f'<input name="access_token" value="{api.token(recipient)}"><button>Go</button></form>',
            ),
        )
        await page.goto("http://portal.example/")
        await page.get_by_role("button").click()
        await expect(page.locator("h1")).to_have_text("Bandeja de entrada")
        await expect(page.locator("#unread")).to_have_text("32")
        assert len(await shown(page)) == 30
        await page.get_by_role("button", name="Marcar como leído").first.click()
        await expect(page.locator("#unread")).to_have_text("31")
        await page.get_by_role("link", name="Mensajes anteriores").click()
        assert await shown(page) == ["Number 1", "Number 0"]
        await page.get_by_role("link", name="English").click()
        await page.goto(f"{api.url}/inbox?lang=en")
        await page.get_by_role("button", name="Mark all as read").click()
        await expect(page.locator("#unread")).to_be_hidden()


async def test_the_cookie_is_for_these_pages_and_their_own_forms_alone(
    api: ApiProcess, inboxes: Inboxes, browser: Browser
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    one = arrival(inboxes.records, recipient, key)
    await inboxes.put([one])
    async with window(browser) as page:
        await sign_in(page, api, api.token(recipient))
        (cookie,) = await page.context.cookies()
        told: Mapping[str, object] = dict(cookie)
        assert (told["httpOnly"], told["sameSite"], told["path"]) == (True, "Strict", "/inbox")
        assert await page.evaluate("document.cookie") == ""
        assert await page.evaluate("fetch('/v1/inbox').then((answer) => answer.status)") == 401
        # Another origin of the same site sends the cookie along; the page's own origin is asked for.
        forged = (
            f'<form method="post" action="{api.url}/inbox/items/{one.notification_id}/read"><button>Win</button></form>'
        )
        for stranger in ("http://127.0.0.1:1/", "http://evil.example/"):
            await page.route(stranger, lambda route: route.fulfill(content_type="text/html", body=forged))
            await page.goto(stranger)
            async with page.expect_navigation() as going:
                await page.get_by_role("button").click()
            answer = await going.value
            assert answer is not None
            assert answer.status in (401, 403)
    async with inboxes.pool.connection() as connection:
        (counts,) = await inbox.counts(connection, [Viewer(recipient)])
    assert counts.unread == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "es"])
async def test_it_fits_a_telephone_and_can_be_told_apart(
    api: ApiProcess, inboxes: Inboxes, browser: Browser, scheme: str, language: str
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put(
        [
            arrival(inboxes.records, recipient, key, "Your appointment is confirmed"),
            arrival(inboxes.records, recipient, key, "W" * 120, lane="critical", acknowledge="own"),
        ]
    )
    async with window(browser, viewport=NARROW, locale=language, color_scheme=scheme) as page:
        await sign_in(page, api, api.token(recipient))
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert await page.evaluate(CONTRASTS) == []
        assert await page.locator("html").get_attribute("lang") == language
        unnamed = re.findall(r"- (?:link|button)$", await page.locator("body").aria_snapshot(), re.M)
        assert unnamed == []


# WCAG 2.2, 1.4.3: text below 4.5:1 against what is behind it.
CONTRASTS = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[0-9.]+/g).map((one) => one / 255).map(
      (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return color !== "rgba(0, 0, 0, 0)" ? color : one.parentElement ? behind(one.parentElement) : "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(`${one.tagName}.${one.className}`);
  }
  return weak;
}"""
