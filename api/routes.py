"""A route as data: where, who may, what it takes and answers. The router and /openapi.json are both made of these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Said aloud by each route that anybody may call: there is no default.
ANYBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer. ``model`` None: no body, or one that is not JSON."""

    status: int
    says: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    etag: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of path, query or header. ``schema`` is JSON Schema."""

    name: str
    where: Literal["path", "query", "header"]
    says: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``roles``: who may call it; ANYBODY: open. ``problems``: statuses beside the usual ones."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    roles: frozenset[str]
    summary: str
    answers: tuple[Answer, ...]
    takes: type[BaseModel] | None = None
    takes_type: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()
    tag: str = "service"
    # Goes on for as long as the caller stays: no limit of a request's time is its limit.
    streams: bool = False
    # Pages for browsers are no part of the API's description.
    described: bool = True
    # Of a page of the inbox: who asks is told by its cookie, never by a header; this answers whoever has none.
    signed_out: Handler | None = None
