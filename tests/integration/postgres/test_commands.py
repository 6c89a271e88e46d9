"""The commands on a real database: import, policies, keys, and what an empty installation begins with."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import keys, policies, recipients
from cli.setup import seed_defaults
from connectors.kafka_admin import create_topics
from connectors.postgres.records import Records
from connectors.sealing import KeyRing
from connectors.settings import Settings
from schemas.topics import BY_NAME, GATES, RECIPIENTS
from tests.conftest import Stack
from tests.integration.postgres.conftest import Outbox
from tests.integration.postgres.test_relay import connected, running

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("environment")]


@pytest.fixture
def environment(settings: Settings, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command finds when it is called."""
    monkeypatch.setenv("LUXE_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("LUXE_POSTGRES_DSN", settings.postgres_dsn.get_secret_value())
    monkeypatch.setenv("LUXE_KAFKA_BOOTSTRAP", settings.kafka_bootstrap)


def people(path: Path, count: int, **changes: str) -> Path:
    """A practice system's export of ``count`` patients."""
    with path.open("w", newline="") as file:
        row = {
            "clinic_id": "clinic-demo",
            "first_name": "Philippa",
            "phone": "+15005550111",
            "sms_opt_in.marketing": "true",
            "consent.sms_marketing": "opted_in",
        } | changes
        writer = csv.DictWriter(file, ["recipient_id", *row])
        writer.writeheader()
        for number in range(count):
            writer.writerow({"recipient_id": number, **row})
    return path


def import_(*arguments: object) -> Result:
    return CliRunner().invoke(recipients.command, ["import", *map(str, arguments)])


def test_an_import_twice_publishes_once(tmp_path: Path, outbox: Outbox) -> None:
    file = people(tmp_path / "people.csv", 1200)
    first = import_(file)
    assert first.exit_code == 0, first.output
    assert "created 1,200, updated 0, left 0 unchanged, rejected 0" in first.output
    assert len(outbox.take("recipients")) == 1200
    assert "left 1,200 unchanged" in import_(file).output
    assert "updated 1,200" in import_(people(file, 1200, first_name="Phil")).output
    assert len(outbox.take("recipients")) == 1200


def test_a_dry_run_stores_nothing(tmp_path: Path, outbox: Outbox) -> None:
    result = import_("--dry-run", people(tmp_path / "people.csv", 10))
    assert (result.exit_code, "would have created 10" in result.output) == (0, True)
    assert outbox.take("recipients") == []


def test_wrong_lines_are_listed_without_their_values_and_the_others_stored(tmp_path: Path, outbox: Outbox) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "recipient_id,clinic_id,first_name,phone,email,time_zone\n"
        "1,c1,Ann,+15005550111,ann@example.com,America/New_York\n"
        "2,c1,Philippa,555-0112,,\n"
        "3,c1,Philippa,,not an address,\n"
        "4,c1,Philippa,,,America/Atlantis\n"
        "5,,Philippa,,,\n"
        "1,c1,Anna,,,\n"
    )
    result = import_(file)
    assert result.exit_code == 1
    assert "created 1, updated 1, left 0 unchanged, rejected 4" in result.output
    rejected = tmp_path / "people.csv.rejected.jsonl"
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    listed = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert {problem["line"]: problem["column"] for problem in listed} == {
        3: "phone",
        4: "emails[0].address",
        5: "time_zone",
        6: "clinic_id",
    }
    for told in ("Philippa", "0112", "not an address", "Atlantis"):
        assert told not in rejected.read_text() + result.output
    assert len(outbox.take("recipients")) == 2

    assert import_("--allow-rejected", file).exit_code == 0
    file.write_text("recipient_id,clinic_id\n1,c1\n")
    assert import_(file).exit_code == 0
    assert not rejected.exists()


def test_an_interrupted_import_is_finished_by_the_next(tmp_path: Path, outbox: Outbox) -> None:
    file = people(tmp_path / "people.csv", 1100)
    with file.open("a") as more:
        more.write('"never closed')
    broken = import_(file)
    assert (broken.exit_code, "line 1102: not CSV" in broken.output) == (1, True)
    assert len(outbox.take("recipients")) == 1000
    assert "created 100, updated 0, left 1,000 unchanged" in import_(people(file, 1100)).output


def test_what_is_shown_of_somebody_identifies_nobody(tmp_path: Path) -> None:
    import_(people(tmp_path / "people.csv", 1))
    shown = CliRunner().invoke(recipients.command, ["show", "patient:0"])
    assert json.loads(shown.output)["phones"] == {"count": 1, "verified": 0}
    assert json.loads(shown.output)["consents"] == {"sms_marketing": "opted_in"}
    for told in ("Philippa", "5550111"):
        assert told not in shown.output
    unknown = CliRunner().invoke(recipients.command, ["show", "patient:99"])
    assert (unknown.exit_code, "no such recipient" in unknown.output) == (1, True)


