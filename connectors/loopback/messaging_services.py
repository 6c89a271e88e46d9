"""Twilio's messaging services, as far as one asks which numbers are theirs.

Shapes from https://www.twilio.com/docs/messaging/api/phonenumber-resource and shortcode-resource.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence

import orjson
from aiohttp import web

from connectors.loopback.twilio_errors import error_body

SERVICES = "/v1/Services"
SHORT_CODE_DIGITS = 6


class MessagingServices:
    """The HTTP handlers. ``numbers``: service → its numbers and short codes."""

    def __init__(self, *, account_sid: str, auth_token: str, numbers: Mapping[str, Sequence[str]]) -> None:
        self._account_sid = account_sid
        self._authorization = "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._numbers = numbers

    def routes(self) -> list[web.RouteDef]:
        """Where the real ones are, below https://messaging.twilio.com."""
        return [
            web.get(f"{SERVICES}/{{service}}/PhoneNumbers", self.phone_numbers),
            web.get(f"{SERVICES}/{{service}}/ShortCodes", self.short_codes),
        ]

    async def phone_numbers(self, request: web.Request) -> web.Response:
        """GET PhoneNumbers."""
        return self._listed(request, "phone_numbers", "phone_number", short=False)

    async def short_codes(self, request: web.Request) -> web.Response:
        """GET ShortCodes."""
        return self._listed(request, "short_codes", "short_code", short=True)

    def _listed(self, request: web.Request, key: str, name: str, *, short: bool) -> web.Response:
        """One page: a service of this stand-in has a handful."""
        service = request.match_info["service"]
        if request.headers.get("Authorization") != self._authorization:
            return _json(401, error_body(20003, 401))
        if service not in self._numbers:
            return _json(404, error_body(20404, 404, what=request.path))
        of_this_kind = [one for one in self._numbers[service] if (len(one) <= SHORT_CODE_DIGITS) == short]
        here = f"{SERVICES}/{service}/{request.path.rpartition('/')[2]}"
        meta = {"page": 0, "page_size": 500, "first_page_url": here, "url": here, "key": key}
        listed = [{"account_sid": self._account_sid, "service_sid": service, name: one} for one in of_this_kind]
        page = {"meta": meta | {"previous_page_url": None, "next_page_url": None}, key: listed}
        return _json(200, orjson.dumps(page))


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
