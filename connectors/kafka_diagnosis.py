"""Why nobody answered: what a client of its own hears from the brokers in a moment.

An admin call that is refused by TLS, or for its password, fails as one that nobody answers: the reason comes to the connection,
and such a client is polled by nobody. So it is asked for once more, where a person waits for the answer.
"""

from __future__ import annotations

import time

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.kafka import QUIET, client_config
from connectors.kafka_refusals import Refusal, refusal_of, why
from connectors.settings import Settings

# A refusal comes with the connection, in milliseconds; a broker that is away costs all of it.
LISTENING_SECONDS = 3.0

_NOBODY_ANSWERED = frozenset(
    {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT_QUEUE}
)


def why_not(settings: Settings, error: KafkaError) -> str:
    """`why` of an error; where it only says that nobody answered, with what refuses us. Blocks for LISTENING_SECONDS at most."""
    if error.code() not in _NOBODY_ANSWERED:
        return why(error)
    try:
        refusal = _heard(settings)
    except KafkaException:  # no client can be made: a file was taken away since
        refusal = None
    return why(error) if refusal is None else f"{error.name()}: {refusal.said}"


def _heard(settings: Settings) -> Refusal | None:
    found: list[Refusal] = []

    def hear(error: KafkaError) -> None:
        if (refusal := refusal_of(error)) is not None:
            found.append(refusal)

    client = Producer(client_config(settings) | QUIET | {"error_cb": hear})
    deadline = time.monotonic() + LISTENING_SECONDS
    while not found and time.monotonic() < deadline:
        client.poll(0.1)
    return found[0] if found else None
