"""The producer of statuses, over a client that acknowledges at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors import statuses
from connectors.settings import Settings
from connectors.statuses import AcknowledgedProducer


class Client:
    """A Kafka producer whose records are acknowledged when it is next polled."""

    def __init__(self) -> None:
        self._pending: list[Callable[[Any, Any], None]] = []

    def produce(self, *_: Any, on_delivery: Callable[[Any, Any], None], **__: Any) -> None:
        self._pending.append(on_delivery)

    def poll(self, _timeout: float) -> None:
        if self._pending:
            self._pending.pop(0)(None, None)


def test_a_callback_that_fails_is_told_and_the_others_are_still_acknowledged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(statuses, "make_producer", lambda *_, **__: Client())
    failures: list[Exception] = []
    acknowledged: list[str] = []

    def fails() -> None:
        raise KeyError("not in flight")

    async def send() -> int:
        producer = AcknowledgedProducer(Settings(state_dir=tmp_path), on_failure=failures.append, linger_ms=0)
        producer.send("t", b"k", b"v", (), fails)
        producer.send("t", b"k", b"v", (), lambda: acknowledged.append("second"))
        return await producer.settle(10)

    assert asyncio.run(send()) == 0
    assert acknowledged == ["second"]
    assert [type(error) for error in failures] == [KeyError]
