"""Opens what is sealed in a message: finds the data key it needs, many in one query, and keeps it for a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.gathering import Gathered
from connectors.postgres import data_keys
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records, clinic_subject
from connectors.sealing import DataKey, KeyRingError, SealError, header_of, open_sealed
from schemas.codec import CodecError, LaterSchemaError
from sinks.runtime.patience import patiently
from sinks.runtime.poison import PoisonError
from sinks.runtime.tuning import Tuning

CONTENT = "luxe.pipeline.MessageContent"
ASKED = "luxe.pipeline.AskedAppointment"
# An erased person's gate closes at once; this only bounds how long her key stays in memory after it.
KEY_SECONDS = 60.0
# 600 bytes each: what a busy quarter of an hour writes to.
MAX_KEYS = 25_000


class KeyGone(Exception):
    """The recipient was erased: nobody can read the message any more, and it is to reach nobody."""


class Keys:
    """Data keys of recipients, and the strangers keys of clinics."""

    def __init__(self, pool: Pool, records: Records, tuning: Tuning) -> None:
        self._pool = pool
        self._records = records
        self._retry_seconds = tuning.postgres_retry_seconds
        self._kept: OrderedDict[str, tuple[DataKey, float]] = OrderedDict()
        self._asked: Gathered[str, DataKey | SealError | None] = Gathered(
            self._fetch, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The luxe.pipeline.MessageContent of a ChannelMessage. Raises KeyGone, PoisonError, LaterSchemaError, KeyRingError."""
        key = await self.key_of(message)
        try:
            content = open_sealed(key, "ChannelMessage", message["delivery_id"], message["sealed"])
        except SealError as error:
            raise PoisonError(error.code, f"sealed: {error}", "sealed") from None
        codec = self._records.codec
        try:
            found = codec.decode_content(CONTENT, content)
            if found["asks"] is not None:
                codec.decode_content(ASKED, found["asks"])  # now, while the ledger knows of no attempt yet
        except LaterSchemaError:
            raise
        except CodecError as error:
            raise PoisonError(
                error.code, "sealed: what was sealed is no MessageContent; render anew", "sealed"
            ) from None
        return found

    async def key_of(self, message: Mapping[str, Any]) -> DataKey:
        """The key that a ChannelMessage is sealed with. Raises KeyGone, PoisonError, KeyRingError."""
        try:
            header = header_of(message["sealed"])
            if header.scope != "r":
                return await self.of_clinic(message["clinic_id"], header.key_id)
            key = await self._find(message["recipient"], header.key_id)
        except SealError as error:
            raise PoisonError(error.code, f"sealed: {error}", "sealed") from None
        if key is None:
            raise KeyGone
        return key

    async def of_clinic(self, clinic_id: str | None, key_id: bytes | None = None) -> DataKey:
        """The strangers key of a clinic, the system's for a clinic without one. ``key_id``: the one it must be.

        Raises PoisonError when neither is there.
        """
        for name in dict.fromkeys((clinic_id, SYSTEM_CLINIC)):
            key = await self._find(clinic_subject(name), key_id) if name is not None else None
            if key is not None and key_id in (None, key.key_id):
                return key
        raise PoisonError(
            "unknown_key",
            "sealed: neither clinic nor system has this key; run `luxe up` or restore data_keys",
            "sealed",
        )

    async def _find(self, subject: str, key_id: bytes | None) -> DataKey | None:
        kept = self._kept.get(subject)
        if kept is not None and kept[1] > time.monotonic() and key_id in (None, kept[0].key_id):
            return kept[0]
        asked = await self._asked.submit(subject)
        if isinstance(asked, SealError):
            raise asked
        return asked

    async def _fetch(self, subjects: Sequence[str]) -> list[DataKey | SealError | None]:
        found = await patiently(lambda: self._read(list(dict.fromkeys(subjects))), retry_seconds=self._retry_seconds)
        keys = {subject: self._unwrap(key) for subject, key in found.items()}
        return [keys.get(subject) for subject in subjects]

    def _unwrap(self, key: WrappedKey) -> DataKey | SealError:
        try:
            unwrapped = self._records.ring.unwrap(key.wrapped, key.subject, key.clinic_id)
        except SealError as error:
            if error.code == "unknown_kek":
                raise KeyRingError(str(error)) from error  # the ring's fault, and so no message's
            return error  # one row's damage is not its batch's
        self._kept[key.subject] = (unwrapped, time.monotonic() + KEY_SECONDS)
        self._kept.move_to_end(key.subject)
        if len(self._kept) > MAX_KEYS:
            self._kept.popitem(last=False)
        return unwrapped

    async def _read(self, subjects: Sequence[str]) -> dict[str, WrappedKey]:
        async with self._pool.connection() as connection:
            return await data_keys.find(connection, subjects)
