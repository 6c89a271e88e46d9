"""The same test stack as containers, for machines with a Docker engine: LUXE_TEST_STACK=containers.

No machine of ours has an engine, so this is right by reading testcontainers' documentation and code, not by running.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import docker
from docker.errors import DockerException
from pydantic import SecretStr
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer

# testcontainers' Kafka class drives Confluent's image; 8.3 is its packaging of Apache Kafka 4.3.
KAFKA_IMAGE = "confluentinc/cp-kafka:8.3.1"
POSTGRES_IMAGE = "postgres:18-alpine"


@cache
def wants_containers() -> bool:
    """Whether containers were asked for and an engine answers."""
    if os.environ.get("LUXE_TEST_STACK") != "containers":
        return False
    try:
        client = docker.from_env()
        client.ping()
        client.close()
    except DockerException as error:
        raise RuntimeError("LUXE_TEST_STACK=containers, but no Docker engine answers: start it, or unset it") from error
    return True


@contextmanager
def container_stack() -> Iterator[dict[str, Any]]:
    """Starts Kafka and Postgres; yields the settings that point at them."""
    kafka = KafkaContainer(KAFKA_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    }.items():
        kafka.with_env(name, value)
    with (
        kafka,
        PostgresContainer(POSTGRES_IMAGE, username="luxe", password="luxe", dbname="luxe", driver=None) as postgres,
    ):
        yield {
            "kafka_bootstrap": kafka.get_bootstrap_server(),
            "postgres_dsn": SecretStr(postgres.get_connection_url()),
        }
