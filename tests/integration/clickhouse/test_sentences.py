"""The view ``decisions`` says what `luxe explain` says, as far as a decision alone can tell: for every reason that there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.clickhouse.remote import open_remote
from connectors.explaining.facts import NOTHING_SAID
from connectors.explaining.phrases import CHANNELS, CLOSED, WHOLE
from connectors.explaining.recorded import stories
from connectors.explaining.sentence import Clock, sentence
from connectors.settings import Settings
from tests.integration.api.conftest import clickhouse_with

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 28, 3, 5, tzinfo=UTC)
# The clinic's evening of the day before; somebody unknown's clinic stands in for it.
ZONES = {"*": "Asia/Tokyo", "uptown": "America/New_York", "odd": "Mars/Olympus"}
# What fell: nothing, one channel, all for one reason, two for two reasons, and with an app that nobody has.
FALLEN: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("push", "unreachable"),),
    (("push", "unreachable"), ("sms", "opted_out")),
    (("sms", "opted_out"), ("email", "opted_out"), ("push", "unreachable")),
    (("sms", "no_consent"), ("email", "channel_off"), ("sms", "unverified"), ("in_app", "category_opt_out")),
    (("sms", "do_not_disturb"), ("push", "do_not_disturb")),
)


def decisions() -> Iterator[dict[str, Any]]:
    """Every reason, by every outcome it could have, whatever fell besides."""
    made = product(("suppress", "defer", "deliver"), WHOLE, FALLEN)
    for number, (outcome, reason, fallen) in enumerate(made):
        if (outcome == "deliver") != (reason == "deliver"):
            continue
        if reason in CLOSED and outcome == "suppress":
            fallen = (*fallen, ("email", reason))
        rules: list[dict[str, Any]] = [
            {"rule": "r", "channel": c, "verdict": "narrow", "reason": why} for c, why in fallen
        ]
        if number % 2:
            rules.append({"rule": "w", "channel": None, "verdict": "defer", "reason": "quiet_hours"})
        rules.append({"rule": "essential", "channel": None, "verdict": "pass", "reason": ""})
        steps = [
            {"step": n + number % 3, "channel": channel, "delivery_id": f"{number}-{n}", "success": "delivered"}
            | {"timeout_seconds": 900, "parallel": n == 1, "template_version": 0}
            for n, channel in enumerate(CHANNELS if outcome == "deliver" else ())
        ]
        yield {
            **{"notification_id": f"n-{number}", "sequence": 0, "outcome": outcome, "reason": reason, "rules": rules},
            **{
                "notification_type": ("appointment_reminder_24h", "payment_receipt", "requested_message")[number % 3],
                "steps": steps,
            },
            **{"recipient": ("patient:1", "staff:1")[number % 3 == 0], "clinic_id": (*ZONES, "nobody's")[number % 4]},
            **{"category": "transactional", "lane": "high", "event_id": "e", "event_type": "appointment.created"},
            **{"aggregate_type": "appointment", "aggregate_id": "A", "aggregate_version": 1},
            **{"occurred_at": AT.isoformat(), "decided_at": AT.isoformat()},
            **{"until": AT.isoformat() if outcome == "defer" else None},
        }


def test_a_row_says_what_explain_says(tmp_path: Path) -> None:
    rows = list(decisions())
    clinics = [
        {"clinic_id": name, "version": version, "time_zone": zone}
        for name, right in ZONES.items()
        for version, zone in ((1, "Europe/Berlin"), (2, right))
    ]
    settings = Settings(state_dir=tmp_path, clickhouse_dsn=SecretStr("chdb:"))
    with clickhouse_with(settings, {"raw_decision": rows, "raw_clinic_policy": clinics}) as whole:
        client = open_remote(whole)
        answer = client.raw_query("SELECT notification_id, clinic_id, sentence FROM decisions", fmt="JSONEachRow")
        told = {row["notification_id"]: row for row in map(json.loads, answer.splitlines())}
        expected = {story.notification_id: story for story in stories(client, [row["notification_id"] for row in rows])}
    assert len(told) == len(rows) == len(expected)
    for id_, row in told.items():
        zone = {"uptown": "America/New_York", "*": "Asia/Tokyo"}.get(row["clinic_id"], "UTC")
        said = sentence(expected[id_], NOTHING_SAID, Clock(zone, AT))
        if said.endswith("is on its way."):
            # What became of it since is not the decision's to tell; that it was to go out is.
            clauses, _, end = said.lower().rpartition("the ")
            assert row["sentence"].lower().startswith(clauses)
            kind = end.removesuffix(" is on its way.")
            going = f"the {kind} was to go out by text and email at {AT:%H:%M} on 28 november."
            assert zone != "UTC" or row["sentence"].lower() == clauses + going
        else:
            assert row["sentence"] == said
