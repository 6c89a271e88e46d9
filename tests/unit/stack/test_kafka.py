"""The broker's configuration, and storage that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.stack.errors import ForeignDirectory
from connectors.stack.kafka import broker_properties, prepare_kafka
from connectors.stack.state import StateDirectory, open_state

VERSION = "4.3.1"


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return open_state(tmp_path / "state")


def with_storage(state: StateDirectory, cluster_id: str, version: str = VERSION) -> None:
    """Storage as a broker leaves it."""
    (state.kafka / "data").mkdir()
    (state.kafka / "data" / "meta.properties").write_text(f"#\n#date\ncluster.id={cluster_id}\nversion=1\nnode.id=1\n")
    (state.kafka / "version").write_text(version)


def test_it_listens_on_loopback_only(state: StateDirectory) -> None:
    properties = broker_properties(state, 19092, 19093)
    for name in ("listeners", "advertised.listeners"):
        assert all("://127.0.0.1:" in listener for listener in properties[name].split(","))


def test_one_node_is_all_the_replicas_there_are(state: StateDirectory) -> None:
    properties = broker_properties(state, 19092, 19093)
    assert {value for key, value in properties.items() if key.endswith("replication.factor")} == {"1"}
    assert properties["auto.create.topics.enable"] == "false"


def test_its_own_storage_is_used_again(state: StateDirectory) -> None:
    with_storage(state, state.kafka_cluster_id)
    spec = prepare_kafka(state, [Path("/jars/kafka.jar")], VERSION, 19092, 19093)
    assert spec.ready.target == "127.0.0.1:19092"
    assert "/jars/kafka.jar" in spec.argv


def test_storage_of_another_cluster_is_refused(state: StateDirectory) -> None:
    with_storage(state, "anotherClusterAnotherId")
    with pytest.raises(ForeignDirectory, match="another Kafka cluster"):
        prepare_kafka(state, [], VERSION, 19092, 19093)


def test_storage_of_a_newer_kafka_is_refused(state: StateDirectory) -> None:
    with_storage(state, state.kafka_cluster_id, "4.10.0")
    with pytest.raises(ForeignDirectory, match=r"4\.10\.0, newer than the 4\.3\.1"):
        prepare_kafka(state, [], VERSION, 19092, 19093)


def test_storage_of_an_older_kafka_is_taken_over(state: StateDirectory) -> None:
    with_storage(state, state.kafka_cluster_id, "4.2.0")
    prepare_kafka(state, [], VERSION, 19092, 19093)
    assert (state.kafka / "version").read_text() == VERSION
