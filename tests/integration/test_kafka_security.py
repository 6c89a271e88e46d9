"""Kafka spoken to in TLS, with a password or a certificate of ours: by every kind of client, and what a refusal says."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from cli.main import luxe
from connectors import kafka, kafka_log
from connectors.kafka import make_admin, make_producer, read_to_end
from connectors.kafka_log import ClientLog
from connectors.kafka_refusals import MECHANISM, PASSWORD, TLS, TOPIC, UNTRUSTED, Refusal, why
from connectors.postgres import relay
from connectors.settings import Settings
from tests.chaos.workers import Crew
from tests.conftest import Stack
from tests.integration import secured_broker
from tests.integration.postgres.test_relay import running
from tests.integration.secured_broker import KEY_PASSWORD, LOGIN, MUTUAL, Authority, Secured

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def broker() -> Iterator[Secured]:
    with secured_broker.secured_broker() as secured:
        yield secured


@pytest.fixture(autouse=True)
def _a_log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "CLIENT_LOG", ClientLog())


def in_tls(broker: Secured) -> Settings:
    return broker.settings(secured_broker.TLS)


def by_certificate(broker: Secured) -> Settings:
    certificate, key = broker.authority.sign("client", password=KEY_PASSWORD)
    ours: dict[str, Any] = {"kafka_certificate_file": certificate, "kafka_key_file": key}
    return broker.settings(MUTUAL, kafka_key_password=KEY_PASSWORD, **ours)


def by_scram(broker: Secured, password: str = secured_broker.PASSWORD) -> Settings:
    return broker.settings(LOGIN, kafka_username="scram", kafka_password=password)


def by_plain(broker: Secured, name: str = "plain") -> Settings:
    who = {"kafka_username": name, "kafka_password": secured_broker.PASSWORD}
    return broker.settings(LOGIN, kafka_sasl_mechanism="PLAIN", **who)


WAYS = pytest.mark.parametrize("way", [in_tls, by_certificate, by_scram, by_plain])


@WAYS
def test_clients_are_let_in(broker: Secured, way: Callable[[Secured], Settings]) -> None:
    settings = way(broker)
    (topic,) = Stack(broker.keeper).new_topics(["said"]).values()
    assert topic in make_admin(settings).list_topics(timeout=PATIENCE_SECONDS).topics
    producer = make_producer(settings, transactional_id=uuid.uuid4().hex)
    producer.init_transactions(PATIENCE_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, b"in private", b"k")
    producer.commit_transaction(PATIENCE_SECONDS)
    assert [message.value() for message in read_to_end(settings, [topic])] == [b"in private"]


@WAYS
def test_a_stream_works(broker: Secured, tmp_path: Path, way: Callable[[Secured], Settings]) -> None:
    """Its membership is aiokafka's, its records librdkafka's."""
    crew, feed = crew_on(broker, tmp_path, way(broker))
    try:
        crew.start()
        feed()
        wait(lambda: len(list(read_to_end(broker.keeper, [crew.topics["counted"]]))) == 8, crew)
    finally:
        crew.stop()


def test_a_stream_with_a_wrong_password_says_so_and_not_the_password(broker: Secured, tmp_path: Path) -> None:
    crew, _ = crew_on(broker, tmp_path, by_scram(broker, "never-that-one"))
    (worker,) = crew.workers
    try:
        worker.start()
        wait(lambda: PASSWORD.said in crew.logs(), crew)
        assert "never-that-one" not in crew.logs()
    finally:
        crew.stop()


def test_the_relay_says_what_refuses_it(
    broker: Secured, stack: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its transactions fail as ones that nobody answers."""
    wrong = by_scram(broker, "never-that-one")
    database = {"postgres_dsn": SecretStr(stack.migrated_database()), "state_dir": tmp_path}
    with caplog.at_level("WARNING"), running(wrong.model_copy(update=database)):
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while PASSWORD.said not in (
            said := "\n".join(one.getMessage() for one in caplog.records if one.name == relay.__name__)
        ):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
    assert "never-that-one" not in caplog.text


