"""Requests to our HTTP services, counted by route template: never by path, which holds ids."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from connectors.metrics.catalogue import REQUEST_DURATIONS, REQUESTS, REQUESTS_OPEN
from connectors.metrics.counting import OTHER, Counts, Read, Source, Timings, one

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


# What an application of ours counts; put there when it is made, and added to until it serves.
SOURCES: web.AppKey[list[Source]] = web.AppKey("sources", list)


class Requests:
    """What one service was asked. Its middleware goes first, so that it sees the answer that the caller gets."""

    def __init__(self) -> None:
        self._answered = Counts(REQUESTS)
        self._durations = Timings(REQUEST_DURATIONS)
        self._open = 0

    @property
    def sources(self) -> tuple[Source, ...]:
        """For the exporter."""
        return self._answered, self._durations, Read(REQUESTS_OPEN, one(lambda: self._open))

    @property
    def middleware(self) -> Middleware:
        """For the application."""

        @web.middleware
        async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = time.monotonic()
            status, whole = 500, True
            self._open += 1
            try:
                response = await handler(request)
            except web.HTTPException as error:
                status = error.status
                raise
            else:
                # A stream lasts as long as its reader likes: that is nobody's latency.
                status, whole = response.status, isinstance(response, web.Response)
                return response
            finally:
                self._open -= 1
                resource = request.match_info.route.resource
                # Without a route the method may be any word of the caller's.
                method, route = (request.method, resource.canonical) if resource is not None else (OTHER, OTHER)
                if whole:
                    self._durations.observe(time.monotonic() - began, method, route)
                self._answered.add(method, route, str(status))

        return counting
