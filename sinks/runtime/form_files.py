"""The blank forms that an email names: read from Postgres just before it is sent, and kept for a while.

A message carries names only: megabytes do not go through Kafka. What is not on file is not sent with it; its text says where
the forms are all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from connectors.gathering import Gathered
from connectors.metrics.attached import FORMS
from connectors.metrics.counting import Counts
from connectors.postgres import documents
from connectors.postgres.documents import FormFile, form_key
from connectors.postgres.pool import Pool
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning

FormResult = Literal["attached", "absent", "withheld", "left_out"]
FORM_RESULTS: tuple[FormResult, ...] = ("attached", "absent", "withheld", "left_out")

CONTENT_TYPE = "application/pdf"
# Names not on file cost memory too: a clinic that keeps none is asked about none of them twice a minute.
MAX_KEPT = 10_000
# Forms read by one query, 5 MiB each.
MAX_READ = 8

_Key = tuple[str, str]  # clinic, form


class FormFiles:
    """Reads, keeps and counts them. All methods are called in the event loop."""

    def __init__(self, pool: Pool, tuning: Tuning, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds."""
        self._pool = pool
        self._tuning = tuning
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[FormFile | None, float]] = OrderedDict()
        self._kept_bytes = 0
        self._asked: Gathered[_Key, FormFile | None] = Gathered(
            self._fetch, max_items=MAX_READ, linger_ms=tuning.batch_linger_ms
        )
        self._room = asyncio.Semaphore(tuning.forms_at_once)
        self.counts = Counts(FORMS)

    @asynccontextmanager
    async def with_forms(
        self, message: Mapping[str, Any], content: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The content with the forms that it names, of those on file; most name none. Waits while Postgres is away.

        Of emails that carry any, so many at most are under way at once: each is megabytes in memory.
        """
        files = await self._files(message["clinic_id"], content["forms"]) if content["forms"] else []
        if not files:
            yield content
            return
        async with self._room:
            yield {**content, "attachments": [*content["attachments"], *files]}

    async def _files(self, clinic_id: str, forms: Sequence[str]) -> list[dict[str, Any]]:
        """In the order of names, each once; within the bounds of one email."""
        found: list[dict[str, Any]] = []
        size = 0
        for key in dict.fromkeys(map(form_key, forms)):
            file = await self._form(clinic_id, key)
            if file is None:
                self._count("absent")
            elif file.content is None:
                self._count("withheld")
            elif len(found) >= self._tuning.forms_most or size + len(file.content) > self._tuning.forms_bytes:
                self._count("left_out")
            else:
                self._count("attached")
                size += len(file.content)
                found.append({"filename": file.filename, "content_type": CONTENT_TYPE, "content": file.content})
        return found

    def _count(self, result: FormResult) -> None:
        self.counts.add(result)

    async def _form(self, clinic_id: str, key: str) -> FormFile | None:
        kept = self._kept.get((clinic_id, key))
        if kept is not None and self._clock() < kept[1]:
            self._kept.move_to_end((clinic_id, key))
            return kept[0]
        file = await self._asked.submit((clinic_id, key))
        self._keep((clinic_id, key), file)
        return file

    def _keep(self, key: _Key, file: FormFile | None) -> None:
        self._forget(key)
        self._kept[key] = file, self._clock() + self._tuning.forms_kept_seconds
        self._kept_bytes += _size(file)
        while self._kept_bytes > self._tuning.forms_kept_bytes or len(self._kept) > MAX_KEPT:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: _Key) -> None:
        was = self._kept.pop(key, None)
        if was is not None:
            self._kept_bytes -= _size(was[0])

    async def _fetch(self, batch: Sequence[_Key]) -> list[FormFile | None]:
        of_clinic: defaultdict[str, set[str]] = defaultdict(set)
        for clinic_id, key in batch:
            of_clinic[clinic_id].add(key)
        found: dict[_Key, FormFile] = {}
        for clinic_id, keys in of_clinic.items():
            files = await self._read(clinic_id, keys)
            found |= {(clinic_id, key): file for key, file in files.items()}
        return [found.get(key) for key in batch]

    async def _read(self, clinic_id: str, keys: set[str]) -> Mapping[str, FormFile]:
        return await patiently(
            lambda: documents.find(self._pool, clinic_id, keys), retry_seconds=self._tuning.postgres_retry_seconds
        )


def _size(file: FormFile | None) -> int:
    return len(file.content or b"") if file is not None else 0
