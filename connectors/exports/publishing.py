"""Publishes an export's events to Kafka, in chunks; where it stands is kept, so that it goes on after a break.

At least once: a chunk that was on its way when the run broke is sent again. Event ids are made from the rows, so the pipeline
recognises what it had already.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from confluent_kafka import KafkaError, Message, Producer

from connectors.exports.rows import MappedRow
from connectors.kafka import QUIET, producer_config
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import open_registry

# Rows between two flushes, so rows sent twice at the worst; and what one flush waits for at most.
CHUNK_ROWS = 5_000
FLUSH_TIMEOUT_SECONDS = 60.0


class PublishError(Exception):
    """Events did not reach Kafka; what had, is kept, and the same command goes on from there."""


@dataclass(slots=True)
class Standing:
    """Where a run stands; persisted after every chunk."""

    shift_days: int
    correlation_id: str
    rows: int = 0
    events: int = 0
    rejected: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    done: bool = False

    @property
    def took_nothing(self) -> bool:
        """Was every row rejected?"""
        return 0 < self.rows == self.rejected


def fingerprint(path: Path, map_path: Path | None) -> str:
    """Names a file and its map (None: it needs none) by their contents."""
    digest = hashlib.sha256(map_path.read_bytes() if map_path is not None else b"")
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


# What reading such a file raises where it is not what its name or map says. OSError itself, a full disk say, goes up.
UNREADABLE = (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error)


def open_text(path: Path, encoding: str) -> TextIO:
    """The file as text; ``.gz`` is unpacked on the way."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return path.open("r", encoding=encoding, newline="")


def standing_path(settings: Settings, name: str) -> Path:
    """Where the standing of one file and map is kept."""
    return settings.state_dir / "produce" / f"{name}.json"


def load_standing(path: Path) -> Standing | None:
    """A standing kept before, or None. Raises PublishError where the file is none."""
    try:
        return Standing(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise PublishError(
            f"{path}: cannot be read ({type(error).__name__}); --restart begins at the first row"
        ) from error


def publish(
    settings: Settings,
    rows: Iterable[MappedRow],
    standing: Standing,
    keep_at: Path,
    on_rejected: Callable[[MappedRow], None],
    on_progress: Callable[[Standing], None],
    *,
    to_the_end: bool = True,
) -> None:
    """Publish ``rows``: those after ``standing.rows``, ``to_the_end`` of the file or to where a limit ends them.

    Raises PublishError; run it again with the kept standing to go on.
    """
    registry_auth = settings.schema_registry_auth
    codec = Codec(
        open_registry(settings.schema_registry_url, registry_auth.get_secret_value() if registry_auth else None)
    )
    producer = Producer(producer_config(settings, linger_ms=20) | QUIET)
    failed: Counter[str] = Counter()
    by_type = Counter(standing.by_type)

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed[error.name()] += 1

    def end_chunk() -> None:
        left = producer.flush(FLUSH_TIMEOUT_SECONDS)
        if left or failed:
            why = ", ".join(f"{count} × {name}" for name, count in failed.items()) or f"{left} without an answer"
            raise PublishError(f"events after row {standing.rows} did not all reach Kafka: {why}")
        standing.rows, standing.events, standing.rejected = seen, events, rejected
        standing.by_type = dict(by_type)
        _keep(keep_at, standing)
        on_progress(standing)

    seen, events, rejected = standing.rows, standing.events, standing.rejected
    for row in rows:
        seen += 1
        if row.rejected is not None:
            rejected += 1
            on_rejected(row)
        for event in row.events:
            contract = EVENT_TYPES[event.event_type]
            value = codec.encode(contract.topic, contract.record, event.value)
            while True:
                try:
                    producer.produce(contract.topic, value, key=event.key, on_delivery=delivered)
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
            events += 1
            by_type[event.event_type] += 1
        if seen % CHUNK_ROWS == 0:
            end_chunk()
        elif seen % 200 == 0:
            producer.poll(0)
    standing.done = to_the_end
    end_chunk()


def _keep(path: Path, standing: Standing) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(standing)))
    draft.replace(path)
