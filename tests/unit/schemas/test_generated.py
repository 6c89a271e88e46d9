"""What is generated from the schemas is what is committed, and ids only grow."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic import ValidationError

from schemas import records
from schemas.committed_ids import as_text, grow
from schemas.definitions import definition, definitions, fingerprint, subjects, versions
from schemas.events import ENVELOPE, EVENT_TYPES
from schemas.generation.files import REFERENCE_PATH, model_files, reference_text, stale
from schemas.models import model_of
from schemas.registry import IDS_PATH, CommittedVersion, FileRegistry, read_ids
from tests.unit.schemas.test_codec import EVENT, SECRET

TEXTS = {name: versions(name) for name in definitions()}


def test_models_records_and_reference_are_those_of_the_schemas() -> None:
    assert stale(model_files()) == []
    assert stale({REFERENCE_PATH: reference_text()}) == []


@pytest.mark.parametrize("name", [name for name in definitions() if name.startswith("luxe.pipeline.")])
def test_a_typed_dict_has_the_fields_of_its_schema(name: str) -> None:
    schema = definition(name)
    typed_dict = getattr(records, schema["name"])
    assert list(typing.get_type_hints(typed_dict)) == [field["name"] for field in schema["fields"]]
    assert typed_dict.__required_keys__ == {field["name"] for field in schema["fields"] if "default" not in field}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_model_has_the_fields_of_its_schema(event_type: str) -> None:
    model = model_of(event_type)
    schema = definition(EVENT_TYPES[event_type].record)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    assert fields.keys() == {field["name"] for field in schema["fields"]}
    for declared in schema["fields"]:
        own_type = declared["name"] == "event_type"
        assert fields[declared["name"]].is_required() == ("default" not in declared and not own_type), declared["name"]
    assert list(fields)[: len(ENVELOPE)] == list(ENVELOPE)


def test_a_model_refuses_the_impossible_without_telling_it() -> None:
    model = model_of("appointment.created")
    for change in (
        {"duration": 0},
        {"patient_phone": SECRET},
        {"event_type": "appointment.cancelled"},
        {"more": SECRET},
    ):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**EVENT, **change})
        assert SECRET not in str(caught.value)


def test_a_model_prints_without_what_it_knows() -> None:
    event = model_of("appointment.created").model_validate(EVENT)
    assert SECRET not in f"{event!r} {event}"
    assert event.record() == EVENT


def test_committed_ids_are_in_step_and_their_text_is_stable() -> None:
    growth = grow(read_ids(), subjects(), TEXTS)
    assert growth.problems == []
    assert IDS_PATH.read_text() == as_text(growth.lines)


def test_an_id_stands_for_one_version_of_one_record() -> None:
    owners: dict[int, set[tuple[str, int]]] = {}
    for of_subject, lines in read_ids().items():
        for line in lines:
            owners.setdefault(line.id, set()).add((subjects()[of_subject], line.version))
    assert all(len(owner) == 1 for owner in owners.values())
    registry = FileRegistry()
    for schema_id, owner in owners.items():
        ((name, version),) = owner
        assert registry.schema(schema_id) == TEXTS[name][version - 1]


GATE = "luxe.pipeline.Gate"
SUBJECTS = {"gates-" + GATE: GATE, "gates.aggregates-" + GATE: GATE}
HELD = {of_subject: [CommittedVersion(1, 7, fingerprint(definition(GATE)))] for of_subject in SUBJECTS}


def changed_gate() -> dict[str, Any]:
    schema = definition(GATE)
    return {**schema, "fields": [*schema["fields"], {"name": "note", "type": "string", "default": ""}]}


def test_a_new_version_gets_the_next_id_in_all_its_subjects() -> None:
    growth = grow(HELD, SUBJECTS, {GATE: [definition(GATE), changed_gate()]})
    assert growth.problems == []
    assert {tuple(line.id for line in lines) for lines in growth.lines.values()} == {(7, 8)}


def test_a_schema_changed_in_place_is_refused_until_its_old_text_is_kept() -> None:
    (problem, *_) = grow(HELD, SUBJECTS, {GATE: [changed_gate()]}).problems
    assert "history" in problem
    assert "--amend" in problem
    amended = grow(HELD, SUBJECTS, {GATE: [changed_gate()]}, amend=[GATE])
    assert amended.problems == []
    assert {line.id for lines in amended.lines.values() for line in lines} == {7}


def test_history_does_not_change_even_when_amending() -> None:
    held = {of_subject: [*lines, CommittedVersion(2, 8, "another")] for of_subject, lines in HELD.items()}
    texts = {GATE: [changed_gate(), definition(GATE)]}
    assert any("version control" in problem for problem in grow(held, SUBJECTS, texts, amend=[GATE]).problems)


def test_a_subject_or_a_version_that_is_gone_is_refused() -> None:
    assert any("put it back" in problem for problem in grow(HELD, {}, {}).problems)
    held = {of_subject: [*lines, CommittedVersion(2, 8, "another")] for of_subject, lines in HELD.items()}
    assert any(
        "put the others back" in problem for problem in grow(held, SUBJECTS, {GATE: [definition(GATE)]}).problems
    )


def test_one_id_for_two_schemas_is_refused_however_it_came_to_be() -> None:
    """Two branches each gave the next id to a schema of their own; merging them is no conflict."""
    other = {"other-" + GATE: [CommittedVersion(1, 7, "another")]}
    problems = grow(HELD | other, SUBJECTS | {"other-" + GATE: GATE}, {GATE: [definition(GATE)]}).problems
    assert any("another schema's" in problem for problem in problems)
