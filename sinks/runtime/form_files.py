"""The blank forms that an email names: read from Postgres just before it is sent, and kept for a while.

A message carries names only: megabytes do not go through Kafka. What is not on file is not sent with it; its text says where
the forms are all the same.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from connectors.gathering import Gathered
from connectors.metrics.attached import FORMS, FORMS_UNDER_WAY
from connectors.metrics.counting import Counts, Read, Source, one
from connectors.postgres import documents
from connectors.postgres.documents import FormFile, form_key, short_digest
from connectors.postgres.pool import Pool
from sinks.runtime.patience import patiently
from sinks.runtime.room import Room
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

FormResult = Literal["attached", "absent", "withheld", "left_out"]
FORM_RESULTS: tuple[FormResult, ...] = ("attached", "absent", "withheld", "left_out")

CONTENT_TYPE = "application/pdf"
# Names not on file cost memory too: a clinic that keeps none is asked about none of them twice a minute.
MAX_KEPT = 10_000
# Forms read by one query, 5 MiB each.
MAX_READ = 8

_Key = tuple[str, str]  # clinic, form


class Forms(NamedTuple):
    """What an email carries of the forms that it names. ``digests``: the files' own, in hex, cut."""

    files: Sequence[Mapping[str, Any]]
    digests: Sequence[str]
    results: Sequence[FormResult]

    def __repr__(self) -> str:
        return f"<Forms: {', '.join(self.results)}>"


NONE = Forms((), (), ())


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
        self.counts = Counts(FORMS)

    async def read(self, clinic_id: str, forms: Sequence[str]) -> Forms:
        """Those on file of the forms that an email names, in the order of names, each once; within the bounds of one email.

        Waits while Postgres is away. Whoever asks has a place in the room (sinks.runtime.admission): it is megabytes.
        """
        files: list[dict[str, Any]] = []
        digests: list[str] = []
        results: list[FormResult] = []
        size = 0
        for key in dict.fromkeys(map(form_key, forms)):
            file = await self._form(clinic_id, key)
            if file is None:
                results.append("absent")
            elif file.content is None:
                results.append("withheld")
            elif len(files) >= self._tuning.forms_most or size + len(file.content) > self._tuning.forms_bytes:
                results.append("left_out")
            else:
                results.append("attached")
                size += len(file.content)
                files.append({"filename": file.filename, "content_type": CONTENT_TYPE, "content": file.content})
                digests.append(short_digest(file.sha256))
        return Forms(files, digests, results)

    def sources(self, room: Room) -> list[Source]:
        """For the exporter; ``room``: where emails with forms have their places."""
        return [self.counts, Read(FORMS_UNDER_WAY, one(lambda: room.inside))]

    def tell(self, delivery_id: str, found: Forms) -> None:
        """An email is about to go with them: counted, and logged so that what went to whom can be found out."""
        for result in found.results:
            self.counts.add(result)
        if found.digests:
            log.info("delivery %s carries the forms %s", delivery_id, " ".join(found.digests))

    async def _form(self, clinic_id: str, key: str) -> FormFile | None:
        kept = self._kept_now((clinic_id, key))
        if kept is not None:
            return kept[0]
        return await self._asked.submit((clinic_id, key))

    def _kept_now(self, key: _Key) -> tuple[FormFile | None, float] | None:
        kept = self._kept.get(key)
        if kept is None or self._clock() >= kept[1]:
            return None
        self._kept.move_to_end(key)
        return kept

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
        """The batch before may have read the same."""
        found: dict[_Key, FormFile | None] = {}
        of_clinic: defaultdict[str, set[str]] = defaultdict(set)
        for key in batch:
            kept = self._kept_now(key)
            if kept is not None:
                found[key] = kept[0]
            else:
                of_clinic[key[0]].add(key[1])
        for clinic_id, names in of_clinic.items():
            files = await self._read(clinic_id, names)
            for name in names:
                found[clinic_id, name] = files.get(name)
                self._keep((clinic_id, name), files.get(name))
        return [found[key] for key in batch]

    async def _read(self, clinic_id: str, keys: set[str]) -> Mapping[str, FormFile]:
        return await patiently(
            lambda: documents.find(self._pool, clinic_id, keys), retry_seconds=self._tuning.postgres_retry_seconds
        )


def _size(file: FormFile | None) -> int:
    return len(file.content or b"") if file is not None else 0
