"""A recipients file is understood line by line; what is not is told without showing anybody."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.recipient_columns import known_columns
from connectors.postgres.recipient_file import Line, RecipientFileError, read_recipients
from connectors.postgres.recipient_patch import LineProblem, Patch
from connectors.postgres.recipients import Recipient

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def lines(tmp_path: Path, content: str | bytes, name: str = "people.csv", region: str | None = None) -> list[Line]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_recipients(path, region))


def patch_of(region: str | None = None, **cells: str) -> Patch:
    return Patch.read({name.replace("__", "."): text for name, text in cells.items()}, region)


def content_of(**cells: str) -> dict[str, Any]:
    return dict(patch_of(recipient_id="1", clinic_id="c1", **cells).applied(None, "tester", NOW).content)


# Lines


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_with_any_common_delimiter_and_a_byte_order_mark(tmp_path: Path, mark: str) -> None:
    text = f"\ufeffrecipient_id{mark}Clinic_ID {mark}first_name\r\n1{mark}c1{mark}Ann\r\n"
    [line] = lines(tmp_path, text)
    assert line.patch is not None
    assert (line.number, line.patch.recipient, line.patch.clinic_id) == (2, "patient:1", "c1")
    assert line.patch.person == {"first_name": "Ann"}


def test_json_lines_flat_nested_and_with_lists(tmp_path: Path) -> None:
    rows = [
        {"recipient_id": 7, "kind": "staff", "roles": ["provider", "admin"], "active": False},
        {"recipient_id": "8", "sms_opt_in": {"marketing": True}, "consent.sms_marketing": "opted_in", "birthday": None},
    ]
    first, second = lines(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n", "people.jsonl")
    assert first.patch is not None
    assert (first.patch.recipient, first.patch.roles, first.patch.active) == ("staff:7", ("provider", "admin"), False)
    assert second.patch is not None
    assert second.patch.preferences == {"sms_opt_in.marketing": True}
    assert second.patch.consents == {"sms_marketing": {"status": "opted_in"}}


def test_a_wrong_line_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    text = 'recipient_id,birthday\n1,"5\n3"\n2,1980-01-31\n3,x,y\n\n4,31.1.1980\n'
    found = lines(tmp_path, text)
    assert [(line.number, line.problem and line.problem.column) for line in found] == [
        (2, "birthday"),
        (4, None),
        (5, "(line)"),
        (7, "birthday"),
    ]
    assert found[3].problem is not None
    assert found[3].problem.mend == "write a date as YYYY-MM-DD"
    assert "1980" not in found[3].problem.shape


@pytest.mark.parametrize("name", ["people.csv", "people.jsonl"])
def test_bytes_that_are_not_utf8_spoil_their_line_only(tmp_path: Path, name: str) -> None:
    rows = {
        "people.csv": b"recipient_id,first_name\n1,Zo\xeb\n2,Zoe\n",
        "people.jsonl": b'{"recipient_id":"1","first_name":"Zo\xeb"}\n{"recipient_id":"2"}\n',
    }
    spoilt, fine = lines(tmp_path, rows[name], name)
    assert spoilt.problem is not None
    assert "UTF-8" in spoilt.problem.mend
    assert fine.patch is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begin with a header"),
        ("recipient_id,firstname\n", "column 2: no known name (9 characters); is it first_name?"),
        ("recipient_id,phone,phone\n", "phone is there twice"),
        ("first_name\n", "recipient_id is missing"),
        ('recipient_id,first_name\n1,"Ann\n', "not CSV"),
        ("recipient_id\n" + "1" * 70_000, "over 65536 characters"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipientFileError) as refusal:
        lines(tmp_path, text)
    assert told in str(refusal.value)


def test_a_file_without_header_shows_nobody(tmp_path: Path) -> None:
    with pytest.raises(RecipientFileError) as refusal:
        lines(tmp_path, "4711,Philippa,+15005550111\n")
    for told in ("4711", "Philippa", "5550111"):
        assert told not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '"x"',
        '{"recipient_id": "1", "first_nam": "Ann"}',
        '{"recipient_id": {"a": 1}}',
        '{"roles": [["x"]]}',
    ],
)
def test_a_json_line_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    [line] = lines(tmp_path, text, "people.jsonl")
    assert line.problem is not None
    assert "Ann" not in str(line.problem)


@given(st.binary(max_size=300), st.sampled_from(["people.csv", "people.jsonl"]))
def test_any_bytes_are_lines_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(b"recipient_id,phone,birthday\n" * (name == "people.csv") + content)
    try:
        for line in read_recipients(path):
            assert (line.patch is None) != (line.problem is None)
    except RecipientFileError:
        pass


# Cells


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+1 (500) 555-0111", None, "+15005550111"),
        ("500 555 0111", "US", "+15005550111"),
        ("030 123456", "DE", "+4930123456"),
        ("0049 30 123456", "DE", "+4930123456"),
    ],
)
def test_numbers_as_people_write_them(text: str, region: str | None, number: str) -> None:
    assert patch_of(region, recipient_id="1", phone=text).phones == [{"e164": number}]


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"recipient_id": ""}, "recipient_id"),
        ({"recipient_id": "patient:1"}, "recipient_id"),
        ({"kind": "dog"}, "kind"),
        ({"phone": "555 0111"}, "phone"),
        ({"phone": "none"}, "phone"),
        ({"phone_verified": "yes"}, "phone_verified"),
        ({"phone_2_label": "work"}, "phone_2_label"),
        ({"email": "a@b.example", "email_verified": "perhaps"}, "email_verified"),
        ({"device_token": "t"}, "device_platform"),
        ({"device_token": "t", "device_platform": "palm"}, "device_platform"),
        ({"birthday": "1980-02-30"}, "birthday"),
        ({"active": "2"}, "active"),
        ({"sms_opt_in.marketing": "maybe"}, "sms_opt_in.marketing"),
        ({"frequency_marketing": "hourly"}, "frequency_marketing"),
        ({"quiet_hours.weekdays": "1;x"}, "quiet_hours.weekdays"),
        ({"quiet_hours.weekdays": "0;6"}, "quiet_hours.weekdays"),
        ({"quiet_hours.exceptions": "Lab results"}, "quiet_hours.exceptions"),
        ({"quiet_hours.exceptions": ";".join(f"type_{n}" for n in range(51))}, "quiet_hours.exceptions"),
        ({"channel_order": "sms;fax"}, "channel_order"),
        ({"do_not_disturb_until": "tomorrow"}, "do_not_disturb_until"),
        ({"consent.sms_marketing": "yes"}, "consent.sms_marketing"),
        ({"consent.sms_marketing.date": "2026-01-01"}, "consent.sms_marketing"),
        ({"consent.sms_marketing": "opted_in", "consent.sms_marketing.method": "nod"}, "consent.sms_marketing.method"),
    ],
)
def test_a_wrong_cell_names_its_column_and_not_its_text(cells: dict[str, str], column: str) -> None:
    with pytest.raises(LineProblem) as refusal:
        Patch.read({"recipient_id": "1", **cells})
    assert refusal.value.problem.column == column
    for text in ("dog", "0111", "perhaps", "palm", "tomorrow", "hourly", "maybe", "nod"):
        assert text not in str(refusal.value)


def test_what_is_named_twice_is_kept_once() -> None:
    cells = {"channel_order": "sms;email;sms", "quiet_hours.weekdays": "6;7;7", "quiet_hours.exceptions": "lab;lab"}
    assert Patch.read({"recipient_id": "1", **cells}).preferences == {
        **{"channel_order": ["sms", "email"], "quiet_hours.weekdays": [6, 7], "quiet_hours.exceptions": ["lab"]}
    }


def test_every_column_is_known_once() -> None:
    columns = known_columns()
    assert len(set(columns)) == len(columns)
    assert {
        "email_opt_in.reviews",
        "push_opt_in.system_alerts",
        "quiet_hours.start",
        "consent.push_notifications",
    } <= set(columns)


# What follows


def test_somebody_new_from_a_full_line() -> None:
    content = content_of(
        first_name=" Ann ",
        birthday="1980-01-31",
        phone="+15005550111",
        phone_verified="yes",
        phone_2="+15005550112",
        phone_2_label="work",
        email="ann@example.com",
        device_token="token",
        device_platform="IOS",
        sms_opt_in__marketing="TRUE",
        quiet_hours__start="21:00",
        quiet_hours__end="08:00",
        channel_order="email;sms",
        consent__sms_marketing="opted_in",
    )
    assert (content["first_name"], content["birthday"]) == ("Ann", date(1980, 1, 31))
    assert content["phones"] == [{"e164": "+15005550111", "verified": True}, {"e164": "+15005550112", "label": "work"}]
    assert content["devices"] == [{"token": "token", "platform": "ios", "registered_at": NOW}]
    assert content["preferences"] == {
        "sms_opt_in": {"marketing": True},
        "email_opt_in": {},
        "push_opt_in": {},
        "quiet_hours": {"enabled": True, "start": "21:00", "end": "08:00"},
        "channel_order": ["email", "sms"],
        "updated_at": NOW,
        "updated_by": "tester",
    }
    assert content["consents"] == [
        {
            "consent_type": "sms_marketing",
            "status": "opted_in",
            "consent_date": NOW,
            "method": "implied",
            "source": "import",
        }
    ]


STORED = Recipient(
    "patient:1",
    "c1",
    {
        "first_name": "Ann",
        "phones": [{"e164": "+15005550111", "verified": True, "label": "mobile"}],
        "preferences": {"sms_opt_in": {"marketing": True, "reviews": True}, "updated_by": "ann"},
        "consents": [
            {"consent_type": "sms_marketing", "status": "opted_out", "consent_date": NOW, "method": "written"}
        ],
    },
    roles=("provider",),
    active=False,
)


def test_empty_cells_leave_what_is_stored() -> None:
    again = patch_of(recipient_id="1", first_name="", phone="", roles="").applied(STORED, "tester", NOW)
    assert (again.clinic_id, again.content, again.roles, again.active) == ("c1", STORED.content, ("provider",), False)


def test_a_number_given_again_stays_verified_and_another_replaces_it() -> None:
    again = patch_of(recipient_id="1", phone="+1 500 555 0111").applied(STORED, "tester", NOW)
    assert again.content["phones"] == STORED.content["phones"]
    other = patch_of(recipient_id="1", phone="+15005550112").applied(STORED, "tester", NOW)
    assert other.content["phones"] == [{"e164": "+15005550112"}]


def test_the_same_preferences_and_consent_again_change_nothing() -> None:
    again = patch_of(recipient_id="1", sms_opt_in__marketing="true", consent__sms_marketing="opted_out")
    assert again.applied(STORED, "tester", NOW).content == STORED.content


def test_one_preference_changes_alone() -> None:
    changed = patch_of(recipient_id="1", sms_opt_in__marketing="false").applied(STORED, "tester", NOW)
    assert changed.content["preferences"] == {
        "sms_opt_in": {"marketing": False, "reviews": True},
        "updated_by": "tester",
        "updated_at": NOW,
    }
    assert STORED.content["preferences"]["sms_opt_in"]["marketing"] is True


def test_half_of_quiet_hours_is_refused() -> None:
    with pytest.raises(LineProblem, match="both ends"):
        content_of(quiet_hours__start="21:00")


def test_quiet_hours_that_end_when_they_start_are_refused() -> None:
    with pytest.raises(LineProblem, match="another time"):
        content_of(quiet_hours__start="21:00", quiet_hours__end="21:00")
    content_of(quiet_hours__start="21:00", quiet_hours__end="21:00", quiet_hours__enabled="no")


def test_somebody_new_needs_a_clinic() -> None:
    with pytest.raises(LineProblem, match="home clinic"):
        patch_of(recipient_id="1").applied(None, "tester", NOW)


def test_a_patch_prints_nobody() -> None:
    assert "Ann" not in repr(patch_of(recipient_id="4711", first_name="Ann"))
