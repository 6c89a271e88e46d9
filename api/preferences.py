"""A patient's preferences: read, replaced, patched; every change names the version that it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import orjson
from aiohttp import web

from api import access
from api.bodies import MERGE_PATCH, parsed, recipient_of, required_version
from api.documents import (
    IF_MATCH,
    IF_NONE_MATCH,
    BodyOf,
    answered,
    as_json,
    known_already,
    merge_patch,
    replacement,
)
from api.preference_conflicts import contradictions, unknown_exceptions
from api.preference_model import Preferences, document, milliseconds, stored_preferences
from api.problems import unusable
from api.recipients import change, seen
from api.resources import NAMES, identity_of
from api.routes import Answer, Parameter, Route
from connectors.postgres.recipients import Recipient

PATH = "/v1/recipients/{id}/preferences"

ID = Parameter(
    "id",
    "path",
    "`me`, `patient:<id>`, `staff:<id>`, or a patient's bare id.",
    {"type": "string", "maxLength": 210},
    True,
)


async def read(request: web.Request) -> web.Response:
    """The document, with its version as ETag; 304 where If-None-Match names it."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    known = known_already(request, found.version)
    return answered(document(found), found.version) if known is None else known


async def replace_all(request: web.Request) -> web.Response:
    """Everything as the body says; what it leaves out takes its default."""
    return await _write(request, await replacement(request))


async def patch(request: web.Request) -> web.Response:
    """RFC 7396: what the body names changes, null returns it to its default."""
    return await _write(request, await merge_patch(request))


async def _write(request: web.Request, body_of: BodyOf) -> web.Response:
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    versions = required_version(request)
    now = milliseconds(datetime.now(UTC))

    def to(found: Recipient) -> Recipient:
        before = document(found)
        wanted = parsed(Preferences, body_of(orjson.loads(as_json(before))))
        wrong = list(contradictions(wanted, before, now))
        wrong += unknown_exceptions(wanted, before, request.app[NAMES].words)
        if wrong:
            raise unusable(wrong)
        content = {
            **found.content,
            "locale": wanted.language,
            "preferences": stored_preferences(wanted, found.content.get("preferences"), identity.actor, now),
        }
        return replace(found, content=content)

    changed = (await change(request, recipient, identity, to, versions=versions)).recipient
    return answered(document(changed), changed.version)


_DOCUMENT = Answer(200, "The document", Preferences, etag=True)
_STORED = Answer(200, "Stored, and in force: the document as it is now", Preferences, etag=True)

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_PREFERENCES,
        "Read preferences",
        (_DOCUMENT, Answer(304, "Not changed since", etag=True)),
        parameters=(ID, IF_NONE_MATCH),
        problems=(404,),
        tag="preferences",
    ),
    Route(
        "PUT",
        PATH,
        replace_all,
        access.CHANGE_PREFERENCES,
        "Replace preferences",
        (_STORED,),
        takes=Preferences,
        parameters=(ID, IF_MATCH),
        problems=(404, 412, 428),
        tag="preferences",
    ),
    Route(
        "PATCH",
        PATH,
        patch,
        access.CHANGE_PREFERENCES,
        "Change some preferences",
        (_STORED,),
        takes=Preferences,
        takes_type=MERGE_PATCH,
        parameters=(ID, IF_MATCH),
        problems=(404, 412, 428),
        tag="preferences",
    ),
)