def test_an_unreachable_server_or_an_old_schema_says_what_to_do(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = people(tmp_path / "people.csv", 1)
    monkeypatch.setenv("LUXE_POSTGRES_DSN", "postgresql://luxe:hidden@127.0.0.1:1/luxe")
    away = import_(file)
    assert (away.exit_code, "127.0.0.1:1/luxe" in away.output, "luxe up" in away.output) == (1, True, True)
    assert "hidden" not in away.output
    monkeypatch.setenv("LUXE_POSTGRES_DSN", stack.new_database())
    empty = import_(file)
    assert (empty.exit_code, "luxe up" in empty.output) == (1, True)


def test_policies_come_from_yaml_all_or_none(tmp_path: Path, outbox: Outbox) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(
        "- {clinic_id: c1, name: One, time_zone: Europe/Berlin, phone: +4930123456, holidays: [2026-12-25]}\n"
        "- clinic_id: c2\n  name: Two\n  time_zone: UTC\n  quiet_hours: {start: 21:30, end: 08:00}\n  open_weekdays: [1, 2]\n"
        "  timings: [{notification_type: review_request, services: [Peel], offset: P3D, not_before: 12:00, not_after: 15:00}]\n"
    )
    run = CliRunner()
    first = run.invoke(policies.command, ["import", str(file)])
    assert first.exit_code == 0, first.output
    assert first.output == "c1 version 1: stored\nc2 version 1: stored\n"
    second = outbox.take("policies")[1][1]
    assert second is not None
    assert (second["quiet_hours"]["start"], second["open_weekdays"]) == ("21:30", [1, 2])
    assert [(one["services"], one["offset"], one["not_before"]) for one in second["timings"]] == [
        (["Peel"], "P3D", "12:00")
    ]
    assert "unchanged" in run.invoke(policies.command, ["import", str(file)]).output
    assert "Europe/Berlin" in run.invoke(policies.command, ["list"]).output

    file.write_text("- {clinic_id: c1, name: Uno, time_zone: UTC}\n- {clinic_id: c3, name: Three, time_zone: Mars}\n")
    refused = run.invoke(policies.command, ["import", str(file)])
    assert (refused.exit_code, "policy 2: field time_zone" in refused.output) == (1, True)
    assert outbox.take("policies") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not YAML"),
        ("", "write a mapping with a clinic_id"),
        ("clinic_id: c1", "name is missing"),
        ("{clinic_id: c1, name: x, timezone: UTC}", "is it time_zone?"),
        ("{clinic_id: c1, name: x, time_zone: UTC, version: 3}", "no field version"),
        ("{clinic_id: c1, name: x, time_zone: UTC, holidays: [Christmas]}", "YYYY-MM-DD"),
        ("{clinic_id: c1, name: x, time_zone: UTC, disabled_channels: [fax]}", "disabled_channels"),
        ("{clinic_id: c1, name: x, time_zone: UTC, open_weekdays: []}", "open_weekdays"),
        (
            "{clinic_id: c1, name: x, time_zone: UTC, timings: [{notification_type: review_request, offset: P9D}]}",
            "timings.0.offset",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(text)
    refused = CliRunner().invoke(policies.command, ["import", str(file)])
    assert (refused.exit_code, told in refused.output) == (1, True), refused.output


def test_keys_are_rotated_retired_and_a_person_erased(tmp_path: Path, settings: Settings, stack: Stack) -> None:
    run = CliRunner()
    import_(people(tmp_path / "people.csv", 3))
    create_topics(settings, [BY_NAME[RECIPIENTS], BY_NAME[GATES]])
    with running(settings):
        rotated = run.invoke(keys.command, ["rotate", "--retire"])
        assert rotated.exit_code == 0, rotated.output
        for told in ("wrapped 3 of 3", "k2 wraps everything", "destroyed: k1"):
            assert told in rotated.output
        assert run.invoke(keys.command, ["status"]).exit_code == 0
        assert "there is no old key" in run.invoke(keys.command, ["retire"]).output
        assert run.invoke(keys.command, ["erase", "patient:0"], input="n\n").exit_code == 1
        assert run.invoke(recipients.command, ["show", "patient:0"]).exit_code == 0
        erased = run.invoke(keys.command, ["erase", "patient:0"], input="y\n")
    assert erased.exit_code == 0, erased.output
    assert "nothing is sent" in erased.output
    assert "not yet in Kafka" not in erased.output
    assert run.invoke(recipients.command, ["show", "patient:0"]).exit_code == 1
    assert "an erased recipient" not in import_(people(tmp_path / "people.csv", 1)).output
    assert "erased" in (tmp_path / "people.csv.rejected.jsonl").read_text()
    assert run.invoke(keys.command, ["erase", "--yes", "patient:9"]).exit_code == 1


def test_a_lost_ring_is_told(tmp_path: Path, settings: Settings) -> None:
    import_(people(tmp_path / "people.csv", 1))
    settings.kek_path.unlink()
    told = CliRunner().invoke(keys.command, ["status"])
    assert (told.exit_code, "backup" in told.output) == (1, True)


def test_an_empty_installation_is_seeded_once(
    settings: Settings, outbox: Outbox, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    seed_defaults(settings)
    assert [key for key, _ in outbox.take("policies")] == ["*", "clinic-demo"]
    published = len(outbox.take("templates"))
    with connected(settings) as connection:
        connection.execute(
            "UPDATE policies SET content = content || '{\"name\": \"Ours\"}' WHERE clinic_id = 'clinic-demo'"
        )
        assert connection.execute("SELECT count(*) FROM templates").fetchone() == (published,)
    seed_defaults(settings)
    assert outbox.take("policies") == outbox.take("templates") == []
    assert "nothing added" in capsys.readouterr().out