def crew_on(broker: Secured, folder: Path, settings: Settings) -> tuple[Crew, Callable[[], None]]:
    """One counting worker with these settings, and what sends eight events to it."""
    topics = Stack(broker.keeper).new_topics(["left", "right", "counted", "dead"])
    topics |= Stack(broker.keeper).new_topics(["state"], config={"cleanup.policy": "compact"})

    def feed() -> None:
        producer = make_producer(broker.keeper)
        for number in range(8):
            producer.produce(topics["left"], b"%d" % number, b"k%d" % number)
        producer.flush()

    return Crew(settings, topics, folder, 1, **told(settings)), feed


def told(settings: Settings) -> dict[str, str]:
    """What a process is told of Kafka by its environment."""
    names = {name for name in Settings.model_fields if name.startswith("kafka_")}
    given = settings.model_dump(include=names, exclude_defaults=True)
    reveal = {name: one.get_secret_value() for name, one in given.items() if isinstance(one, SecretStr)}
    return {f"LUXE_{name.upper()}": str(value) for name, value in (given | reveal).items()}


def wait(what: Callable[[], bool], crew: Crew) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < deadline, crew.logs()
        time.sleep(0.1)


def with_a_wrong_password(broker: Secured, _folder: Path) -> Settings:
    return by_scram(broker, "never-that-one")


def with_a_mechanism_that_it_does_not_take(broker: Secured, _folder: Path) -> Settings:
    return by_scram(broker).model_copy(update={"kafka_sasl_mechanism": "SCRAM-SHA-256"})


def without_a_certificate_of_ours(broker: Secured, _folder: Path) -> Settings:
    return broker.settings(MUTUAL)


def with_another_authority(broker: Secured, folder: Path) -> Settings:
    return broker.settings(secured_broker.TLS, kafka_ca_file=Authority(folder, "somebody").certificate)


def by_another_name(broker: Secured, _folder: Path) -> Settings:
    return broker.settings(secured_broker.TLS, kafka_bootstrap=f"localhost:{broker.ports[secured_broker.TLS]}")


@pytest.mark.parametrize(
    ("way", "refusal"),
    [
        (with_a_wrong_password, PASSWORD),
        (with_a_mechanism_that_it_does_not_take, MECHANISM),
        (without_a_certificate_of_ours, TLS),
        (with_another_authority, UNTRUSTED),
        (by_another_name, UNTRUSTED),
    ],
)
def test_a_refusal_names_the_mend(
    broker: Secured,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    way: Callable[[Secured, Path], Settings],
    refusal: Refusal,
) -> None:
    producer = make_producer(way(broker, tmp_path))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (said := [record.getMessage() for record in caplog.records if record.name == kafka_log.__name__]):
        assert time.monotonic() < deadline, "nothing was said"
        producer.poll(0.1)
    assert refusal.said in said[0], said
    assert "never-that-one" not in caplog.text


def test_commands_say_what_refuses_them(broker: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin call fails as one that nobody answers; the reason is asked for."""
    settings = by_scram(broker, "never-that-one")
    for name, value in told(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LUXE_KAFKA_BOOTSTRAP", settings.kafka_bootstrap)
    monkeypatch.setenv("LUXE_STATE_DIR", str(settings.state_dir))
    found = CliRunner().invoke(luxe, ["topics", "diff"])
    assert found.exit_code == 1
    assert PASSWORD.said in found.output
    assert "never-that-one" not in found.output


def test_whom_acls_keep_from_a_topic_is_told_so(broker: Secured) -> None:
    (topic,) = Stack(broker.keeper).new_topics(["said"]).values()
    refused: list[Any] = []
    producer = make_producer(by_plain(broker, "outsider"), enable_idempotence=False)
    producer.produce(topic, b"x", on_delivery=lambda error, _message: refused.append(error))
    producer.flush(PATIENCE_SECONDS)
    assert TOPIC.said in why(refused[0])
