"""OpenAPI 3.1 of the routes: nothing in it is written by hand. Pure. ``luxe api openapi`` writes the committed file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.identity import ROLES
from api.problems import PROBLEM_TYPE, TITLES
from api.routes import ANYBODY, Answer, Parameter, Route

VERSION = "1"
# A model → a reference to its schema. (Keys are what pydantic can describe; ours are all models.)
Refs = Mapping[Any, dict[str, Any]]

_REF = "#/components/schemas/{model}"
# Any route may answer these: who asks, how often, what is away. (400 to 422: those with a body.)
_ANY = (429, 500, 503)
_GUARDED = (401, 404)
_WITH_BODY = (400, 413, 415, 422)
_TAGS = {
    "preferences": "What a patient wishes.",
    "consents": "What a patient agreed to, and every change of it.",
    "addresses": "Numbers and emails, and how they are verified.",
    "devices": "Where push messages go.",
    "inbox": "Messages in the app: the caller's own.",
    "live": "The same as they come: a WebSocket, and server-sent events.",
    "suppressions": "What must not be sent to.",
    "policies": "What a clinic decided for itself.",
    "notifications": "Sent by hand, cancelled, listed, followed.",
    "waitlist": "Slots that opened: whose turn it is, claim, decline.",
    "explanations": "Why somebody did, or did not, get a notification; and whether they would.",
    "schemas": "The read protocol of a Confluent schema registry.",
    "service": "Whether the service is well.",
}


def openapi(routes: Iterable[Route]) -> dict[str, Any]:
    """The description of the described ones."""
    described = [route for route in routes if route.described]
    models = {model for route in described for model in _models(route)}
    names, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_REF,
    )
    refs: Refs = {model: schema for (model, _mode), schema in names.items()}
    paths: dict[str, Any] = {}
    for route in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Luxe Notify",
            "version": VERSION,
            "description": "Notifications, preferences, consents, addresses, suppressions, clinics' policies, explanations. "
            "A write answers 2xx once its "
            "change is in Kafka, so in force; 503 says: perhaps stored, not yet in force, safe to repeat.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": says} for name, says in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": f"HS256 or RS256; claims sub, role ({', '.join(sorted(ROLES))}), clinics, aud, iat, exp.",
                }
            },
        },
    }


def _models(route: Route) -> list[type[BaseModel]]:
    answered = [answer.model for answer in route.answers if answer.model is not None]
    return answered if route.takes is None else [*answered, route.takes]


def _operation(route: Route, refs: Refs) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub('[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [route.tag],
    }
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.takes is not None:
        schema = _taken(route.takes, route.takes_type, refs)
        operation["requestBody"] = {"required": True, "content": {route.takes_type: {"schema": schema}}}
    operation["responses"] = _responses(route, refs)
    if route.roles is ANYBODY:
        operation["security"] = []
    else:
        operation["security"] = [{"token": []}]
        operation["x-roles"] = sorted(route.roles)
    return operation


def _taken(takes: type[BaseModel], media_type: str, refs: Refs) -> dict[str, Any]:
    # A merge patch is any part of its document, and null is one too: the document's own schema would be wrong for it.
    if "merge-patch" in media_type:
        return {"type": "object", "description": f"Any part of a {takes.__name__} (RFC 7396)."}
    return refs[takes]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.says,
        "schema": dict(parameter.schema),
    }


def _responses(route: Route, refs: Refs) -> dict[str, Any]:
    statuses = {*route.problems, *_ANY}
    if route.roles is not ANYBODY:
        statuses.update(_GUARDED)
    if route.takes is not None:
        statuses.update(_WITH_BODY)
    responses = {str(status): _problem(status) for status in statuses}
    return {**responses, **{str(answer.status): _answered(answer, refs) for answer in route.answers}}


def _answered(answer: Answer, refs: Refs) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.says}
    if answer.model is not None:
        told["content"] = {answer.media_type: {"schema": refs[answer.model]}}
    if answer.etag:
        told["headers"] = {"ETag": {"description": "Its version.", "schema": {"type": "string"}}}
    return told


def _problem(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "description": TITLES[status],
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return told


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Names what is wrong and what mends it; never a value.",
    "required": ["type", "title", "status", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "shape", "mend"],
                "properties": {name: {"type": "string"} for name in ("field", "shape", "mend")},
            },
        },
    },
}
