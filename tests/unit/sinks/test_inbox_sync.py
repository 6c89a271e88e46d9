"""Who hears that their inbox changed, how often, and who never. Pure."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from sinks.inbox_sync import reader
from sinks.inbox_sync.pending import Pending
from sinks.inbox_sync.reader import ChangesReader
from sinks.inbox_sync.service import wanted

SECONDS = 30
changes = st.lists(st.tuples(st.integers(0, 20), st.sampled_from("abcd")), max_size=60)


@given(changes, st.integers(1, 3))
def test_nobody_is_told_oftener_than_that_and_everybody_hears_of_their_last_change(
    steps: list[tuple[int, str]], most: int
) -> None:
    pending, now = Pending(SECONDS, 10), 0
    told: dict[str, list[int]] = {}
    last: dict[str, int] = {}

    def turn() -> None:
        taken = pending.take(now, most)
        assert len(taken) <= most
        for one in taken:
            told.setdefault(one, []).append(now)

    for wait, recipient in steps:
        now += wait
        turn()
        assert pending.add(recipient, now)
        last[recipient] = now
    while len(pending):
        now += 1
        turn()
    assert set(told) == set(last)
    for recipient, times in told.items():
        assert all(later - sooner >= SECONDS for sooner, later in pairwise(times))
        assert times[-1] >= last[recipient]


def test_several_changes_are_told_once_and_not_before_their_time() -> None:
    pending = Pending(SECONDS, 10)
    for second in (0, 5, 29):
        assert pending.add("a", second)
    assert pending.take(29.9, 10) == []
    assert pending.take(30, 10) == ["a"]
    assert pending.take(300, 10) == []


def test_no_more_wait_than_may() -> None:
    pending = Pending(SECONDS, 2)
    assert [pending.add(one, 0) for one in "abca"] == [True, True, False, True]
    assert len(pending) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, True),
        ({"preferences": None, "consents": []}, True),
        ({"preferences": {"push_enabled": True}}, True),
        ({"preferences": {"push_enabled": False}}, False),
        ({"consents": [{"consent_type": "push_notifications", "status": "opted_in"}]}, True),
        ({"consents": [{"consent_type": "push_notifications", "status": "opted_out"}]}, False),
        ({"consents": [{"consent_type": "sms_marketing", "status": "opted_out"}]}, True),
    ],
)
def test_who_switched_push_off_or_took_consent_back_hears_nothing(content: dict[str, Any], expected: bool) -> None:
    assert wanted(content) is expected


async def test_no_error_ends_the_thread_that_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody watches it: what nobody foresaw is waited out as Kafka's absence is."""
    tried: list[int] = []

    def fails(_: ChangesReader) -> None:
        tried.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(ChangesReader, "_follow", fails)
    monkeypatch.setattr(reader, "RETRY_SECONDS", 0.01)
    made = ChangesReader(Settings(state_dir=tmp_path), Codec(FileRegistry()), lambda _: None)
    made.start()
    async with asyncio.timeout(10):
        while len(tried) < 3:  # noqa: ASYNC110 - a thread's doing
            await asyncio.sleep(0.01)
        await made.stop()
