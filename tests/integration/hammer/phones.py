"""How each way's yes and no is said to the running services; it returns at their 200, and says again what was answered 503."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
import jwt

from api.secret import jwt_secret
from connectors.loopback.signing import twilio_signature
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from connectors.unsubscribing.links import Links
from connectors.webhooks.inbound import INBOUND_PATH
from tests.integration.hammer.crowd import Change, Patient

TOKEN_SECONDS = 3600
RETRY_SECONDS = 0.1
CARE_NUMBER = "+15005550006"


Text = list[tuple[str, str]] | None


class Answer(NamedTuple):
    """What was answered."""

    status: int
    retry_after: str | None

    @classmethod
    def of(cls, response: aiohttp.ClientResponse) -> Answer:
        return cls(response.status, response.headers.get("Retry-After"))


class Phones:
    """Everybody's hand."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._links = Links.of(settings, ensure_key_ring(settings))
        self._secret = jwt_secret(settings)
        self._api = f"http://{settings.api_host}:{settings.api_port}"
        self.refused: Counter[int] = Counter()

    async def say(self, patient: Patient, goes: bool) -> Change:
        """Her yes (``goes``) or no, until it is answered 200."""
        change = Change(goes, time.time())
        patient.changes.append(change)
        text = self.text_of(patient, goes)
        while (status := (await self.try_once(patient, goes, text))[0]) != 200:
            self.refused[status] += 1
            assert status in (429, 503), status
            await asyncio.sleep(RETRY_SECONDS)
        change.answered = time.time()
        return change

    async def read(self, patient: Patient) -> Answer:
        """Her preferences, asked for."""
        return await self._call(patient, "GET", f"/v1/recipients/{patient.recipient}/preferences")

    async def try_once(self, patient: Patient, goes: bool, text: Text) -> Answer:
        """Her yes or no, once. ``text``: of whoever says it by text; the same one, however often it is delivered."""
        of = f"/v1/recipients/{patient.recipient}"
        if patient.way == "stop":
            assert text is not None
            return await self._post_text(text)
        if patient.way == "patch":
            return await self._patch(patient, {"channels": {"sms": {"enabled": goes}}})
        if patient.way == "consent" and goes:
            return await self._grant(patient, f"{of}/consents/sms_transactional")
        if patient.way == "consent":
            return await self._call(patient, "DELETE", f"{of}/consents/sms_transactional")
        if not goes:
            category = "clinical" if patient.way == "one_click" else "marketing"
            url = self._links.unsubscribe_url(patient.recipient, "email", category, "", "en-US", datetime.now(UTC))
            async with self._session.post(url, data={"List-Unsubscribe": "One-Click"}) as answer:
                return Answer.of(answer)
        if patient.way == "one_click":
            return await self._patch(patient, {"channels": {"email": {"optIn": {"clinical": True}}}})
        granted = await self._grant(patient, f"{of}/consents/email_marketing")
        if granted.status != 200:
            return granted
        return await self._patch(patient, {"channels": {"email": {"optIn": {"marketing": True}}}})

    async def _patch(self, patient: Patient, body: Mapping[str, object]) -> Answer:
        return await self._call(patient, "PATCH", f"/v1/recipients/{patient.recipient}/preferences", body)

    async def _grant(self, patient: Patient, path: str) -> Answer:
        return await self._call(patient, "PUT", path, {"status": "opted_in", "textVersion": "hammer-1"})

    async def _call(self, patient: Patient, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self._token(patient)}", "If-Match": "*"}
        async with self._session.request(method, self._api + path, json=body, headers=headers) as answer:
            return Answer.of(answer)

    def _token(self, patient: Patient) -> str:
        now = int(time.time())
        claims = {"sub": patient.id, "role": "patient", "aud": self._settings.api_jwt_audience}
        return jwt.encode(claims | {"iat": now, "exp": now + TOKEN_SECONDS}, self._secret, "HS256")

    def text_of(self, patient: Patient, goes: bool) -> Text:
        """The text that says it; None of who says it another way."""
        if patient.way != "stop":
            return None
        form = {
            "MessageSid": f"SM{uuid.uuid4().hex}",
            "From": patient.phone,
            "To": CARE_NUMBER,
            "Body": "START" if goes else "STOP",
            "NumMedia": "0",
        }
        return list(form.items())

    async def _post_text(self, form: list[tuple[str, str]]) -> Answer:
        url = self._settings.public_base_url + INBOUND_PATH
        signature = twilio_signature(self._settings.twilio_auth_token.get_secret_value(), url, form)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
        async with self._session.post(url, data=urlencode(form), headers=headers) as answer:
            return Answer.of(answer)
