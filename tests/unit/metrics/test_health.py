"""A service's numbers in a few words."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cli.status import backlog_lines, queue_table
from connectors.metrics.asking import Answer, Sample
from connectors.metrics.health import health
from connectors.metrics.targets import Target


def answer(service: str, *samples: tuple[str, dict[str, str], float]) -> Answer:
    return Answer(Target(service, "127.0.0.1:9100", 1, "x"), [Sample(*sample) for sample in samples])


def lane(name: str, **values: float) -> list[tuple[str, dict[str, str], float]]:
    names = {
        "queued": "luxe_delivery_queue_records",
        "in_flight": "luxe_deliveries_in_flight",
        "calls": "luxe_provider_recent_calls",
        "errors": "luxe_provider_recent_errors",
        "success": "luxe_provider_last_success_timestamp_seconds",
    }
    return [(names[word], {"channel": "sms", "lane": name}, value) for word, value in values.items()]


def test_two_processes_of_a_channel_are_added_up() -> None:
    first = answer("sms", *lane("high", queued=3, in_flight=2, calls=10, errors=1, success=100.0))
    second = answer("sms", *lane("high", queued=4, in_flight=0, calls=10, errors=0, success=200.0))
    found = health([first, second])["sms"]
    assert found["processes"] == 2
    assert found["lanes"]["high"] == {
        "queued": 7,
        "in_flight": 2,
        "recent_calls": 20,
        "recent_errors": 1,
        "last_success": 200.0,
    }
    assert found["provider"] == {
        "state": "well",
        "breakers": {},
        "recent_calls": 20,
        "recent_errors": 1,
        "error_rate": 0.05,
        "last_success": 200.0,
    }


@pytest.mark.parametrize(
    ("calls", "errors", "queued", "state"),
    [
        (0, 0, 0, "idle"),
        (0, 0, 5, "queueing"),
        (1, 1, 0, "well"),  # one failure is the weather
        (3, 3, 0, "no answer"),
        (100, 50, 0, "failing"),
        (100, 49, 9, "well"),
    ],
)
def test_a_provider_in_a_word(calls: int, errors: int, queued: int, state: str) -> None:
    found = health([answer("sms", *lane("low", queued=queued, in_flight=0, calls=calls, errors=errors))])
    assert found["sms"]["provider"]["state"] == state


def test_a_paused_account_is_said_before_anything_else() -> None:
    def breaker(subject: str, state: str) -> list[tuple[str, dict[str, str], float]]:
        states = ("closed", "open", "half_open")
        labels = {"channel": "sms", "subject": subject}
        return [("luxe_breaker_state", labels | {"state": one}, float(one == state)) for one in states]

    working = answer("sms", *lane("low", queued=0, in_flight=0, calls=9, errors=0), *breaker("account", "closed"))
    paused = answer("sms", *breaker("account", "half_open"), *breaker("marketing sender", "closed"))
    provider = health([working, paused])["sms"]["provider"]
    assert provider["state"] == "paused"
    assert provider["breakers"] == {"account": "half_open", "marketing sender": "closed"}
    assert health([working])["sms"]["provider"]["state"] == "well"


def test_what_standing_relays_say_is_said_once() -> None:
    samples: list[tuple[str, dict[str, str], float]] = [
        ("luxe_outbox_unpublished_rows", {}, 5),
        ("luxe_outbox_oldest_seconds", {}, 2.5),
        ("luxe_receipts_waiting", {"provider": "twilio", "state": "parked"}, 2),
        ("luxe_receipts_waiting", {"provider": "sendgrid", "state": "quarantined"}, 1),
    ]
    found = health([answer("relay", *samples), answer("relay", *samples)])["relay"]
    assert (found["outbox_rows"], found["outbox_oldest_seconds"]) == (5, 2.5)
    assert (found["receipts_parked"], found["receipts_quarantined"]) == (2, 1)


def test_what_waits_is_told_and_what_does_not_is_not() -> None:
    found: dict[str, dict[str, Any]] = health(
        [
            answer("relay", ("luxe_outbox_unpublished_rows", {}, 5)),
            answer("notify", ("luxe_consumer_lag_records", {"topic": "a", "partition": "0"}, 0)),
        ]
    )
    assert backlog_lines(found) == ["relay: 5 changes not in Kafka"]


def test_the_table_shows_queue_and_flight_by_lane() -> None:
    found = health([answer("sms", *lane("low", queued=120, in_flight=8, calls=4, errors=1, success=940.0))])
    written = io.StringIO()
    Console(file=written, width=140).print(queue_table(found, 1000.0))
    assert "well" in written.getvalue()
    assert "1 of 4" in written.getvalue()
    assert "60 s ago" in written.getvalue()
    assert "120 (8)" in written.getvalue()
