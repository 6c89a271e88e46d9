"""A bad day, for ``luxe demo --misbehave``: the provider does everything wrong that it can, and workers are killed at random."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from connectors.accounting import Account
from connectors.demo.misbehaviour import rules
from connectors.providers.sendgrid import DELIVERY_ARGUMENT
from connectors.settings import Settings
from connectors.stack.stack import LocalStack

# Who may be killed: every process of ours between an event and its last receipt.
WORKERS = ("relay", "intake", "notify", "sms", "email", "push", "in_app", "webhooks", "segments", "clickhouse", "api")
# One every few seconds; the same one not again before the supervisor, whose pauses double, has it running for long.
KILL_SECONDS = 3.0
KILLS_OF_ONE = 2
HTTP_TIMEOUT_SECONDS = 30.0
PAGE = 1000


class Misbehaving:
    """While it is entered, everything goes wrong. ``killed``: how often each worker was."""

    def __init__(self, settings: Settings, stack: LocalStack, seed: int) -> None:
        if settings.loopback_url is None:
            raise ValueError(
                "misbehaviour needs the loopback provider: LUXE_LOOPBACK_URL is not set; `luxe up` sets it"
            )
        self._url, self._stack, self._seed = settings.loopback_url, stack, seed
        self._random = Random(seed)  # noqa: S311 — which worker, not a secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._kill_now_and_then, name="killing", daemon=True)
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._faults("POST", json.dumps(rules(self._seed)).encode())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.no_more_kills()
        self._faults("DELETE")

    def no_more_kills(self) -> None:
        """From now on only the provider misbehaves."""
        self._stop.set()
        self._thread.join()

    def _kill_now_and_then(self) -> None:
        while not self._stop.wait(KILL_SECONDS):
            living = {service.name: service.pid for service in self._stack.status() if service.pid is not None}
            mortal = [name for name in WORKERS if name in living and self.killed[name] < KILLS_OF_ONE]
            if not mortal:
                return
            name = self._random.choice(mortal)
            with suppress(ProcessLookupError):
                os.kill(living[name], signal.SIGKILL)
                self.killed[name] += 1

    def _faults(self, method: str, body: bytes | None = None) -> None:
        request = urllib.request.Request(f"{self._url}/faults", data=body, method=method)  # noqa: S310 — the URL is a setting
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read()


def sent_twice(settings: Settings, account: Account, since: datetime) -> Counter[str]:
    """Channel → messages that the provider took more often than attempts were made that may have left. Raises OSError.

    Of a push to several devices, each device is counted for itself.
    """
    taken: Counter[tuple[str, str, str]] = Counter()
    for message in _taken(settings, since):
        found = _delivery_of(message)
        if found is not None:
            taken[message["channel"], *found] += 1
    twice: Counter[str] = Counter()
    for (channel, delivery_id, _), count in taken.items():
        made = account.attempts_that_left(delivery_id)
        if made is not None and count > made:
            twice[channel] += count - made
    return twice


def _taken(settings: Settings, since: datetime) -> Iterator[dict[str, Any]]:
    cursor: int | None = 0
    while cursor is not None:
        query = urlencode({"since": since.isoformat(), "limit": PAGE, "cursor": cursor})
        url = f"{settings.loopback_url}/messages?{query}"
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_SECONDS) as answer:  # noqa: S310 — the URL is a setting
            page = json.load(answer)
        yield from page["messages"]
        cursor = page["next_cursor"]


def _delivery_of(message: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which delivery of ours, and to which device of several; None: not one of ours."""
    payload = message["payload"]
    if message["channel"] == "sms":
        (found, *_) = parse_qs(urlsplit(payload["form"].get("StatusCallback", "")).query).get("delivery_id", [""])
        return (found, "") if found else None
    if message["channel"] == "email":
        mail = payload["mail"]
        named = [mail.get("custom_args") or {}, *(one.get("custom_args") or {} for one in mail["personalizations"])]
        found = next((one[DELIVERY_ARGUMENT] for one in named if DELIVERY_ARGUMENT in one), "")
        return (found, "") if found else None
    data = payload["message"].get("data") or {}
    return (data["delivery_id"], str(message["to"])) if "delivery_id" in data else None
