"""A refusal is told from a broker's being away, by code and by librdkafka's words, and carries nothing of the broker's own."""

from __future__ import annotations

import re

import pytest
from confluent_kafka import KafkaError

from connectors import kafka_refusals as of
from connectors.kafka_refusals import BY_CODE, Refusal, by_words, why
from connectors.settings import Settings

BROKER = "127.0.0.1:1/bootstrap: "


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 0ms …)", of.NO_TLS),
        ("Disconnected: SSL connection closed by peer (after 3ms in state SSL_HANDSHAKE)", of.NO_TLS),
        (
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be "
            "verified, verify that ssl.ca.location is correctly configured",
            of.UNTRUSTED,
        ),
        ("SSL handshake failed: error:0A000102:SSL routines::unsupported protocol (after 3ms …)", of.TLS),
        (
            "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
            of.TLS,
        ),
        ("SSL handshake failed: SSL alert number 45 (certificate expired)", of.TLS),
        ("SSL handshake failed: SSL alert number 80", None),
        ("SSL handshake failed: SSL transport error: Connection timed out", None),
        ("SASL authentication error: Authentication failed due to unavailable credential store", None),
        (
            "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration "
            "(connecting to a SSL listener?) or broker version is < 0.10",
            of.WANTS_TLS,
        ),
        ("Disconnected: connection reset by peer (after 0ms in state APIVERSION_QUERY)", of.WANTS_TLS),
        (
            "Disconnected: verify that security.protocol is correctly configured, broker might require SASL "
            "authentication (after 347ms in state UP)",
            of.WANTS_PASSWORD,
        ),
        ("SASL authentication error: Authentication failed during authentication of jane", of.PASSWORD),
        ("SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: SCRAM", of.MECHANISM),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)", None),
        ("Disconnected (after 600000ms in state UP)", None),
        ("Failed to resolve 'kafka:9092': Name or service not known", None),
        ("1 request(s) timed out: disconnect (after 60000ms in state APIVERSION_QUERY)", None),
    ],
)
def test_what_is_said_of_a_connection(said: str, refusal: Refusal | None) -> None:
    assert by_words(BROKER + said) is refusal


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (KafkaError._SSL, of.TLS),
        (KafkaError._AUTHENTICATION, of.PASSWORD),
        (KafkaError.SASL_AUTHENTICATION_FAILED, of.PASSWORD),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, of.TOPIC),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, of.GROUP),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, of.TRANSACTION),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, of.CLUSTER),
        (KafkaError._TRANSPORT, None),
        (KafkaError._ALL_BROKERS_DOWN, None),
        (KafkaError._TIMED_OUT, None),
    ],
)
def test_what_an_error_means(code: int, refusal: Refusal | None) -> None:
    error = KafkaError(code, "password hunter2")
    assert why(error) == (error.name() if refusal is None else f"{error.name()}: {refusal.said}")
    assert "hunter2" not in why(error)


def test_one_code_means_many_things() -> None:
    error = KafkaError(
        KafkaError._TRANSPORT, "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"
    )
    assert why(error) == f"_TRANSPORT: {of.NO_TLS.said}"


def test_every_refusal_of_a_code_has_a_mend() -> None:
    for refusal in BY_CODE.values():
        assert any(word in refusal.said for word in ("LUXE_KAFKA_", "allow")), refusal


def test_every_setting_that_a_mend_names_is_one() -> None:
    refusals = [one for one in vars(of).values() if isinstance(one, Refusal)]
    named = {name for refusal in refusals for name in re.findall(r"LUXE_[A-Z_]+", refusal.said)}
    assert len(named) > 5
    assert {name.removeprefix("LUXE_").lower() for name in named} <= Settings.model_fields.keys()


def test_words_tell_more_than_a_code() -> None:
    error = KafkaError(KafkaError._AUTHENTICATION, "SASL SCRAM mechanism handshake failed: Unsupported SASL mechanism")
    assert why(error).endswith(of.MECHANISM.said)
