"""One appointment booked, moved twice, called off and restored while workers are killed: the provider has what was right.

Another one is confirmed, moved, and asked to be moved, by the patient's texts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SETTLE_SECONDS = 120
PHONE, EMAIL, SENDER = "+12125550177", "moved@example.com", "+15005550006"
BOOKED = {
    **{"patient_name": "Mo Example", "patient_phone": PHONE, "patient_email": EMAIL, "duration": 60},
    **{"sms_opt_in": True, "email_opt_in": True},
}
# Of an appointment booked, moved twice, called off and restored.
NOTICES = (
    *("appointment_confirmation", "appointment_rescheduled", "appointment_rescheduled"),
    *("appointment_cancelled", "appointment_restored"),
)
# Email is killed only when it has nothing under way: its provider cannot be asked what it took, and might be sent one twice.
KILLED_AT_WORK = ("intake", "notify", "sms", "relay", "webhooks")
# Reasons of what waits at a sink, or for one.
AT_A_SINK = ("not_taken", "queued", "sending")


@dataclass(frozen=True, slots=True)
class Clinic:
    """A stack with one patient, whose clocks say noon."""

    state: Path
    zone: str
    offset: timezone

    def luxe(self, *words: str, ok: bool = True) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            env=os.environ | {"LUXE_STATE_DIR": str(self.state), "LUXE_KAFKA_PARTITIONS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not ok or done.returncode == 0, f"luxe {' '.join(words)}: {done.stderr[-2000:]}"
        return done.stdout

    def happens(
        self, event_type: str, version: int, occurred_at: datetime, appointment: str = "A-moved", **fields: Any
    ) -> None:
        """Publishes an event about the appointment."""
        event = {
            **{"event_type": event_type, "clinic_id": "tideline", "aggregate_id": appointment, "patient_id": "mo"},
            **{"aggregate_version": version, "appointment_id": appointment, "occurred_at": occurred_at.isoformat()},
            **{"service": "Peel", "provider": "Dr. Sam Example", "provider_id": "staff-1", "time_zone": self.zone},
            **fields,
        }
        path = self.state.parent / f"event-{version}.json"
        path.write_text(json.dumps(event))
        self.luxe("produce", str(path))

    def kill(self, *names: str) -> None:
        """-9, and the supervisor starts them again."""
        for entry in map(json.loads, self.luxe("status", "--json", ok=False).splitlines()):
            if entry["name"] in names and entry.get("pid"):
                try:
                    os.kill(entry["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def day(self, of: datetime, name: str) -> dict[str, str]:
        """An event's fields with this day and time of the clinic."""
        local = of.astimezone(self.offset)
        return {f"{name}_date": local.date().isoformat(), f"{name}_time": f"{local:%H:%M}"}

    def texts(self, word: str) -> None:
        """The patient texts the clinic."""
        url = json.loads((self.state / "endpoints.json").read_text())["loopback_url"]
        said = {"from": PHONE, "to": SENDER, "body": word}
        answer = requests.post(f"{url}/inbound", json=said, timeout=30)
        assert answer.json()["webhook_status"] == 200, answer.text

    def calendar(self, appointment: str = "A-moved") -> list[dict[str, Any]]:
        """What explain tells of the appointment."""
        printed = self.luxe("explain", "--about", f"appointment:{appointment}", "--json", ok=False)
        return [json.loads(line) for line in printed.splitlines()]

    def wait(self, holds: Callable[[list[dict[str, Any]]], bool], appointment: str = "A-moved") -> list[dict[str, Any]]:
        """The calendar, once nothing is under way and that is so."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found = self.calendar(appointment)
            moving = [one for one in found if one["state"] in ("undecided", "sent") or one["reason"] in AT_A_SINK]
            if found and not moving and holds(found):
                return found
            assert time.monotonic() < deadline, [(one["notificationType"], one["state"]) for one in found]
            time.sleep(1)


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    # Not under pytest's own folder: Postgres, as another account, must pass through it.
    with tempfile.TemporaryDirectory(prefix="luxe-moved-", ignore_cleanup_errors=True) as folder:
        ahead = 12 - datetime.now(UTC).hour
        # POSIX: west is positive.
        zone = f"Etc/GMT{-ahead:+d}"
        made = Clinic(Path(folder) / "state", zone, timezone(timedelta(hours=ahead)))
        try:
            made.luxe("up", "--no-fsync", "--owner-pid", str(os.getpid()))
            policy = Path(folder) / "policy.json"
            policy.write_text(json.dumps({"clinic_id": "tideline", "name": "Tideline", "time_zone": zone}))
            made.luxe("policies", "import", str(policy))
            people = Path(folder) / "people.csv"
            names = ("recipient_id", "first_name", "phone", "email", "kind", "clinic_id", "time_zone", "locale")
            agreed = ("phone_verified", "email_verified", "consent.sms_transactional", "consent.email_transactional")
            row = (
                "mo",
                "Mo",
                PHONE,
                EMAIL,
                "patient",
                "tideline",
                zone,
                "en-US",
                "true",
                "true",
                "opted_in",
                "opted_in",
            )
            people.write_text(f"{','.join((*names, *agreed))}\n{','.join(row)}\n")
            made.luxe("recipients", "import", str(people))
            yield made
        finally:
            made.luxe("down", "--wipe", "--yes")


def test_exactly_the_right_messages_while_workers_are_killed(clinic: Clinic) -> None:
    now = datetime.now(UTC)
    day = clinic.day
    first, second = now + timedelta(days=5), now + timedelta(days=9)
    published: dict[int, datetime] = {}

    def happens(version: int, event_type: str, notice: str, **fields: Any) -> None:
        clinic.happens(event_type, version, now - timedelta(hours=6 - version), **fields)
        published[version] = datetime.now(UTC)
        clinic.kill(*KILLED_AT_WORK)
        clinic.wait(lambda found: "delivered" in _states(found, version, notice))
        clinic.kill("email", "in_app")

    booked = BOOKED | day(first, "appointment")
    happens(1, "appointment.created", NOTICES[0], **booked)
    moved = day(first, "old") | day(second, "new")
    happens(2, "appointment.rescheduled", NOTICES[1], rescheduled_by="staff-1", **moved)
    # Two hours and a little ahead, on a full minute: a reminder that dies, unless all this takes longer, and one that is sent.
    dies_before, died = _full_minute(seconds=120), "appointment_reminder_2h"
    third = dies_before + timedelta(hours=2)
    moved = day(second, "old") | day(third, "new")
    happens(3, "appointment.rescheduled", NOTICES[2], rescheduled_by="staff-1", **moved)
    off = {"cancelled_by": "staff-1", "refund_issued": False, **day(third, "appointment")}
    happens(4, "appointment.cancelled", NOTICES[3], **off)
    # Before it is restored: an entry that stands again is not taken out any more.
    clinic.wait(lambda found: "delivered" in _states(found, 4, "appointment_entry_removed"))
    due = max(dies_before, _full_minute(seconds=100))
    back = day(due + timedelta(hours=2), "appointment") | (day(third, "old") if due > dies_before else {})
    happens(5, "appointment.restored", NOTICES[4], restored_by="staff-1", **back)

    found = clinic.wait(lambda found: "delivered" in _states(found, 5, "appointment_reminder_2h"))
    for one in found:
        version, kind = one["event"]["aggregateVersion"], one["notificationType"]
        if version < 5 and one["recipient"] == "patient:mo":
            # A dead version tells nothing from then on, and nothing of it waits.
            assert one["state"] in ("delivered", "suppressed"), one["sentence"]
            in_time = (version, kind) == (3, died) and _left(one) and _sent_at(one) < published[4]
            is_notice = kind == NOTICES[version - 1] or in_time or (version, kind) == (4, "appointment_entry_removed")
            assert is_notice == (one["state"] == "delivered") or kind == "pre_visit_instructions"
    assert _states(found, 5, "check_in_ready") == ["waiting"]

    delivered = Counter(
        delivery["channel"]
        for one in found
        if one["recipient"] == "patient:mo"
        for delivery in one["deliveries"]
        if delivery["status"] == "delivered"
    )
    url = json.loads((clinic.state / "endpoints.json").read_text())["loopback_url"]
    for channel, address in (("sms", PHONE), ("email", EMAIL)):
        answer = requests.get(f"{url}/messages", params={"channel": channel, "to": address, "limit": "500"}, timeout=10)
        assert len(answer.json()["messages"]) == delivered[channel] > 3
    reminders = {
        one["event"]["aggregateVersion"]: one for one in found if one["notificationType"] == died and _left(one)
    }
    assert reminders.keys() - {3} == {5}
    assert _sent_at(reminders[5]) >= due


def _full_minute(*, seconds: int) -> datetime:
    """The last full minute within so many seconds from now: the clinic's times have no seconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(second=0, microsecond=0)


