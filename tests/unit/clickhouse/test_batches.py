"""Chunks keep order and neighbours: a bad record is set aside with its code, everything else goes in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from connectors.clickhouse.container import topic_prefix
from schemas.codec import Codec, CodecError
from schemas.ids import notification_id
from schemas.registry import FileRegistry, read_ids
from schemas.topics import GATES
from sinks.ingest.batches import OutdatedError, Shapes, chunks, rows_of, without_undecodable

REGISTRY = FileRegistry()
CODEC = Codec(REGISTRY)
PREFIX = topic_prefix(GATES, "id")


@dataclass
class Message:
    at: int
    body: bytes | None

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes | None:
        return self.body

    def key(self) -> bytes | None:
        return b"key"

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


def gate(key: str) -> bytes:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    value = {"gate_key": key, "kind": "notification", "reason": "manual", "source": "operator", "created_at": now}
    return CODEC.encode(GATES, "luxe.pipeline.Gate", value | {"aggregate_version": None, "expires_at": None})


def sealer(values: Sequence[bytes]) -> list[bytes | CodecError]:
    raise AssertionError("pipeline records are not sealed")


def test_bad_frames_are_set_aside_by_name_and_neighbours_go_in() -> None:
    good = gate("notification:" + notification_id("00000000-0000-4000-8000-000000000001", "t", "patient:1", 0))
    messages = [
        Message(5, good),
        Message(6, None),
        Message(7, b"not ours"),
        Message(8, b"\0\xff\xff\xff\xffbody"),
        Message(9, b"\0"),
        Message(10, good),
    ]
    found, unreadable = chunks(messages, PREFIX, 3, Shapes(REGISTRY), sealer)
    assert [(u.offset, u.error_code) for u in unreadable] == [
        (6, "tombstone"),
        (7, "unknown_magic_byte"),
        (8, "unknown_schema_id"),
        (9, "unknown_magic_byte"),
    ]
    (chunk,) = found
    assert [message.offset() for message in chunk.messages] == [5, 10]
    assert all(body.startswith(PREFIX) and body.endswith(good[5:]) for body in chunk.bodies)
    assert rows_of(unreadable, GATES, "id", 3)[0][:4] == [GATES, "id", 3, 6]


def test_a_later_release_s_record_ends_the_process_where_only_we_write_and_is_set_aside_where_producers_do() -> None:
    later = max(line.id for lines in read_ids().values() for line in lines) + 1
    messages = [Message(1, b"\0" + later.to_bytes(4, "big") + b"body")]
    shapes = Shapes(REGISTRY)
    with pytest.raises(OutdatedError, match=f"schema id {later} .*deploy it before"):
        chunks(messages, PREFIX, 0, shapes, sealer)
    found, unreadable = chunks(messages, PREFIX, 0, shapes, sealer, ours=False)
    assert (found, [u.error_code for u in unreadable]) == ([], ["unknown_schema_id"])


def test_what_does_not_decode_is_found_when_the_file_was_refused() -> None:
    good = gate("notification:x")
    found, _ = chunks([Message(1, good), Message(2, good[:-4]), Message(3, good)], PREFIX, 0, Shapes(REGISTRY), sealer)
    kept, bad = without_undecodable(found[0], CODEC)
    assert [message.offset() for message in kept.messages] == [1, 3]
    assert [(u.offset, u.error_code) for u in bad] == [(2, "truncated_record")]
