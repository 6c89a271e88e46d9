"""docker-compose.kafka.yml: valid by the compose specification, whole, closed to the network, and without secrets.

No engine runs it here, so all that can be held without one is held here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_viz.spec.compose_spec import ComposeSpecification

from connectors.settings import Settings
from connectors.stack.container_secrets import make_secrets
from connectors.stack.kafka_jars import kafka_version, locked_jars
from connectors.stack.pipeline import INFRASTRUCTURE, PIPELINE, PIPELINE_NAMES
from connectors.stack.postgres import MAJOR_VERSION

ROOT = Path(__file__).parents[3]
OURS = (*PIPELINE_NAMES, "loopback", "setup")


def without_extensions(value: Any) -> Any:
    """The document less its ``x-…`` fields: the specification allows them everywhere, its pydantic form nowhere."""
    if isinstance(value, dict):
        return {key: without_extensions(item) for key, item in value.items() if not str(key).startswith("x-")}
    return [without_extensions(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.kafka.yml").read_text())
    return document


def test_it_is_valid_by_the_specification(compose: dict[str, Any]) -> None:
    ComposeSpecification.model_validate(without_extensions(compose))


def test_the_specification_refuses_a_mistyped_field(compose: dict[str, Any]) -> None:
    broken = without_extensions(compose)
    broken["services"]["kafka"]["prots"] = []
    with pytest.raises(ValueError, match="prots"):
        ComposeSpecification.model_validate(broken)


def test_every_service_of_the_local_stack_is_there(compose: dict[str, Any]) -> None:
    assert {*INFRASTRUCTURE, *PIPELINE_NAMES} <= compose["services"].keys()
    assert {"schema-registry", "clickhouse-server", "setup"} <= compose["services"].keys()


@pytest.mark.parametrize(("name", "arguments"), [(name, arguments) for name, arguments, _needs in PIPELINE])
def test_a_container_runs_what_the_supervisor_runs(
    compose: dict[str, Any], name: str, arguments: tuple[str, ...]
) -> None:
    service = compose["services"][name]
    assert " ".join(service["command"]).endswith("python -m " + " ".join(arguments))
    assert service["environment"]["LUXE_SERVICE_NAME"] == name


def test_every_port_is_published_on_loopback_once(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_everything_that_runs_on_says_when_it_is_well(compose: dict[str, Any]) -> None:
    assert {name for name, service in compose["services"].items() if "healthcheck" not in service} == {"setup"}


def test_dependencies_wait_for_health_and_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, wanted in service.get("depends_on", {}).items():
            assert name in compose["services"]
            assert wanted["condition"] in ("service_healthy", "service_completed_successfully")


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_our_settings_are_ones_that_exist(compose: dict[str, Any]) -> None:
    not_settings = {"LUXE_SERVICE_NAME", "LUXE_SECRETS_DIR"}
    known = {f"LUXE_{name.upper()}" for name in Settings.model_fields}
    for name in OURS:
        assert compose["services"][name]["environment"].keys() - not_settings <= known


def test_it_holds_no_password(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|API_KEY|DSN", key) and not key.endswith(("_FILE", "_DIR")):
                raise AssertionError(f"{key} is in clear")
            assert not re.search("://[^/]*:[^/]*@", str(value)), f"{key} holds a password"
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_its_secrets_are_the_ones_that_are_made(compose: dict[str, Any], tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets")
    assert {path.name for path in made} == compose["secrets"].keys()
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}
    assert used == compose["secrets"].keys()
    assert make_secrets(tmp_path / "secrets") == []


def test_our_processes_read_those_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_secrets(tmp_path / "secrets")
    monkeypatch.setenv("LUXE_SECRETS_DIR", str(tmp_path / "secrets"))
    settings = Settings(state_dir=tmp_path)
    assert "@postgres:5432/luxe" in settings.postgres_dsn.get_secret_value()
    assert settings.clickhouse_dsn.get_secret_value().endswith("@clickhouse-server:8123/luxe")
    assert len(settings.twilio_auth_token.get_secret_value()) == 32


def test_named_volumes_are_declared_and_used(compose: dict[str, Any]) -> None:
    mounted = {
        volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])
    }
    assert mounted == compose["volumes"].keys()


def test_the_stores_are_of_the_local_stacks_versions(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{kafka_version(locked_jars())}"
    assert compose["services"]["postgres"]["image"] == f"postgres:{MAJOR_VERSION}"


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    assert all(re.search(r":[\w.-]+$", image) and not image.endswith(":latest") for image in images)
    dockerfile = (ROOT / "connectors" / "stack" / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["python:3.11.14-slim-bookworm"] * 2
    assert "USER 10001:10001" in dockerfile
