"""The access token of push: fetched once for all, kept while it lasts, and what a token endpoint's trouble means."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

from connectors.loopback.signing import GoogleAccounts
from connectors.providers.fcm import FcmMessages, service_account
from connectors.providers.outcome import Accepted, Refused
from connectors.settings import Settings, SettingsError
from sinks.push_message import build
from tests.unit.sinks.test_push import CONTENT, MESSAGE, NOW

# Google's library leaves them unannotated.
AWAY: GoogleAuthError = cast(Any, TransportError)("away")
OVERLOADED: GoogleAuthError = cast(Any, RefreshError)("overloaded", retryable=True)
WITHDRAWN: GoogleAuthError = cast(Any, RefreshError)("invalid_grant")


class Credential:
    """A service account's, as google.auth has it: ``expiry`` in UTC without saying so."""

    def __init__(
        self, *troubles: GoogleAuthError | None, lasts_seconds: float = 3600, takes_seconds: float = 0
    ) -> None:
        self.token: str | None = None
        self.expiry: datetime | None = None
        self.fetched = 0
        self._troubles = list(troubles)
        self._lasts, self._takes_seconds = timedelta(seconds=lasts_seconds), takes_seconds

    @property
    def valid(self) -> bool:
        return self.token is not None

    def refresh(self, _request: Any) -> None:
        self.fetched += 1
        time.sleep(self._takes_seconds)
        trouble = self._troubles.pop(0) if self._troubles else None
        if trouble is not None:
            raise trouble
        self.token = f"token-{self.fetched}"
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + self._lasts


class Answers:
    """What stands in for the network: statuses in turn, and the tokens they were asked with."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.tokens: list[str] = []

    def post(self, _url: str, *, headers: dict[str, str], **_more: Any) -> Answers:
        self.tokens.append(headers["Authorization"])
        self.status, self.headers = self._statuses.pop(0), dict[str, str]()
        return self

    async def __aenter__(self) -> Answers:
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None

    async def read(self) -> bytes:
        return b'{"name": "m"}' if self.status == 200 else b'{"error": {"status": "UNAUTHENTICATED"}}'


def messages(tmp_path: Path, credential: Credential, answers: Answers, timeout_seconds: float = 2) -> FcmMessages:
    file = GoogleAccounts.at(tmp_path).write_service_account("http://127.0.0.1:1")
    settings = Settings(state_dir=tmp_path, fcm_service_account_file=file)
    made = FcmMessages(settings, service_account(settings), cast(aiohttp.ClientSession, answers), timeout_seconds)
    made._credential = credential
    return made


async def send(fcm: FcmMessages) -> Accepted:
    return await fcm.send(build(MESSAGE, CONTENT, "a:1", "x", NOW))


async def test_it_is_fetched_once_for_all_who_wait(tmp_path: Path) -> None:
    credential = Credential(takes_seconds=0.02)
    fcm = messages(tmp_path, credential, Answers(*[200] * 20))
    await asyncio.gather(*(send(fcm) for _ in range(20)))
    assert credential.fetched == 1


@pytest.mark.parametrize(
    ("trouble", "error_class"),
    [
        (AWAY, "transient"),
        (OVERLOADED, "transient"),
        (WITHDRAWN, "account"),
    ],
)
async def test_only_a_key_that_google_refuses_is_the_accounts_fault(
    tmp_path: Path, trouble: GoogleAuthError, error_class: str
) -> None:
    credential = Credential(trouble)
    fcm = messages(tmp_path, credential, Answers())
    for _ in range(5):
        with pytest.raises(Refused) as told:
            await send(fcm)
        assert told.value.error_class == error_class
    assert credential.fetched == 1  # and nobody asks again at once


async def test_an_old_token_serves_while_it_lasts(tmp_path: Path) -> None:
    credential = Credential(None, AWAY, lasts_seconds=100)  # of the five minutes before its end
    answers = Answers(200, 200)
    fcm = messages(tmp_path, credential, answers)
    await send(fcm)
    fcm._tried_at = -1e9
    await send(fcm)
    assert (credential.fetched, answers.tokens) == (2, ["Bearer token-1"] * 2)


async def test_a_token_endpoint_that_hangs_holds_nobody_for_long(tmp_path: Path) -> None:
    fcm = messages(tmp_path, Credential(takes_seconds=0.5), Answers(), timeout_seconds=0.1)
    with pytest.raises(Refused) as told:
        await send(fcm)
    assert told.value.error_class == "transient"


async def test_a_token_that_is_refused_is_fetched_anew_once(tmp_path: Path) -> None:
    credential = Credential()
    answers = Answers(200, 401, 200, 401)
    fcm = messages(tmp_path, credential, answers)
    await send(fcm)
    fcm._tried_at = -1e9
    await send(fcm)
    assert answers.tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    with pytest.raises(Refused) as told:  # refused though it is new: the account's fault
        await send(fcm)
    assert (told.value.error_class, credential.fetched) == ("account", 2)


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
async def test_a_key_file_that_cannot_be_used_is_named_and_leaves_nothing_open(
    tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    opened: list[object] = []
    monkeypatch.setattr("connectors.providers.fcm.provider_session", lambda **_: opened.append(1))
    settings = Settings(state_dir=tmp_path, fcm_service_account_file=path)
    with pytest.raises(SettingsError, match="LUXE_FCM_SERVICE_ACCOUNT_FILE"):
        FcmMessages.open(settings, connections=1, timeout_seconds=1)
    assert opened == []  # its "unclosed session" would be the last line of the log, and hide the one that helps
