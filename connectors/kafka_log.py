"""What librdkafka says of itself, in our log: that a broker is away is one line in half a minute, not twenty a second and client.

A refusal (TLS, password, ACL) is said as one, with the mend; that is for good, and no broker's being away.

Clients hand their lines over when they are polled. They name brokers, topics and groups, never a record's key or value.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

from connectors.kafka_refusals import Refusal, by_words

log = logging.getLogger(__name__)

# An operator looks up within a minute; who reads the file later sees when it began and how long it took.
REPEAT_SECONDS = 30.0
# Of a connection that cannot be made or breaks: the client tries it again by itself, for as long as it takes.
_BROKER_AWAY = "FAIL"
# Past what matters to an operator librdkafka tells of every connection that ends, and only so of listeners that want TLS or SASL.
LOG_LEVEL = 6
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
        refusal = by_words(said)
        if refusal is None and level < logging.ERROR:
            return
        line = kind if refusal is None else refusal.said
        with self._lock:
            now = self._clock()
            if now - self._said_at.get(line, float("-inf")) < REPEAT_SECONDS:
                self._held[line] = self._held.get(line, 0) + 1
                return
            self._said_at[line] = now
            held = self._held.pop(line, 0)
        told = _THREAD.sub("", said)
        more = f" ({held} more such lines since the last one)" if held else ""
        if refusal is not None:
            _tell(refusal, told.partition(": ")[0], more)
        elif kind == _BROKER_AWAY:
            log.warning("Kafka is away, and is tried again until it answers: %s%s", told, more)
        else:
            log.log(level, "Kafka client %s, %s: %s%s", client, kind, told, more)


def _tell(refusal: Refusal, broker: str, more: str) -> None:
    if refusal.certain:
        log.error("Kafka refuses us, and will until that is mended. %s: %s%s", broker, refusal.said, more)
    else:
        log.warning("Kafka may refuse us. %s: %s%s", broker, refusal.said, more)


CLIENT_LOG = ClientLog()
