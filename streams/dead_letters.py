"""What could not be handled, as a dead letter: the original sealed byte for byte, and a cause that shows nothing of it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from connectors.sealing import DataKey, seal
from schemas.codec import Codec, CodecError
from schemas.definitions import UnknownRecordError
from schemas.ids import dead_letter_id, derived_id
from schemas.topics import DEAD_LETTERS
from schemas.validation import violations
from streams.runtime import Batch, DueTimer, Output, PoisonError, Record
from streams.tables import SYSTEM_CLINIC, Clinics
from streams.waiting import COLLECTED, REQUEST_DUE, TIMER, at_ms

LETTER = "luxe.pipeline.DeadLetter"
CONTENT = "luxe.pipeline.DeadLetterContent"
# What is told of the record's origin, where it can be read so far.
_FACTS = (
    "event_id",
    "event_type",
    "notification_id",
    "notification_type",
    "recipient",
    "clinic_id",
    "correlation_id",
)


class DeadLetters:
    """Makes dead letters for one stage (``intake``, ``notify``). A timer's letter tells of the request that waited in it."""

    def __init__(self, stage: str, codec: Codec, clinics: Clinics) -> None:
        self._stage, self._codec, self._clinics = stage, codec, clinics
        self._encode = codec.encoder(DEAD_LETTERS, LETTER)

    def __call__(self, subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
        """The letter. Never raises for anything the record holds."""
        if isinstance(subject, DueTimer):
            topic, offset, timestamp_ms = f"timers of {self._stage}", subject.due_ms, subject.due_ms
            key: bytes | None = None
            value: bytes | None = self._waited(subject)
            letter_id = derived_id("dead-letter", topic, batch.partition, offset, subject.timer_id.hex())
            headers: list[dict[str, Any]] = []
        else:
            topic, offset, timestamp_ms = subject.topic, subject.offset, subject.timestamp_ms
            key, value = subject.key, subject.value
            letter_id = dead_letter_id(topic, batch.partition, offset, self._stage)
            headers = [{"name": name, "value": content} for name, content in subject.headers]
        schema_id, schema_name, facts = self._read(value)
        if isinstance(subject, DueTimer):
            facts = {**_named_by(subject), **facts}
        content = self._codec.encode_content(CONTENT, {"key": key, "value": value, "headers": headers})
        letter = {
            **{name: facts.get(name) for name in _FACTS},
            "dead_letter_id": letter_id,
            "stage": self._stage,
            "source_topic": topic,
            "source_partition": batch.partition,
            "source_offset": offset,
            "source_timestamp": at_ms(max(timestamp_ms, 0)),
            "error_code": code_of(error),
            "explanation": explanation_of(error),
            "field": getattr(error, "field", None),
            "schema_id": schema_id,
            "schema_name": schema_name,
            "original_bytes": len(key or b"") + len(value or b""),
            "recorded_at": at_ms(batch.now_ms),
            "sealed": seal(self._key(facts.get("clinic_id")), "DeadLetter", letter_id, content),
        }
        # Not under the original's key: a producer that keys by an address is one that lands here.
        return Output(DEAD_LETTERS, letter_id.encode(), self._encode(letter))

    def _waited(self, timer: DueTimer) -> bytes:
        try:
            request: bytes | None = self._codec.decode_bare(TIMER, timer.payload)["request"]
        except CodecError:
            return timer.payload
        return request or timer.payload

    def _read(self, value: bytes | None) -> tuple[int | None, str | None, Mapping[str, Any]]:
        try:
            decoded = self._codec.decode(value)
        except CodecError as error:
            return error.schema_id, error.name, {}
        try:
            # What is not what its field is for may be anything: such an event_id may be a name.
            impossible = {violation.field for violation in violations(decoded.name, decoded.value)}
        except UnknownRecordError:
            return decoded.schema_id, decoded.name, {}
        told = {name: fact for name, fact in decoded.value.items() if name in _FACTS and name not in impossible}
        return decoded.schema_id, decoded.name, told

    def _key(self, clinic_id: str | None) -> DataKey:
        try:
            return self._clinics.get(clinic_id or SYSTEM_CLINIC).key
        except PoisonError:
            return self._clinics.get(SYSTEM_CLINIC).key


def _named_by(timer: DueTimer) -> Mapping[str, str]:
    """What a timer's id says: whose request it holds, even where nothing of that can be read."""
    kind, rest = timer.timer_id[:1], timer.timer_id[1:]
    return {"notification_id": str(UUID(bytes=rest))} if kind in (REQUEST_DUE, COLLECTED) and len(rest) == 16 else {}


def code_of(error: BaseException) -> str:
    """The error's enumerated code; for errors that are nobody's contract, ``unexpected_error``."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "unexpected_error"


def explanation_of(error: BaseException) -> str:
    """The text of an error of ours; of any other only its kind and place, since its text may quote the record."""
    if isinstance(getattr(error, "code", None), str):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}; this is a fault of ours: report it with the dead letter's id"