def _sent_at(one: dict[str, Any]) -> datetime:
    return min(datetime.fromisoformat(delivery["createdAt"]) for delivery in one["deliveries"])


def _states(found: list[dict[str, Any]], version: int, kind: str) -> list[str]:
    return [
        one["state"] for one in found if one["event"]["aggregateVersion"] == version and one["notificationType"] == kind
    ]


def _left(one: dict[str, Any]) -> bool:
    return bool(one["deliveries"])


def test_a_patient_confirms_and_asks_for_another_time_by_text(clinic: Clinic) -> None:
    """She is thanked, and not asked to confirm again; when it moves, she is."""
    asked = "A-asked"

    def until(version: int, kind: str, state: str) -> list[dict[str, Any]]:
        return clinic.wait(lambda found: state in _states(found, version, kind), asked)

    # Its reminders fell due a moment ago, and it was booked long enough before them that they are not noise.
    now = datetime.now(UTC)
    soon, later = now + timedelta(hours=24) - timedelta(minutes=5), now + timedelta(hours=48) - timedelta(minutes=5)
    then = now - timedelta(hours=14)
    clinic.happens("appointment.created", 1, then, asked, **BOOKED, **clinic.day(later, "appointment"))
    until(1, "appointment_reminder_48h", "delivered")
    clinic.texts("C")
    found = until(1, "appointment_confirmed", "delivered")
    (settled,) = [one for one in found if one["notificationType"] == "appointment_reminder_24h"]
    assert (settled["state"], settled["reason"]) == ("suppressed", "already_done")
    assert "had done already what it asks for" in settled["sentence"]
    assert _states(found, 1, "appointment_reminder_2h") == ["waiting"]

    moved = clinic.day(later, "old") | clinic.day(soon, "new")
    clinic.happens("appointment.rescheduled", 2, then + timedelta(minutes=1), asked, rescheduled_by="staff-1", **moved)
    until(2, "appointment_reminder_24h", "delivered")
    clinic.texts("R")
    found = until(2, "reschedule_request_received", "delivered")
    assert _states(found, 2, "appointment_confirmed") == []
