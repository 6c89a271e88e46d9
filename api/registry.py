"""The read protocol of a Confluent schema registry, out of the committed schemas: stock deserialisers read our topics with it.

Open to anybody who reaches the port: schemas are contracts, and hold nobody's data.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import orjson
from aiohttp import web

from api.routes import ANYBODY, Answer, Parameter, Route
from schemas.registry import CommittedVersion, FileRegistry, UnknownSchemaIdError

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# The registry's own codes, which its clients know.
SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND, INVALID_VERSION = 40401, 40402, 40403, 42202


@cache
def committed() -> FileRegistry:
    """What this program was built with."""
    return FileRegistry()


async def by_id(request: web.Request) -> web.Response:
    """The schema with this id."""
    try:
        schema = committed().schema(int(request.match_info["schema_id"]))
    except UnknownSchemaIdError:
        return _fault(404, SCHEMA_NOT_FOUND, "Schema not found")
    return _json({"schema": json.dumps(schema)})


async def where_used(request: web.Request) -> web.Response:
    """Subjects and versions that have this id."""
    found = _lines_of(int(request.match_info["schema_id"]))
    if not found:
        return _fault(404, SCHEMA_NOT_FOUND, "Schema not found")
    return _json([{"subject": subject, "version": line.version} for subject, line in found])


async def subjects(_: web.Request) -> web.Response:
    """All subjects."""
    return _json(committed().subjects())


async def versions(request: web.Request) -> web.Response:
    """A subject's versions."""
    lines = committed().lines(request.match_info["subject"])
    if not lines:
        return _fault(404, SUBJECT_NOT_FOUND, "Subject not found")
    return _json([line.version for line in lines])


async def version(request: web.Request) -> web.Response:
    """One version, by its number or `latest`."""
    subject, wanted = request.match_info["subject"], request.match_info["version"]
    lines = committed().lines(subject)
    if not lines:
        return _fault(404, SUBJECT_NOT_FOUND, "Subject not found")
    if wanted in ("latest", "-1"):
        line: CommittedVersion | None = lines[-1]
    elif wanted.isascii() and wanted.isdecimal() and 0 < len(wanted) < 10:
        line = next((one for one in lines if one.version == int(wanted)), None)
    else:
        return _fault(422, INVALID_VERSION, "The version is a positive whole number, or latest")
    if line is None:
        return _fault(404, VERSION_NOT_FOUND, "Version not found")
    schema = json.dumps(committed().schema(line.id))
    return _json({"subject": subject, "id": line.id, "version": line.version, "schemaType": "AVRO", "schema": schema})


async def config(_: web.Request) -> web.Response:
    """How schemas may change: checked before they are committed, and never by this server."""
    return _json({"compatibilityLevel": "FULL_TRANSITIVE"})


async def types(_: web.Request) -> web.Response:
    """Which kinds of schema there are."""
    return _json(["AVRO"])


def _lines_of(schema_id: int) -> list[tuple[str, CommittedVersion]]:
    return [
        (subject, line)
        for subject in committed().subjects()
        for line in committed().lines(subject)
        if line.id == schema_id
    ]


def _json(served: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(served), status=status, content_type=MEDIA_TYPE)


def _fault(status: int, code: int, message: str) -> web.Response:
    return _json({"error_code": code, "message": message}, status)


_ID = Parameter("schema_id", "path", "As in the records' bytes 2 to 5.", {"type": "integer", "minimum": 1}, True)
_SUBJECT = Parameter("subject", "path", "`<topic>-<record full name>`.", {"type": "string"}, True)
_VERSION = Parameter("version", "path", "A number, or `latest`.", {"type": "string"}, True)
_NUMBER = "{schema_id:[0-9]{1,9}}"


def _route(path: str, handler: Any, summary: str, *parameters: Parameter) -> Route:
    return Route(
        "GET",
        path,
        handler,
        ANYBODY,
        summary,
        (Answer(200, "Found"),),
        parameters=parameters,
        tag="schemas",
        described=False,
    )


ROUTES = (
    _route(f"/schemas/ids/{_NUMBER}", by_id, "A schema by its id", _ID),
    _route(f"/schemas/ids/{_NUMBER}/versions", where_used, "Where an id is used", _ID),
    _route("/schemas/types", types, "Kinds of schema"),
    _route("/subjects", subjects, "All subjects"),
    _route("/subjects/{subject}/versions", versions, "A subject's versions", _SUBJECT),
    _route("/subjects/{subject}/versions/{version}", version, "One version", _SUBJECT, _VERSION),
    _route("/config", config, "How schemas may change"),
    _route("/config/{subject}", config, "How a subject's schemas may change", _SUBJECT),
)
