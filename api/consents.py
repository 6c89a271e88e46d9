"""Consents: granted and revoked, by whom, when, to which text, for which address; every change appended to the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, read_model, recipient_of, whole_number
from api.identity import Identity
from api.preference_model import Instant, Strict, milliseconds
from api.preferences import ID
from api.problems import not_found, unusable
from api.recipients import change, seen
from api.resources import POOL, RECORDS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.postgres import consent_history
from connectors.postgres.recipient_columns import consent_types
from connectors.postgres.recipients import Recipient
from schemas.shapes import Violation

PATH = "/v1/recipients/{id}/consents"
MAX_PAGE = 200
# A clinic's clock may be a little ahead of ours.
AHEAD_TOLERANCE = timedelta(minutes=5)

ConsentType = Literal[
    "sms_transactional",
    "sms_marketing",
    "email_transactional",
    "email_marketing",
    "push_notifications",
    "portal_notifications",
]
Status = Literal["opted_in", "opted_out", "pending"]
Method = Literal["verbal", "written", "electronic", "implied"]


class ConsentChange(Strict):
    """What is said of one consent."""

    status: Status
    method: Method = Field("electronic", description="How it was given; of patients themselves: electronic.")
    source: str = Field("", max_length=200, description="Form, tablet, page, by its id; no names.")
    text_version: str = Field("", max_length=100, description="Of the text agreed to; needed for opted_in.")
    consent_date: Instant | None = Field(None, description="When it was said; null: now.")
    expires_at: Instant | None = Field(None, description="Null: until it is revoked.")
    address: str | None = Field(None, max_length=320, description="For which number or email; kept as a keyed hash.")


class Consent(Strict):
    """One consent as it stands; ``status`` null where nothing was ever said."""

    consent_type: ConsentType
    status: Status | None
    consent_date: AwareDatetime | None = None
    method: Method | None = None
    source: str = ""
    text_version: str = ""
    expires_at: AwareDatetime | None = None
    version: int = 0
    updated_by: str = ""


class Consents(Strict):
    """All six, in the specification's order."""

    consents: list[Consent]


class HistoryEntry(Strict):
    """One line of the history."""

    id: int
    consent_type: str
    status: str
    consent_date: AwareDatetime
    method: str
    source: str
    text_version: str
    expires_at: AwareDatetime | None
    address_hash: str | None
    version: int
    updated_by: str
    recorded_at: AwareDatetime


class History(Strict):
    """Newest first. ``next``: of the next page's `before`; null on the last."""

    entries: list[HistoryEntry]
    next: int | None


async def read(request: web.Request) -> web.Response:
    """All six as they stand."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    return _json({"consents": [_served(found, consent_type) for consent_type in consent_types()]})


async def read_history(request: web.Request) -> web.Response:
    """What was ever said, newest first."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    limit = whole_number(request, "limit", 50, 1, MAX_PAGE)
    before = whole_number(request, "before", 0, 0, 2**63 - 1)
    async with request.app[POOL].connection() as connection:
        entries = await consent_history.history(connection, found.recipient, before_id=before or None, limit=limit + 1)
    page = entries[:limit]
    return _json(
        {
            "entries": [HistoryEntry(**entry._asdict()).model_dump(by_alias=True) for entry in page],
            "next": page[-1].id if len(entries) > limit else None,
        }
    )


async def put(request: web.Request) -> web.Response:
    """Grant, revoke, or note as pending."""
    return await _change(request, await read_model(request, ConsentChange))


async def revoke(request: web.Request) -> web.Response:
    """Revoke; nothing need be said."""
    return await _change(request, ConsentChange(status="opted_out"))


async def _change(request: web.Request, wanted: ConsentChange) -> web.Response:
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    consent_type = request.match_info["type"]
    if consent_type not in consent_types():
        raise not_found()
    now = milliseconds(datetime.now(UTC))
    _check(wanted, identity, now)
    address_hash = _address_hash(request, consent_type, wanted.address)

    def to(found: Recipient) -> Recipient:
        content = dict(found.content)
        consents = {one["consent_type"]: one for one in content.get("consents", ())}
        known = consents.get(consent_type)
        said = {
            "consent_type": consent_type,
            "status": wanted.status,
            "method": wanted.method,
            "source": wanted.source or "api",
            "text_version": wanted.text_version,
            "expires_at": wanted.expires_at,
        }
        date = wanted.consent_date
        if known is not None and _same(known, said, date):
            return found
        consents[consent_type] = {**said, "consent_date": date or now}
        content["consents"] = list(consents.values())
        preferences = content.get("preferences")
        if wanted.status == "opted_in" and preferences is not None:
            content["preferences"] = {**preferences, "consent_recorded": True, "consent_date": date or now}
        return replace(found, content=content)

    changed = await change(request, recipient, identity, to, consent_address_hash=address_hash)
    return _json(_served(changed.recipient, consent_type))


