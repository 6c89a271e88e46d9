"""Our own processes as services."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from connectors.settings import Settings
from connectors.stack.endpoints import NEW_STACK_PARTITIONS, partitions_for, previous_ports, write_endpoints
from connectors.stack.errors import ForeignDirectory
from connectors.stack.pipeline import (
    INFRASTRUCTURE,
    PIPELINE_NAMES,
    SERVICE_NAMES,
    loopback_spec,
    needed_by,
    pipeline_specs,
)
from connectors.stack.ports import DEFAULT_PORTS
from connectors.stack.postgres import prepare_postgres
from connectors.stack.service import in_start_order
from connectors.stack.state import StateDirectory, open_state


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return open_state(tmp_path / "state")


def test_names_are_given_once() -> None:
    assert len(set(SERVICE_NAMES)) == len(SERVICE_NAMES)


def test_a_sink_brings_its_stores() -> None:
    assert needed_by(frozenset({"sms"})) == {"sms", "kafka", "postgres", "loopback"}
    assert needed_by(frozenset({"kafka"})) == {"kafka"}


@pytest.mark.parametrize("service", ["api", "webhooks"])
def test_what_answers_when_kafka_has_it_brings_who_publishes(service: str) -> None:
    assert needed_by(frozenset({service})) == {service, "relay", "kafka", "postgres"}


def test_what_is_needed_starts_before_what_needs_it(state: StateDirectory) -> None:
    ordered = in_start_order(pipeline_specs(state, DEFAULT_PORTS))
    assert sorted(spec.name for spec in ordered) == sorted(PIPELINE_NAMES)
    up = set(INFRASTRUCTURE)
    for spec in ordered:
        assert set(spec.depends_on) <= up
        up.add(spec.name)


def test_each_process_is_told_where_its_state_is_and_who_it_is(state: StateDirectory) -> None:
    for spec in [*pipeline_specs(state, DEFAULT_PORTS), loopback_spec(state, DEFAULT_PORTS)]:
        assert spec.env["LUXE_STATE_DIR"] == str(state.root)
        assert spec.env["LUXE_SERVICE_NAME"] == spec.name
        assert spec.log_file == str(state.logs / f"{spec.name}.log")


def test_a_changed_setting_restarts_our_processes(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {spec.name: spec.digest() for spec in pipeline_specs(state, DEFAULT_PORTS)}
    monkeypatch.setenv("LUXE_EMAIL_FROM", "desk@luxe.example")
    after = {spec.name: spec.digest() for spec in pipeline_specs(state, DEFAULT_PORTS)}
    assert all(before[name] != after[name] for name in before)


def test_every_process_finds_the_endpoints_by_its_settings(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = {name: port + 1 for name, port in DEFAULT_PORTS.items()}
    write_endpoints(state, ports, partitions=3)
    monkeypatch.setenv("LUXE_STATE_DIR", str(state.root))
    settings = Settings()
    assert settings.kafka_bootstrap == f"127.0.0.1:{ports['kafka']}"
    assert settings.twilio_base_url == settings.loopback_url == f"http://127.0.0.1:{ports['loopback']}"
    assert f"@127.0.0.1:{ports['postgres']}/luxe" in settings.postgres_dsn.get_secret_value()
    assert previous_ports(state) == ports
    assert settings.kafka_partitions == 3


def test_a_stack_keeps_the_partitions_it_was_made_with(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert partitions_for(state) == NEW_STACK_PARTITIONS
    monkeypatch.setenv("LUXE_KAFKA_PARTITIONS", "6")
    assert partitions_for(state) == 6
    assert partitions_for(state, 2) == 2
    write_endpoints(state, DEFAULT_PORTS, partitions=2)
    assert partitions_for(state) == 2
    assert partitions_for(state, 8) == 2


def test_a_stack_from_before_partitions_were_kept_has_four(state: StateDirectory) -> None:
    endpoints = write_endpoints(state, DEFAULT_PORTS, partitions=1)
    del endpoints["kafka_partitions"]
    state.endpoints_file.write_text(json.dumps(endpoints))
    assert partitions_for(state) == 4


def test_the_file_with_the_password_is_private(state: StateDirectory) -> None:
    write_endpoints(state, DEFAULT_PORTS, partitions=1)
    assert stat.S_IMODE(state.endpoints_file.stat().st_mode) == 0o600


def test_a_cluster_of_another_postgres_is_refused(state: StateDirectory) -> None:
    (state.postgres / "data").mkdir()
    (state.postgres / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ForeignDirectory, match="Postgres 16, this luxe runs 18"):
        prepare_postgres(state, 15432)


def test_a_folder_that_is_no_cluster_is_refused(state: StateDirectory) -> None:
    (state.postgres / "data").mkdir()
    with pytest.raises(ForeignDirectory, match="is not a Postgres cluster"):
        prepare_postgres(state, 15432)
