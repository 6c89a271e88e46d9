"""The whole way: a patient's birthday, in the clinic's zone, becomes a message at the loopback provider; once."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests.integration.desk import WAIT_SECONDS, Patient, luxe, pid_of, sent_to
from tests.integration.hammer.crowd import CLINIC, noon_zone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HERS, OTHER, INACTIVE = Patient(1), Patient(2), Patient(3)


@pytest.fixture(scope="module")
def whole() -> Iterator[LocalStack]:
    with tempfile.TemporaryDirectory(prefix="luxe-birthday-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(Path(folder) / "state", default_ports=False, owner_pid=os.getpid())
        try:
            local.up(("relay", "intake", "notify", "sms", "email"))
            yield local
        finally:
            local.wipe()


@pytest.fixture(scope="module")
def settings(whole: LocalStack) -> Settings:
    return whole.settings()


def imported(settings: Settings, kind: str, text: str, ending: str) -> None:
    file = settings.state_dir / f"{kind}.{ending}"
    file.write_text(text)
    done = luxe(settings, kind, "import", str(file))
    assert done.returncode == 0, done.stderr


def person(patient: Patient, birthday: str, *, active: bool = True) -> str:
    row = {
        **{"recipient_id": f"h-{patient.number}", "kind": "patient", "clinic_id": CLINIC, "active": active},
        **{"first_name": "Ada", "birthday": birthday, "locale": "en-US"},
        **{"phone": patient.phone, "phone_verified": True, "email": patient.email, "email_verified": True},
        **{f"consent.{kind}_marketing": "opted_in" for kind in ("sms", "email")},
        **{f"{kind}_opt_in.marketing": True for kind in ("sms", "email")},
        "category_marketing": True,
    }
    return json.dumps(row) + "\n"


def test_a_birthday_becomes_one_message(whole: LocalStack, settings: Settings) -> None:
    zone = noon_zone()
    today = datetime.now(ZoneInfo(zone)).date().replace(year=1980)
    imported(settings, "policies", f"clinic_id: {CLINIC}\nname: Luxe\ntime_zone: {zone}\n", "yaml")
    people = person(HERS, str(today)) + person(OTHER, "1980-01-01" if today.month != 1 else "1980-07-01")
    imported(settings, "recipients", people + person(INACTIVE, str(today), active=False), "jsonl")

    tried = luxe(settings, "segments", "run", "--segment", "birthday", "--dry-run", "--json")
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout)["recipients"] == [HERS.recipient]
    assert sent_to(settings, HERS) == []

    whole.up(("segments",))
    deadline = time.monotonic() + WAIT_SECONDS
    while not sent_to(settings, HERS):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    os.kill(pid_of(whole, "segments"), 9)
    again = luxe(settings, "segments", "run", "--json")
    assert again.returncode == 0, again.stderr
    (birthday,) = [one for one in map(json.loads, again.stdout.splitlines()) if one["segment"] == "birthday"]
    assert (birthday["emitted"], birthday["repeated"]) == (0, 1)
    (message,) = sent_to(settings, HERS)
    assert "birthday" in message
    assert sent_to(settings, OTHER) == sent_to(settings, INACTIVE) == []


def test_what_was_scanned_is_listed_and_what_is_wrong_is_said(settings: Settings) -> None:
    listed = luxe(settings, "segments", "list", "--json")
    rows = {(one["segment"], one["clinic_id"]): one for one in map(json.loads, listed.stdout.splitlines())}
    assert rows["birthday", CLINIC]["finished"] is True
    assert "inactive_90" in luxe(settings, "segments", "list").stdout
    for arguments, says in (
        (("run", "--segment", "nameday"), "choose from: birthday"),
        (("run", "--clinic", "nowhere"), "luxe segments list"),
        (("run", "--date", "tomorrow"), "write a day as YYYY-MM-DD"),
        (("run", "--date", "2999-01-01", "--dry-run"), "to a year ahead"),
        (("run", "--date", "2001-01-01"), "31 days ago to today"),
    ):
        done = luxe(settings, "segments", *arguments)
        assert done.returncode == 1
        assert says in done.stderr
    rebuilt = luxe(settings, "segments", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "luxe status" in rebuilt.stdout
