"""Explanations over HTTP: what they say, whose they are, and that nobody learns from a refusal."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import luxe
from connectors.postgres import gates, policies
from connectors.postgres.gates import Suppression, address_gate
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api, api_on, clickhouse_with
from tests.integration.api.people import CLINIC, EMAIL, PHONE, patient

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
LIST = "/v1/recipients/{}/notifications"


def explanation(id_: str) -> str:
    return f"/v1/notifications/{id_}/explanation"


class Recorded:
    """Rows as ingestion would have put them into ClickHouse."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def notification(
        self,
        recipient: str,
        clinic_id: str = CLINIC,
        minutes_ago: int = 5,
        statuses: tuple[str, ...] = ("sent", "delivered"),
    ) -> str:
        """One that went out by email, the text having fallen; with its receipts."""
        id_, at = str(uuid.uuid4()), (NOW - timedelta(minutes=minutes_ago)).isoformat()
        about = {
            **{"notification_id": id_, "notification_type": "appointment_confirmation", "recipient": recipient},
            **{"category": "transactional", "lane": "high", "clinic_id": clinic_id, "event_id": str(uuid.uuid4())},
            **{"event_type": "appointment.created", "aggregate_type": "appointment", "aggregate_id": "A-1"},
            **{"aggregate_version": 1, "occurred_at": at},
        }
        step = {
            **{"step": 0, "channel": "email", "delivery_id": f"d-{id_}", "success": "delivered", "timeout_seconds": 0},
            **{"parallel": False, "template_version": 2},
        }
        rules = [
            {"rule": "suppression", "channel": "sms", "verdict": "narrow", "reason": "address_suppressed"},
            {"rule": "consent", "channel": None, "verdict": "pass", "reason": ""},
        ]
        self.add("notification_request", about | {"kind": "notify", "requested_at": at})
        self.add(
            "decision",
            about
            | {
                "sequence": 0,
                "outcome": "deliver",
                "reason": "deliver",
                "decided_at": at,
                "steps": [step],
                "rules": rules,
            }
            | {"recipient_version": 1, "policy_version": 1, "catalog_version": "c", "template_id": "confirmation"},
        )
        message = {"delivery_id": step["delivery_id"], "notification_id": id_, "channel": "email", "step": 0}
        self.add("channel_message", message | {"template_id": "confirmation", "template_version": 2, "created_at": at})
        for status in statuses:
            about_it = {
                "status_id": str(uuid.uuid4()),
                "status": status,
                "status_at": at,
                "recorded_at": at,
                "attempt": 1,
            }
            self.add("delivery_status", message | about_it | {"provider": "sendgrid"})
        return id_

    def add(self, record: str, row: dict[str, Any]) -> None:
        self.rows.setdefault(f"raw_{record}", []).append(row)


async def stopped_by_text(pool: Pool, records: Records) -> str:
    """A patient whose number said STOP; their clinic has a policy."""
    id_ = await patient(pool, records)
    gate = address_gate("sms", "care", records.ring.address_hash("sms", PHONE))
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "*", "time_zone": "UTC"}, "test")
        await gates.put(connection, records, [Suppression(gate, "opted_out", "webhook")])
        await connection.execute("UPDATE suppressions SET created_at = '2026-03-03 12:00+00'")
    return id_


