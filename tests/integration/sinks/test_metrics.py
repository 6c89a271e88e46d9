"""What the processes say of themselves is what they did: over HTTP, on real Kafka, Postgres and provider."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from connectors.metrics.asking import Answer, ask_all
from connectors.metrics.catalogue import BY_NAME
from connectors.metrics.exporter import exporting
from connectors.metrics.health import health
from connectors.metrics.targets import targets
from connectors.settings import Settings
from tests.integration.asked import answers
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import WAIT_SECONDS, Rig, environment, wait_for

pytestmark = pytest.mark.integration


def said_by(settings: Settings, service: str) -> Answer | None:
    return next((answer for answer in ask_all(settings.state_dir) if answer.target.service == service), None)


def answer_of(settings: Settings, service: str) -> Answer:
    """What it says; asked again while it is too busy to answer in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (answer := said_by(settings, service)) is None:
        assert time.monotonic() < deadline, f"{service} does not answer"
        time.sleep(0.05)
    return answer


def value(settings: Settings, service: str, name: str, **labels: str) -> float:
    """The sum of a service's samples with these labels; 0 where there is none."""
    answer = answer_of(settings, service)
    return sum(
        sample.value for sample in answer.of(name) if all(sample.labels.get(key) == v for key, v in labels.items())
    )


def test_a_sink_tells_what_became_of_its_messages(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("sms")
    before = value(rig.settings, "sms", "luxe_deliveries_total", lane="high", status="sent")
    failed = value(rig.settings, "sms", "luxe_deliveries_total", error_class="permanent_recipient")
    good = [outbox.outgoing("sms", patient, lane="high") for _ in range(5)]
    bad = outbox.outgoing("sms", patient, lane="high")
    rig.provider.misbehave(str(bad.content["to"]), kind="twilio_error", code=21211)
    outbox.send([*good, bad])
    for message in [*good, bad]:
        rig.eye.end(message.id)
    wait_for(lambda: value(rig.settings, "sms", "luxe_deliveries_total", lane="high", status="sent") == before + 5)
    assert value(rig.settings, "sms", "luxe_deliveries_total", error_class="permanent_recipient") == failed + 1
    assert value(rig.settings, "sms", "luxe_provider_call_seconds_count", result="accepted") >= 5
    assert value(rig.settings, "sms", "luxe_ledger_batch_rows_sum", step="finish") >= 6
    wait_for(lambda: value(rig.settings, "sms", "luxe_gates_age_seconds") < 5)
    wait_for(lambda: value(rig.settings, "sms", "luxe_deliveries_in_flight") == 0)
    seen = health(answers(rig.settings.state_dir))["sms"]
    assert seen["provider"]["state"] == "well"
    assert seen["provider"]["last_success"]
    # The topics end in control records, which no consumer is ever given: read to the end means 0 all the same.
    wait_for(lambda: bool(lags(rig.settings)) and not any(lags(rig.settings).values()))
    wait_for(lambda: value(rig.settings, "sms", "luxe_delivery_queue_records") == 0)


def lags(settings: Settings) -> dict[tuple[str, str], float]:
    answer = answer_of(settings, "sms")
    return {
        (sample.labels["topic"], sample.labels["partition"]): sample.value
        for sample in answer.of("luxe_consumer_lag_records")
    }


def test_a_queue_that_is_not_worked_off_is_seen(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("sms")
    rig.end("sms")
    rig.start("sms", {"LUXE_SINKS_SLOTS_LOW": "2"})
    try:
        messages = [outbox.outgoing("sms", patient, lane="low") for _ in range(40)]
        for message in messages:
            rig.provider.misbehave(str(message.content["to"]), kind="latency", ms=2000)
        outbox.send(messages)
        wait_for(lambda: value(rig.settings, "sms", "luxe_delivery_queue_records", lane="low") > 10)
        in_flight: list[float] = []

        def one_is_called() -> bool:
            in_flight.append(value(rig.settings, "sms", "luxe_deliveries_in_flight", lane="low"))
            return in_flight[-1] >= 1

        wait_for(one_is_called)
        assert max(in_flight) <= 3  # two slots, and one over them at most
        assert value(rig.settings, "sms", "luxe_delivery_queue_records", lane="critical") == 0
    finally:
        rig.provider.behave()
        rig.end("sms")
    assert said_by(rig.settings, "sms") is None


def test_every_sample_is_of_the_catalogue_and_shows_nobody(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("email")
    message = outbox.outgoing("email", patient)
    outbox.send([message])
    rig.eye.end(message.id)
    for answer in answers(rig.settings.state_dir):
        for sample in answer.samples:
            known = any(
                sample.name in (name, *(f"{name}_{end}" for end in ("bucket", "sum", "count"))) for name in BY_NAME
            )
            assert known or sample.name.startswith("process_"), sample.name
    texts = [requests.get(target.url, timeout=30).text for target in targets(rig.settings.state_dir)]
    assert len(texts) >= 2
    for secret in (patient, message.id, str(message.content["to"]), str(message.message["clinic_id"])):
        assert not any(secret in text for text in texts)


def test_a_restarted_process_is_found_where_it_was(rig: Rig) -> None:
    rig.ensure("email")
    [before] = [target for target in targets(rig.settings.state_dir) if target.service == "email"]
    rig.end("email")
    rig.ensure("email")
    [after] = [target for target in targets(rig.settings.state_dir) if target.service == "email"]
    assert (after.address, after.pid == before.pid) == (before.address, False)


@pytest.fixture
def somewhere(rig: Rig, tmp_path: Path) -> Settings:
    return rig.settings.model_copy(update={"state_dir": tmp_path})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield int(held.getsockname()[1])


def test_a_port_in_use_stops_nobody(somewhere: Settings, taken: int) -> None:
    with exporting(somewhere.model_copy(update={"metrics_port": taken}), "sms", ()) as target:
        assert target is not None
        assert target.address != f"127.0.0.1:{taken}"
        assert requests.get(target.url, timeout=30).status_code == 200


def test_it_can_be_switched_off(somewhere: Settings) -> None:
    with exporting(somewhere.model_copy(update={"metrics": False}), "sms", ()) as target:
        assert target is None
    assert targets(somewhere.state_dir) == []


def test_prometheus_own_library_reads_what_a_process_writes(rig: Rig) -> None:
    """In a process of its own: the whole text, through the strict parser of OpenMetrics too."""
    rig.ensure("email")
    [target] = [target for target in targets(rig.settings.state_dir) if target.service == "email"]
    text = requests.get(target.url, headers={"Accept": "application/openmetrics-text; version=1.0.0"}, timeout=30).text
    checked = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; "
            "print(len(list(parse(sys.stdin.read()))))",
        ],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(rig.settings, "email") | os.environ,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert int(checked.stdout) > 10