def _same(known: Mapping[str, Any], said: Mapping[str, Any], date: datetime | None) -> bool:
    """Whether it was said already: a repeated request appends nothing."""
    return all(known[name] == value for name, value in said.items()) and date in (None, known["consent_date"])


def _check(wanted: ConsentChange, identity: Identity, now: datetime) -> None:
    wrong = []
    if wanted.status == "opted_in" and not wanted.text_version:
        wrong.append(Violation("textVersion", "empty", "name the version of the text that was agreed to"))
    if wanted.consent_date is not None and wanted.consent_date > now + AHEAD_TOLERANCE:
        wrong.append(Violation("consentDate", "a time to come", "send when it was said, or leave it out"))
    if wanted.expires_at is not None and wanted.expires_at <= now:
        wrong.append(Violation("expiresAt", "a time in the past", "send a time to come, or leave it out"))
    if identity.role == "patient":
        if wanted.consent_date is not None:
            wrong.append(Violation("consentDate", "a time", "leave it out: it is said now"))
        if wanted.method != "electronic":
            wrong.append(Violation("method", "another than electronic", "send electronic, or leave it out"))
    if wrong:
        raise unusable(wrong)


def _address_hash(request: web.Request, consent_type: str, address: str | None) -> str | None:
    if address is None:
        return None
    channel = consent_type.partition("_")[0]
    if channel not in ("sms", "email"):
        raise unusable([Violation("address", "text", "leave it out: this consent is for no address")])
    try:
        return request.app[RECORDS].ring.address_hash(channel, address)
    except ValueError:
        raise unusable([Violation("address", f"string of {len(address)} characters", "send E.164 for sms")]) from None


def _served(found: Recipient, consent_type: str) -> dict[str, Any]:
    known = next((one for one in found.content.get("consents", ()) if one["consent_type"] == consent_type), None)
    if known is None:
        return Consent.model_validate({"consentType": consent_type, "status": None}).model_dump(by_alias=True)
    fields = {name: known[name] for name in Consent.model_fields}
    return Consent.model_validate(fields).model_dump(by_alias=True)


def _json(served: Any) -> web.Response:
    return web.Response(body=orjson.dumps(served, option=orjson.OPT_UTC_Z), content_type=JSON)


_TYPE = Parameter(
    "type", "path", "One of the specification's six.", {"type": "string", "enum": list(consent_types())}, True
)
_IN_FORCE = Answer(200, "Stored, and in force: the consent as it is now", Consent)

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_CONSENTS,
        "Read the six consents",
        (Answer(200, "All six", Consents),),
        parameters=(ID,),
        problems=(404,),
        tag="consents",
    ),
    Route(
        "GET",
        PATH + "/history",
        read_history,
        access.READ_CONSENTS,
        "Read what was ever consented to and revoked",
        (Answer(200, "A page of it, newest first", History),),
        parameters=(
            ID,
            Parameter("limit", "query", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
            Parameter("before", "query", "`next` of the page before.", {"type": "integer", "minimum": 0}),
        ),
        problems=(404, 422),
        tag="consents",
    ),
    Route(
        "PUT",
        PATH + "/{type}",
        put,
        access.CHANGE_CONSENTS,
        "Grant or revoke a consent",
        (_IN_FORCE,),
        takes=ConsentChange,
        parameters=(ID, _TYPE),
        problems=(404,),
        tag="consents",
    ),
    Route(
        "DELETE",
        PATH + "/{type}",
        revoke,
        access.CHANGE_CONSENTS,
        "Revoke a consent",
        (_IN_FORCE,),
        parameters=(ID, _TYPE),
        problems=(404,),
        tag="consents",
    ),
)
