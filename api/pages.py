"""Pages for patients: unsubscribe (`/u/…`) and all preferences (`/p/…`). A link's token is who they are; GET changes nothing.

No cookie, no session: a form is posted to the secret path that it came from, so no other site can send one. A token is never
logged: our log knows requests by an id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
from aiohttp import web
from pydantic import AwareDatetime

from api import access, page_form
from api.bodies import recipient_of
from api.identity import Unidentified
from api.page_form import FormError
from api.page_rendering import accepted_language, hours, language_of, notice, page, texts
from api.preference_conflicts import contradictions
from api.preference_model import Preferences, Strict, milliseconds, stored_preferences
from api.preferences import ID
from api.problems import Problem
from api.recipients import seen
from api.resources import IN_FORCE, POOL, RECORDS, SETTINGS, VERIFIER, identity_of
from api.routes import ANYBODY, Answer, Handler, Route
from connectors.postgres import recipients
from connectors.postgres.gates import address_gate
from connectors.postgres.recipient_requests import on_their_way
from connectors.postgres.recipients import Recipient
from connectors.unsubscribing import carrying_out, history, wishes
from connectors.unsubscribing.links import (
    PREFERENCES_MINUTES,
    PREFERENCES_PATH,
    UNSUBSCRIBE_PATH,
    Link,
    LinkError,
    Links,
    Purpose,
)
from connectors.unsubscribing.wishes import SCOPES, Said
from schemas.formats import FORMATS

RETRY_AFTER_SECONDS = 5
ACCESS_TOKEN = "access_token"  # noqa: S105 - a field's name
ENTRANCE_PATH = "/preferences"

Page = Callable[[web.Request, Link, str], Awaitable[web.Response]]


def links_of(app: web.Application) -> Links:
    """Opens and makes links."""
    return Links.of(app[SETTINGS], app[RECORDS].ring)


def _linked(purpose: Purpose, shown: Page) -> Handler:
    """A page behind a link's token; everything that goes wrong is said in a page too."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.query.get("lang")
        try:
            link = links_of(request.app).open(purpose, request.match_info["token"], datetime.now(UTC))
        except LinkError as error:
            return notice(
                error.code, language_of(accepted_language(request), asked), 410 if error.code == "expired" else 404
            )
        language = language_of(link.locale, asked)
        try:
            return await shown(request, link, language)
        except FormError:
            return notice("unusable", language, 400)
        except (psycopg.OperationalError, TimeoutError):  # OutboxDelayed is one
            return notice("not_now", language, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    return handle


async def show_unsubscribe(request: web.Request, link: Link, language: str) -> web.Response:
    """What may be said no to. Nothing is changed: mail programs and scanners open every link."""
    return await _unsubscribe_page(request, link, language)


async def unsubscribe(request: web.Request, link: Link, language: str) -> web.Response:
    """A no, of the page's form or of a mail program's own button (RFC 8058). 200 once it is in force."""
    form = await _form(request)
    one_click = form.get("List-Unsubscribe") == "One-Click"
    scope = next((one for one in SCOPES if one == ("category" if one_click else form.get("scope"))), None)
    if scope is None:
        return await _unsubscribe_page(request, link, language, problem=True)
    app = request.app
    async with app[POOL].connection() as connection:
        waiting = await carrying_out.unsubscribe(
            connection, app[RECORDS], link, scope, "one_click" if one_click else "link", datetime.now(UTC)
        )
    await app[IN_FORCE].wait(waiting, app[SETTINGS].api_in_force_seconds)
    return notice("done", language, 200)


async def _unsubscribe_page(request: web.Request, link: Link, language: str, *, problem: bool = False) -> web.Response:
    clinic = (await _read(request, link)).clinic
    return page(
        "unsubscribe",
        language,
        status=422 if problem else 200,
        clinic=clinic,
        channel=link.channel,
        category=link.category,
        problem=problem,
    )


async def show_preferences(request: web.Request, link: Link, language: str) -> web.Response:
    """All preferences as they are."""
    return await _preferences_page(request, link, language)


async def save_preferences(request: web.Request, link: Link, language: str) -> web.Response:
    """The form of all preferences; 200 once it is in force, 409 where somebody changed them since it was shown."""
    form = await _form(request)
    now = milliseconds(datetime.now(UTC))
    said = Said(link.recipient, page_form.SOURCE, now, page_form.TEXT_VERSION)
    problems: list[str] = []
    zone = (await _read(request, link)).zone
    outdated = False
    narrowing = False

    def changed(found: Recipient | None) -> Recipient | None:
        nonlocal outdated, narrowing
        if found is None:
            return None
        before = page_form.shown(found, now)
        served = page_form.meant(form, before, zone)
        if str(found.version) != form.get("version"):
            # Sent twice, or sent again after a 503: what is asked for is there already.
            outdated = page_form.fields(served, zone) != page_form.fields(before, zone)
            return None
        wanted = Preferences.model_validate(served)
        problems.extend(page_form.unclear(form, before, zone))
        problems.extend(one.field for one in contradictions(wanted, before, now))
        if problems:
            return None
        narrowing = page_form.narrowed(before, served)
        stored = stored_preferences(wanted, found.content.get("preferences"), said.by, now)
        content = {**found.content, "locale": wanted.language}
        consents = page_form.consents_of(before, served, said)
        return replace(found, content=wishes.with_preferences(content, stored, consents, said))

    app = request.app
    async with app[POOL].connection() as connection:
        written = await recipients.edit_many(
            connection, app[RECORDS], {link.recipient: changed}, updated_by=said.by, source="api"
        )
        if written.updated:
            action: history.Action = "out" if narrowing else "in"
            entry = history.OptOut(action, "page", said.by, [link.recipient], "all", "preferences")
            await history.append(connection, entry)
        waiting = written.outbox_ids or await on_their_way(connection, [link.recipient])
    if problems or outdated:
        return await _preferences_page(request, link, language, form=form if problems else None, problems=problems)
    await app[IN_FORCE].wait(waiting, app[SETTINGS].api_in_force_seconds)
    return await _preferences_page(request, link, language, saved=True)


async def _preferences_page(
    request: web.Request,
    link: Link,
    language: str,
    *,
    saved: bool = False,
    form: Mapping[str, str] | None = None,
    problems: list[str] | None = None,
) -> web.Response:
    seen_now = await _read(request, link)
    if seen_now.recipient is None:
        return notice("unreadable", language, 404)  # erased since
    values = page_form.fields(page_form.shown(seen_now.recipient, datetime.now(UTC)), seen_now.zone)
    if form is not None:  # what was typed is not lost by one wrong field
        values |= {path: path in form for path in page_form.BOXES}
        values |= {path: form.get(path, "") for path in page_form.TYPED}
    languages = {"": texts(language)["preferences"]["language"]["clinic"], **page_form.LANGUAGES}
    languages.setdefault(values["language"], values["language"])
    outdated = problems is not None and not problems
    return page(
        "preferences",
        language,
        status=422 if problems else 409 if outdated else 200,
        clinic=seen_now.clinic,
        version=seen_now.recipient.version,
        values=values,
        hours={"": texts(language)["preferences"]["digest"]["clinic"], **hours(language)},
        languages=languages,
        problems=problems or [],
        outdated=outdated,
        saved=saved,
        stopped=seen_now.stopped,
    )


async def enter(request: web.Request) -> web.StreamResponse:
    """The portal posts the patient's token in a form; on to the page of her preferences, by a link of its own."""
    language = language_of(accepted_language(request), request.query.get("lang"))
    try:
        form = await _form(request)
        identity = request.app[VERIFIER].identify(form.get(ACCESS_TOKEN, ""))
    except (FormError, Unidentified):
        return notice("unreadable", language, 401)
    if identity.role != "patient":
        return notice("unreadable", language, 401)
    recipient = f"patient:{identity.subject}"
    try:
        found = await seen(request, recipient, identity)
    except Problem as problem:
        return notice("unreadable", language, problem.status)
    now = datetime.now(UTC)
    url = links_of(request.app).preferences_url(recipient, found.content["locale"] or language, now)
    return web.Response(status=303, headers={"Location": url})


class PreferencesLink(Strict):
    """A link to the page of all preferences. Whoever has it may change them: give it to nobody else."""

    url: str
    expires_at: AwareDatetime


async def make_link(request: web.Request) -> web.Response:
    """A link for the portal, or for the front desk to open with the patient."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    now = milliseconds(datetime.now(UTC))
    url = links_of(request.app).preferences_url(found.recipient, found.content["locale"] or "", now)
    made = PreferencesLink(url=url, expires_at=now + timedelta(minutes=PREFERENCES_MINUTES))
    return web.Response(text=made.model_dump_json(by_alias=True), status=201, content_type="application/json")


class _Seen(NamedTuple):
    recipient: Recipient | None
    zone: ZoneInfo
    clinic: str
    stopped: bool


async def _read(request: web.Request, link: Link) -> _Seen:
    """Whom a link is of, as stored now; the zone of their clocks, else their clinic's; the clinic's name; whether a STOP stands
    before one of their numbers.
    """
    records = request.app[RECORDS]
    async with request.app[POOL].connection() as connection:
        found = (await recipients.get_many(connection, records, [link.recipient])).get(link.recipient)
        cursor = await connection.execute(
            "SELECT content->>'name', content->>'time_zone' FROM policies WHERE clinic_id = %s",
            (found.clinic_id if found else "*",),
        )
        row = await cursor.fetchone() or ("", None)
        zones = (found.content["time_zone"] if found else None, row[1])
        zone = next((ZoneInfo(name) for name in zones if name and FORMATS["iana-zone"](name)), ZoneInfo("UTC"))
        phones = found.content.get("phones", ()) if found else ()
        hashes = [records.ring.address_hash("sms", phone["e164"]) for phone in phones]
        gates = [address_gate("sms", "care", one) for one in hashes]
        gates += [address_gate("sms", "marketing", one) for one in hashes]
        cursor = await connection.execute(
            "SELECT 1 FROM suppressions WHERE gate_key = ANY(%s) AND reason = 'opted_out' LIMIT 1", (gates,)
        )
        return _Seen(found, zone, row[0], await cursor.fetchone() is not None)


async def _form(request: web.Request) -> dict[str, str]:
    """What was posted, in either of a form's encodings. Raises FormError for what is no form."""
    try:
        posted = await request.post()
    except (ValueError, LookupError, UnicodeError):
        raise FormError("(body)") from None
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _route(method: Any, path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method, path, handler, ANYBODY, summary, (Answer(200, "A page", media_type="text/html"),), described=False
    )


ROUTES = (
    _route("GET", UNSUBSCRIBE_PATH + "{token}", _linked("unsubscribe", show_unsubscribe), "Say no: the page"),
    _route("POST", UNSUBSCRIBE_PATH + "{token}", _linked("unsubscribe", unsubscribe), "Say no"),
    _route("GET", PREFERENCES_PATH + "{token}", _linked("preferences", show_preferences), "Preferences: the page"),
    _route("POST", PREFERENCES_PATH + "{token}", _linked("preferences", save_preferences), "Preferences: save"),
    Route(
        "POST",
        "/v1/recipients/{id}/preferences/link",
        make_link,
        access.CHANGE_PREFERENCES,
        "Make a link to the page of all preferences",
        (Answer(201, "The link, good for an hour", PreferencesLink),),
        parameters=(ID,),
        problems=(404,),
        tag="preferences",
    ),
    _route("POST", ENTRANCE_PATH, enter, "Preferences: from the portal"),
)
