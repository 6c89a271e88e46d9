"""What librdkafka says of itself, in our log: that a broker is away is one line in half a minute, not twenty a second and client.

Clients hand their lines over when they are polled. They name brokers, topics and groups, never a record's key or value.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# An operator looks up within a minute; who reads the file later sees when it began and how long it took.
REPEAT_SECONDS = 30.0
# Of a connection that cannot be made or breaks: the client tries it again by itself, for as long as it takes.
_BROKER_AWAY = "FAIL"
_THREAD = re.compile(r"^\[thrd:[^\]]*\]: ")


class ClientLog:
    """All clients of a process say it here; of each kind one line in REPEAT_SECONDS, which counts those held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def log(self, level: int, _: str, kind: str, client: str, said: str) -> None:
        """Called by confluent-kafka, which is given this as its ``logger``. ``level``: logging's."""
        with self._lock:
            now = self._clock()
            if now - self._said_at.get(kind, float("-inf")) < REPEAT_SECONDS:
                self._held[kind] = self._held.get(kind, 0) + 1
                return
            self._said_at[kind] = now
            held = self._held.pop(kind, 0)
        told = _THREAD.sub("", said)
        more = f" ({held} more such lines since the last one)" if held else ""
        if kind == _BROKER_AWAY:
            log.warning("Kafka is away, and is tried again until it answers: %s%s", told, more)
        else:
            log.log(level, "Kafka client %s, %s: %s%s", client, kind, told, more)


CLIENT_LOG = ClientLog()