async def test_why_and_for_whom(settings: Settings, pool: Pool, records: Records) -> None:
    id_ = await stopped_by_text(pool, records)
    recorded = Recorded()
    ours = recorded.notification(f"patient:{id_}")
    theirs = recorded.notification(f"patient:{id_}", "c2", minutes_ago=9)
    old = recorded.notification(f"patient:{id_}", minutes_ago=60 * 24 * 30)
    gone = recorded.notification("patient:nobody-knows", minutes_ago=1)
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            desk, own = api.caller("staff", "s", CLINIC), api.caller("patient", id_)
            found = await desk("GET", explanation(ours))
            assert found.status == 200, found.json
            assert found.json["sentence"].startswith("The patient texted STOP on 3 March")
            assert (
                "so texts are off; the appointment confirmation message arrived by email at" in found.json["sentence"]
            )
            assert (found.json["state"], found.json["event"]["eventType"]) == ("delivered", "appointment.created")
            (decision,) = found.json["decisions"]
            assert decision["versions"] == {
                **{"recipient": 1, "policy": 1, "catalog": "c", "template": "confirmation", "consents": {}}
            }
            assert [rule["rule"] for rule in decision["rules"]] == ["suppression", "consent"]
            (delivery,) = found.json["deliveries"]
            assert [receipt["status"] for receipt in delivery["receipts"]] == ["sent", "delivered"]
            assert (await own("GET", explanation(ours))).json == found.json

            # What another clinic sent is theirs to explain, and what the patient said is not theirs to know.
            other = api.caller("staff", "s", "c2")
            seen = await other("GET", explanation(theirs))
            assert seen.status == 200
            assert "STOP" not in seen.json["sentence"]
            assert (await desk("GET", explanation(gone))).status == 200  # the clinic's, of somebody without a record

            refusals = [
                await asker("GET", explanation(asked))
                for asker, asked in (
                    (other, ours),
                    (desk, theirs),
                    (desk, str(uuid.uuid4())),
                    (desk, "x"),
                    (api.caller("patient", "someone-else"), ours),
                    (api.caller("marketing", "m", CLINIC), ours),
                )
            ]
            assert {refusal.status for refusal in refusals} == {404}
            assert len({str(refusal.json | {"requestId": ""}) for refusal in refusals}) == 1

            # The list: a patient's own, of all clinics; a clinic's people, of theirs.
            async def listed(caller: Any, query: str = "") -> list[str]:
                answer = await caller("GET", LIST.format(id_) + query)
                return [one["notificationId"] for one in answer.json["notifications"]]

            since = f"?since={(NOW - timedelta(days=60)).strftime('%Y-%m-%dT%H:%M:%SZ')}"
            assert await listed(own) == [ours, theirs]
            assert await listed(desk) == [ours]
            assert await listed(own, since) == [ours, theirs, old]
            first = await own("GET", LIST.format(id_) + since + "&limit=2")
            assert await listed(own, f"{since}&limit=2&before={first.json['next']}") == [old]
            assert (await other("GET", LIST.format(id_))).status == 404
            for query in ("?since=yesterday", "?since=2026-01-01T00:00:00", "?before=x", "?limit=1000"):
                assert (await own("GET", LIST.format(id_) + query)).status == 422

        shown = await cli(whole, "explain", ours)
        assert shown.startswith("The patient texted STOP on 3 March")
        for part in ("rule        suppression sms: narrow (address_suppressed)", "recipient 1, policy 1", "delivered"):
            assert part in shown
        assert ours in await cli(whole, "explain", "--patient", id_, "--since", "1d")
        assert PHONE not in shown
        assert EMAIL not in shown


async def test_an_erased_patients_notifications_are_nobodys(settings: Settings, pool: Pool, records: Records) -> None:
    id_ = await stopped_by_text(pool, records)
    recorded = Recorded()
    ours = recorded.notification(f"patient:{id_}")
    async with pool.connection() as connection:
        await connection.execute("UPDATE recipients SET sealed = NULL, erased_at = now()")
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            for asker in (api.caller("staff", "s", CLINIC), api.caller("patient", id_)):
                assert (await asker("GET", explanation(ours))).status == 404
                assert (await asker("GET", LIST.format(id_))).status == 404


async def test_without_clickhouse_it_says_come_again(api: Api, pool: Pool, records: Records) -> None:
    id_ = await stopped_by_text(pool, records)
    for path in (explanation(str(uuid.uuid4())), LIST.format(id_)):
        away = await api.caller("staff", "s", CLINIC)("GET", path)
        assert (away.status, away.headers["Retry-After"]) == (503, "5")


async def cli(settings: Settings, *words: str) -> str:
    """What a command prints. In a thread: it runs a loop of its own."""
    environment = {
        "LUXE_STATE_DIR": str(settings.state_dir),
        "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "LUXE_CLICKHOUSE_HTTP_PORT": str(settings.clickhouse_http_port),
    }
    done = await asyncio.to_thread(CliRunner().invoke, luxe, list(words), env=environment)
    assert done.exit_code == 0, done.output
    return done.output
