"""Asking our own processes for their numbers, as Prometheus does, for those who look without one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from connectors.metrics.targets import Target, targets

# Loopback answers in milliseconds; the relay asks Postgres first.
TIMEOUT_SECONDS = 3.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One number: its sample's name (``…_total``, ``…_bucket``), labels, value."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What one process said."""

    target: Target
    samples: Sequence[Sample]

    def of(self, name: str) -> Iterator[Sample]:
        """The samples of that name."""
        return (sample for sample in self.samples if sample.name == name)

    def total(self, name: str) -> float | None:
        """Their sum; None where there is none."""
        found = [sample.value for sample in self.of(name)]
        return sum(found) if found else None


def ask(target: Target) -> Answer | None:
    """What it says; None where it does not answer in time."""
    parts = urlsplit(target.url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES).decode()
        if response.status != http.HTTPStatus.OK:
            return None
        return Answer(
            target, [Sample(*found[:3]) for family in text_string_to_metric_families(text) for found in family.samples]
        )
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def ask_all(state_dir: Path) -> list[Answer]:
    """All living processes of a state directory, at once; those that answer."""
    found = targets(state_dir)
    if not found:
        return []
    with ThreadPoolExecutor(len(found)) as threads:
        return [answer for answer in threads.map(ask, found) if answer is not None]
