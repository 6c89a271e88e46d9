"""The http registry through Confluent's own client, and what `luxe schemas push` puts there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from cli.schemas import command
from schemas.codec import Codec, CodecError
from schemas.definitions import definition, subjects, versions
from schemas.registry import (
    FileRegistry,
    HttpRegistry,
    RegistryError,
    RegistryUnavailableError,
    UnknownSchemaIdError,
    open_registry,
)
from tests.contract.golden import golden_value
from tests.contract.loopback_registry import LoopbackRegistry, running_registry

TOPIC, NAME = "events.appointment", "luxe.events.AppointmentCreated"
SUBJECT = f"{TOPIC}-{NAME}"


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    with running_registry() as running:
        yield running


def test_records_travel_by_an_http_registry_and_it_is_asked_once(registry: LoopbackRegistry) -> None:
    registry.register(SUBJECT, json.dumps(definition(NAME)))
    codec = Codec(open_registry(registry.url))
    value = golden_value(NAME)
    wires = [codec.encode(TOPIC, NAME, value) for _ in range(3)]
    asked = len(registry.requests)
    assert all(codec.decode(wire).value == value for wire in wires)
    assert len(registry.requests) <= asked + 1


def test_a_subject_s_newer_version_does_not_change_what_we_say_we_write(registry: LoopbackRegistry) -> None:
    ours = registry.register(SUBJECT, json.dumps(definition(NAME)))
    added = {"name": "added", "type": ["null", "string"], "default": None, "phi": "none", "doc": ""}
    newer = {**definition(NAME), "fields": [*definition(NAME)["fields"], added]}
    registry.register(SUBJECT, json.dumps(newer))
    assert HttpRegistry(registry.url).id_of(TOPIC, NAME) == ours


def test_mended_documentation_needs_no_new_version(registry: LoopbackRegistry) -> None:
    ours = registry.register(SUBJECT, json.dumps({**definition(NAME), "doc": "Other words."}))
    assert HttpRegistry(registry.url).id_of(TOPIC, NAME) == ours


def test_what_is_not_there_is_said_with_its_mend(registry: LoopbackRegistry) -> None:
    with pytest.raises(RegistryError, match="luxe schemas push"):
        HttpRegistry(registry.url).id_of(TOPIC, NAME)


def test_an_unknown_id_is_asked_for_once(registry: LoopbackRegistry) -> None:
    http = HttpRegistry(registry.url)
    for _ in range(5):
        with pytest.raises(UnknownSchemaIdError):
            http.schema(99)
    assert len(registry.requests) == 1
    with pytest.raises(CodecError) as caught:
        Codec(http).decode(b"\0\0\0\0\x63")
    assert caught.value.code == "unknown_schema_id"


def test_a_registry_in_trouble_is_no_fault_of_the_record(registry: LoopbackRegistry) -> None:
    registry.failing = True
    with pytest.raises(RegistryUnavailableError):
        Codec(HttpRegistry(registry.url)).decode(b"\0\0\0\0\1")


def test_a_registry_that_is_not_there() -> None:
    with pytest.raises(RegistryUnavailableError):
        HttpRegistry("http://127.0.0.1:1", timeout_seconds=1).schema(1)


@pytest.mark.parametrize("url", ["", "ftp://registry", "file:///elsewhere", "registry:8081"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(RegistryError):
        open_registry(url)


def test_push_registers_everything_once(registry: LoopbackRegistry) -> None:
    runner = CliRunner()
    dry = runner.invoke(command, ["push", "--url", registry.url, "--dry-run"])
    assert (dry.exit_code, registry.subjects) == (0, {})
    known = sum(len(versions(name)) for name in subjects().values())
    assert f"{known} versions would be registered" in dry.output
    first = runner.invoke(command, ["push", "--url", registry.url])
    assert first.exit_code == 0
    assert set(registry.subjects) == set(subjects())
    assert registry.levels[SUBJECT] == "FULL_TRANSITIVE"
    assert registry.levels["gates-luxe.pipeline.Gate"] == "BACKWARD_TRANSITIVE"
    again = runner.invoke(command, ["push", "--url", registry.url])
    assert f"0 versions registered, {known} there already" in again.output


def test_push_says_what_is_wrong(registry: LoopbackRegistry) -> None:
    registry.failing = True
    failed = CliRunner().invoke(command, ["push", "--url", registry.url])
    assert failed.exit_code == 1
    assert "500" in failed.output
    assert CliRunner().invoke(command, ["push", "--url", "file:"]).exit_code != 0


def test_check_and_list_pass_on_what_is_committed() -> None:
    checked = CliRunner().invoke(command, ["check"])
    assert checked.exit_code == 0, checked.output
    listed = CliRunner().invoke(command, ["list"])
    assert listed.exit_code == 0
    assert NAME in listed.output


def test_generating_again_changes_nothing() -> None:
    for word in ("generate", "docs"):
        assert "already" in CliRunner().invoke(command, [word]).output
    unknown = CliRunner().invoke(command, ["generate", "--amend", "luxe.events.Nothing"])
    assert unknown.exit_code == 2


def test_the_file_registry_knows_its_subjects_and_versions() -> None:
    registry = FileRegistry()
    assert set(registry.subjects()) == set(subjects())
    (line,) = registry.lines(SUBJECT)
    assert (line.version, line.id) == (1, registry.id_of(TOPIC, NAME))
    assert registry.lines("nothing") == []
