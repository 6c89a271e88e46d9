"""How a sink stands is written beside the event loop, the latest word last; a disk that refuses it costs nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from connectors.readiness import read_standing
from connectors.settings import Settings
from sinks.runtime.standing import Standing


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("LUXE_SERVICE_NAME", raising=False)
    return Settings(state_dir=tmp_path)


async def test_a_disk_that_stands_still_holds_nobody_and_the_latest_word_is_written_last(settings: Settings) -> None:
    standing = Standing(settings, "sms")
    folder = settings.state_dir / "standing"
    folder.mkdir()
    part = folder / "sms.part"
    os.mkfifo(part)  # whoever opens it to write waits for a reader
    standing.tell({"number": 0})
    await asyncio.sleep(0.1)  # it stands, and we are here all the same
    for number in range(1, 100):
        standing.tell({"number": number})
    assert read_standing(settings.state_dir, "sms") is None
    reader = os.open(part, os.O_RDONLY | os.O_NONBLOCK)
    try:
        await standing.written()
    finally:
        os.close(reader)
    assert read_standing(settings.state_dir, "sms") == {"number": 99}


async def test_a_disk_that_refuses_costs_nothing_and_is_tried_again(settings: Settings) -> None:
    standing = Standing(settings, "sms")
    (settings.state_dir / "standing").write_text("no folder")
    standing.tell({"number": 1})
    await standing.written()
    (settings.state_dir / "standing").unlink()
    standing.tell({"number": 2})
    await standing.written()
    assert read_standing(settings.state_dir, "sms") == {"number": 2}
