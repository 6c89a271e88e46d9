"""From an event's produce to the provider's receipt of its request: two transactional hops and the SMS sink, at 200 events/s.

The whole local stack runs: intake, notify, the SMS sink with its ledger in Postgres, the loopback provider. Each event is a
confirmed visit, for which one text of thanks goes out at once. Receipts are off: nobody here would take them, and a provider's
tries to post them would be measured instead.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen

from confluent_kafka import Producer

from connectors.kafka import make_producer, read_to_end
from schemas.topics import REQUESTED, deliver_topic
from tests.bench.clinic import PATIENTS, TOPIC, Appointments, add_patients, phone_of
from tests.bench.report import Figure
from tests.conftest import Stack

# Limits are kept, but of a larger account: the specification's 100 texts a second would hold these 200 up.
ENVIRONMENT = {
    "LUXE_LOOPBACK_RECEIPTS": "off",
    "LUXE_LIMIT_SMS_PER_SECOND": "10000",
    "LUXE_LIMIT_SMS_PER_DAY": "100000000",
}
EVENTS_PER_SECOND = 200
LANE = "normal"  # of what a confirmed visit calls for
# At the same pace and not counted: fills caches and connections, and lets the broker's compiler come to rest (it takes a
# quarter of a core for the first half minute of its life).
WARM_UP_EVENTS = 8_000
EVENTS = 6_000
GOAL_P50_MS, GOAL_P99_MS = 50.0, 200.0
_ARRIVAL_TIMEOUT_SECONDS = 60.0
_PAGE = 1_000


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About a minute and a half."""
    add_patients(stack.settings)
    appointments = Appointments("confirmed")
    # One for both: a new one needs half a second to introduce itself.
    producer = make_producer(stack.settings, linger_ms=1)
    say(f"{WARM_UP_EVENTS:,} events to warm up")
    _produce(producer, appointments, WARM_UP_EVENTS)
    _arrived(stack, WARM_UP_EVENTS)
    say(f"{EVENTS:,} events at {EVENTS_PER_SECOND} a second")
    sent = _produce(producer, appointments, EVENTS)
    received = _arrived(stack, WARM_UP_EVENTS + EVENTS)
    latencies = sorted(_latencies(sent, received))
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    for place, topic in (("intake's", REQUESTED), ("notify's", deliver_topic("sms", LANE))):
        lags = _written_after(stack, topic)
        say(f"p50 until {place} output is made: {lags[len(lags) // 2]:.0f} ms, most {lags[-1]:.0f} ms")
    say(f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {latencies[-1]:.0f} ms")
    return [_within("p50", p50, GOAL_P50_MS), _within("p99", p99, GOAL_P99_MS)]


def _written_after(stack: Stack, topic: str) -> list[int]:
    """How long after its event each record of a topic was produced, in ms, sorted; the first ones, of the warm-up, left out."""
    found: list[int] = []
    for message in read_to_end(stack.settings, [topic]):
        headers: Any = message.headers()
        occurred = dict(headers)["occurred_at_ms"]
        found.append(message.timestamp()[1] - int(occurred))
    return sorted(found[WARM_UP_EVENTS:])


def _within(share: str, found_ms: float, most_ms: float) -> Figure:
    name = f"event → provider at {EVENTS_PER_SECOND} events/s, {share} (the goal ÷ ours)"
    return Figure(name, found_ms, most_ms, most_ms / found_ms, "ms", 1.0)


def _produce(producer: Producer, appointments: Appointments, events: int) -> list[tuple[int, float]]:
    """Patient and time (ms since the epoch) of each event, at an even pace."""
    sent: list[tuple[int, float]] = []
    began = time.perf_counter()
    for number in range(events):
        time.sleep(max(0.0, began + number / EVENTS_PER_SECOND - time.perf_counter()))
        patient, key, value = appointments.take()
        sent.append((patient, time.time() * 1000))
        producer.produce(TOPIC, value, key)
        producer.poll(0)
    producer.flush()
    return sent


def _arrived(stack: Stack, messages: int) -> list[tuple[str, float]]:
    """Phone and time (ms since the epoch) of each message the provider took, once it has as many."""
    deadline = time.monotonic() + _ARRIVAL_TIMEOUT_SECONDS
    while (arrived := int(_get(stack, "/messages/count")["total"])) < messages:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{arrived} of {messages} messages reached the provider: see its and the services' logs")
        time.sleep(0.2)
    found: list[tuple[str, float]] = []
    cursor: int | None = 0
    while cursor is not None:
        page = _get(stack, f"/messages?channel=sms&limit={_PAGE}&cursor={cursor}")
        cursor = page["next_cursor"]
        found += [
            (message["to"], datetime.fromisoformat(message["accepted_at"]).timestamp() * 1000)
            for message in page["messages"]
        ]
    return found


def _latencies(sent: list[tuple[int, float]], received: list[tuple[str, float]]) -> list[float]:
    """In ms. A patient's events are seconds apart, so her messages come in their order; the last ones are those counted."""
    times: dict[str, list[float]] = defaultdict(list)
    for phone, at_ms in received:
        times[phone].append(at_ms)
    mine: dict[int, list[float]] = defaultdict(list)
    for patient, at_ms in sent:
        mine[patient].append(at_ms)
    found: list[float] = []
    for patient in range(PATIENTS):
        began = mine[patient]
        found += [end - start for start, end in zip(began, times[phone_of(patient)][-len(began) :], strict=True)]
    return found


def _get(stack: Stack, path: str) -> Any:
    with urlopen(Request(f"{stack.loopback_url}{path}"), timeout=10) as answer:  # noqa: S310 - the loopback provider's http
        return json.load(answer)
