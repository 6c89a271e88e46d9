"""A key that the ring lacks is the ring's fault; a damaged row is that row's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.postgres import data_keys
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.records import Records
from connectors.sealing import KeyRing, KeyRingError, ensure_key_ring, seal
from connectors.settings import Settings
from schemas.codec import CONTENT_MARK, Codec, LaterSchemaError
from schemas.registry import FileRegistry, read_ids
from sinks.runtime.keys import CONTENT, Keys
from sinks.runtime.poison import PoisonError
from sinks.runtime.tuning import Tuning

PATIENT = "patient:1"
LATER_ID = max(line.id for lines in read_ids().values() for line in lines) + 1
SAID: dict[str, Any] = {
    **{"to": "+13055550100", "to_name": None, "subject": None, "body": "Hello", "html": None, "media_urls": []},
    **{"data": {}, "headers": {}, "attachments": [], "links": [], "asks": None, "forms": []},
}


class Connection:
    """Of a pool that nothing is asked of."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


class Pool:
    """As much of a pool as Keys uses."""

    def connection(self) -> Connection:
        return Connection()


def opened(monkeypatch: pytest.MonkeyPatch, ring: KeyRing, stored: WrappedKey, sealed: bytes) -> Any:
    async def find(_: object, subjects: Sequence[str]) -> dict[str, WrappedKey]:
        return {stored.subject: stored}

    monkeypatch.setattr(data_keys, "find", find)
    pool: Any = Pool()
    keys = Keys(pool, Records(ring, Codec(FileRegistry())), Tuning())
    message = {"recipient": PATIENT, "clinic_id": "c", "delivery_id": "d", "sealed": sealed}
    return asyncio.run(keys.open(message))


def ring_at(folder: Path) -> KeyRing:
    return ensure_key_ring(Settings(state_dir=folder, postgres_dsn=SecretStr("postgresql://nobody@localhost/none")))


def test_a_ring_without_the_key_ends_the_sink_and_buries_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, restored = ring_at(tmp_path / "whole"), ring_at(tmp_path / "restored from an old backup")
    whole.add_kek()
    wrapped, key = whole.new_data_key(PATIENT, "c")
    sealed = seal(key, "ChannelMessage", "d", b"")
    with pytest.raises(KeyRingError, match="restore the ring"):
        opened(monkeypatch, restored, WrappedKey(PATIENT, "c", wrapped), sealed)


def test_a_damaged_key_is_one_message_s_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ring = ring_at(tmp_path)
    wrapped, key = ring.new_data_key(PATIENT, "c")
    damaged = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    with pytest.raises(PoisonError, match="unauthentic"):
        opened(monkeypatch, ring, WrappedKey(PATIENT, "c", damaged), seal(key, "ChannelMessage", "d", b""))


def test_what_a_later_release_sealed_is_no_poison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ring, codec = ring_at(tmp_path), Codec(FileRegistry())
    wrapped, key = ring.new_data_key(PATIENT, "c")
    later = CONTENT_MARK + LATER_ID.to_bytes(4, "big") + b"\0"
    asking = codec.encode_content(CONTENT, {**SAID, "asks": later})
    for content in (later, asking):
        with pytest.raises(LaterSchemaError):
            opened(monkeypatch, ring, WrappedKey(PATIENT, "c", wrapped), seal(key, "ChannelMessage", "d", content))
