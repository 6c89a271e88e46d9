"""What Kafka's clients say reaches the log once in a while, however many say it how often."""

from __future__ import annotations

import logging

import pytest

from connectors.kafka_log import REPEAT_SECONDS, ClientLog

SAID = "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_line_of_each_kind_in_half_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    heard = ClientLog(clock)
    for _ in range(20):
        for client in ("rdkafka#producer-1", "rdkafka#consumer-2"):
            heard.log(logging.ERROR, "%s [%s] %s", "FAIL", client, SAID)
    heard.log(logging.ERROR, "%s [%s] %s", "MAXPOLL", "rdkafka#consumer-2", "[thrd:main]: Application maximum poll …")
    clock.now = REPEAT_SECONDS
    heard.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#producer-1", SAID)
    clock.now = 2 * REPEAT_SECONDS
    heard.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#producer-1", SAID)
    away = f"Kafka is away, and is tried again until it answers: {SAID.partition(']: ')[2]}"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", away),
        ("ERROR", "Kafka client rdkafka#consumer-2, MAXPOLL: Application maximum poll …"),
        ("WARNING", f"{away} (39 more such lines since the last one)"),
        ("WARNING", away),
    ]
