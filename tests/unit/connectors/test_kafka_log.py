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


def test_a_refusal_is_no_brokers_being_away(caplog: pytest.LogCaptureFixture) -> None:
    heard = ClientLog(Clock())
    broker = "ssl://127.0.0.1:1/bootstrap"
    for said in (
        f"{broker}: SASL authentication error: no such user jane (after 1ms in state AUTH_REQ)",
        f"{broker}: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
        f"{broker}: SASL authentication error: no such user jane (after 1ms in state AUTH_REQ)",
    ):
        heard.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#producer-1", f"[thrd:{broker}]: {said}")
    # Every connection that ends; of a listener that wants TLS nothing else is told.
    for said in ("Disconnected (after 600000ms in state UP)", "Disconnected (after 0ms in state APIVERSION_QUERY)"):
        heard.log(logging.INFO, "%s [%s] %s", "FAIL", "rdkafka#producer-1", f"[thrd:x]: {broker}: {said}")
    assert [(record.levelname, record.getMessage().partition(": ")[0]) for record in caplog.records] == [
        ("ERROR", f"Kafka refuses us, and will until that is mended. {broker}"),
        ("WARNING", "Kafka is away, and is tried again until it answers"),
        ("WARNING", f"Kafka may refuse us. {broker}"),
    ]
    assert "jane" not in caplog.text
