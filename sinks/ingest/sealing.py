"""Seals whole domain events for ClickHouse: with their patient's data key where one exists, else with the clinic's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psycopg

from connectors.sealing import DataKey, KeyCache, seal
from schemas.codec import Codec, CodecError, Decoded

RECORD_TYPE = "Event"
SYSTEM_SUBJECT = "clinic:*"
CONNECT_TIMEOUT_SECONDS = 10
# A key destroyed by an erasure is used at most this long after it.
KEY_TTL_SECONDS = 30.0
MAX_SUBJECTS = 50_000


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a subject: its key (None: it has none), or that it was erased; and until when that counts."""

    key: DataKey | None
    erased: bool
    until: float


class EventSealer:
    """Seals batches of events. One thread. Looks each batch's keys up in one query; what is new is kept for a while."""

    def __init__(
        self, dsn: str, cache: KeyCache, codec: Codec, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._dsn = dsn
        self._cache = cache
        self._codec = codec
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._connection: psycopg.Connection | None = None

    def __call__(self, values: Sequence[bytes]) -> list[bytes | CodecError]:
        """One sealed value, or the event's CodecError, for each wire value. An erased person's events are sealed empty.

        Raises psycopg.Error: without keys nothing can be stored.
        """
        decoded: list[Decoded | CodecError] = [self._decode(value) for value in values]
        self._look_up({s for d in decoded if not isinstance(d, CodecError) for s in _subjects(d)})
        return [
            d if isinstance(d, CodecError) else self._seal(d, value) for d, value in zip(decoded, values, strict=True)
        ]

    def _decode(self, value: bytes) -> Decoded | CodecError:
        try:
            return self._codec.decode(value)
        except CodecError as error:
            return error

    def _seal(self, decoded: Decoded, value: bytes) -> bytes:
        for subject in _subjects(decoded):
            known = self._known[subject]
            if known.erased:
                return b""
            if known.key is not None:
                return seal(known.key, RECORD_TYPE, str(decoded.value["event_id"]), value)
        raise LookupError(f"no data key {SYSTEM_SUBJECT}; run `luxe up`, which seeds the system policy and its key")

    def _look_up(self, subjects: Iterable[str]) -> None:
        now = self._monotonic()
        wanted = [subject for subject in subjects if (at := self._known.get(subject)) is None or at.until < now]
        if not wanted:
            return
        if len(self._known) + len(wanted) > MAX_SUBJECTS:
            self._known = {subject: at for subject, at in self._known.items() if at.until >= now}
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        until = now + KEY_TTL_SECONDS
        found = {subject: _Known(None, False, until) for subject in wanted}
        # Nobody's key is kept under a name with a NUL: Postgres has no such text, and refuses the question for all of them.
        asked = [subject for subject in wanted if "\0" not in subject]
        for subject, clinic_id, wrapped in self._connection.execute(
            "SELECT subject, clinic_id, wrapped FROM data_keys WHERE subject = ANY(%s)", (asked,)
        ):
            found[subject] = _Known(self._cache.get(wrapped, subject, clinic_id), False, until)
        for (subject,) in self._connection.execute(
            "SELECT recipient FROM recipients WHERE erased_at IS NOT NULL AND recipient = ANY(%s)", (asked,)
        ):
            found[subject] = _Known(None, True, until)
        self._known |= found


def _subjects(decoded: Decoded) -> tuple[str, ...]:
    """Whose key seals it, best first. An event about several people is the clinic's."""
    patient, clinic = decoded.value.get("patient_id"), decoded.value.get("clinic_id")
    own = (f"patient:{patient}",) if patient else ()
    return (*own, f"clinic:{clinic}", SYSTEM_SUBJECT)
