"""What is read of a request: its JSON within bounds, its recipient, the version it changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.identity import Identity
from api.problems import Problem, not_found, unusable, wrong_fields
from schemas.shapes import Violation

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# Our documents are at most four levels deep.
MAX_DEPTH = 16
ME = "me"
_KIND_AND_ID = re.compile(r"(?:(patient|staff):)?([^\x00-\x1f\x7f\ud800-\udfff:]{1,200})")
_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')


async def read_json(request: web.Request, media_types: Sequence[str] = (JSON,)) -> Any:
    """The body. Raises Problem: 415 for another type, 400 for what is no JSON, 422 for what is too deep."""
    if request.content_type not in media_types:
        raise Problem(415, f"Send {' or '.join(media_types)}.", headers={"Accept": ", ".join(media_types)})
    try:
        found = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise Problem(400, "The body is no JSON (RFC 8259, UTF-8).") from None
    _check(found)
    return found


def parsed(model: type[Model], body: Any) -> Model:
    """The body as its model. Raises Problem with the fields that do not fit."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise wrong_fields(error) from None


async def read_model(request: web.Request, model: type[Model]) -> Model:
    """The body as a model. Raises Problem."""
    return parsed(model, await read_json(request))


def recipient_of(request: web.Request, identity: Identity) -> str:
    """Whose resource it is, as a recipient key: ``me``, ``patient:<id>``, ``staff:<id>``, or a patient's bare id."""
    named = request.match_info["id"]
    if named == ME:
        if identity.role == "service":
            raise not_found()
        return f"{'patient' if identity.role == 'patient' else 'staff'}:{identity.subject}"
    found = _KIND_AND_ID.fullmatch(named)
    if found is None:
        raise not_found()
    recipient = f"{found[1] or 'patient'}:{found[2]}"
    if identity.role == "patient" and not identity.is_self(recipient):
        raise not_found()  # before anything is looked up: not even the time it takes tells
    return recipient


def whole_number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query. Raises Problem."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high):
        raise unusable([Violation(name, f"string of {len(text)} characters", f"send a whole number, {low} to {high}")])
    return int(text)


def entity_tag(version: int) -> str:
    """A version's ETag."""
    return f'"{version}"'


def versions_named(header: str) -> frozenset[str] | None:
    """What If-Match or If-None-Match names; None for ``*``."""
    return None if header.strip() == "*" else frozenset(_ENTITY_TAG.findall(header))


def required_version(request: web.Request) -> frozenset[str] | None:
    """The versions that the caller wants to change; None for any. Raises Problem 428 where none is named."""
    header = request.headers.get("If-Match")
    if header is None:
        raise Problem(428, "Send If-Match with the ETag of what you read, or `*` for whatever is stored.")
    return versions_named(header)


def changed_since(version: int) -> Problem:
    """412, with the version that is stored."""
    return Problem(412, "Read it again, and make your change to that.", headers={"ETag": entity_tag(version)})


def _check(body: Any) -> None:
    """Bounds that our stores have: depth, and text without NUL."""
    level = [body]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                deeper += [*part, *part.values()]
            elif isinstance(part, list):
                deeper += part
            elif isinstance(part, str) and "\x00" in part:
                raise unusable([Violation("(body)", "text with a NUL character", "leave NUL characters out")])
        if not deeper:
            return
        level = deeper
    raise unusable([Violation("(body)", f"more than {MAX_DEPTH} levels deep", "nest less; see /openapi.json")])


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: what a JSON merge patch makes of a document."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
