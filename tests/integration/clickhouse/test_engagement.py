"""What people opened and clicked, machines apart, and what texts cost: the analysts' views on the engine itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.endpoint import USER, ensure_password
from connectors.settings import Settings
from tests.integration.api.conftest import clickhouse_with

pytestmark = pytest.mark.integration

AT = "2026-03-01T12:00:00Z"
SHARED: dict[str, Any] = {
    "notification_type": "promotional_offer",
    "recipient": "patient:1",
    "clinic_id": "c-1",
    "category": "marketing",
    "lane": "low",
    "step": 0,
    "attempt": 1,
    "template_id": "promotional_offer",
    "template_version": 1,
    "occurred_at": AT,
}
# A text with a picture is told by its own number.
WITH_PICTURE = 7
# Of each message: its channel, segments, and statuses with their provider_status.
MESSAGES: list[tuple[str, int, list[tuple[str, str]]]] = [
    ("email", 0, [("sent", ""), ("read", "open"), ("read", "open"), ("clicked", "click")]),
    ("email", 0, [("sent", ""), ("sent", "machine_open"), ("sent", "machine_click")]),
    ("email", 0, [("sent", ""), ("sent", "machine_open"), ("clicked", "click")]),
    ("email", 0, [("failed", "")]),
    ("sms", 2, [("sent", ""), ("sent", "machine_click")]),
    ("sms", 1, [("sent", ""), ("clicked", "click")]),
    ("sms", 5, [("suppressed", "")]),
    ("sms", WITH_PICTURE, [("sent", "")]),
]


def rows() -> dict[str, list[dict[str, Any]]]:
    messages, statuses = [], []
    for channel, segments, told in MESSAGES:
        of = {**SHARED, "delivery_id": str(uuid.uuid4()), "notification_id": str(uuid.uuid4()), "channel": channel}
        pictured = {"pictures": int(segments == WITH_PICTURE)}
        messages.append(
            {**of, **pictured, "segments": segments, "created_at": AT, "sender_class": "marketing", "locale": "en"}
        )
        for word, provider_status in told:
            statuses.append(
                {
                    **of,
                    "status_id": str(uuid.uuid4()),
                    "status": word,
                    "provider_status": provider_status,
                    "status_at": AT,
                    "recorded_at": AT,
                }
            )
    return {"raw_channel_message": messages, "raw_delivery_status": statuses}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    state: Path = tmp_path_factory.mktemp("state")
    settings = Settings(state_dir=state)
    with clickhouse_with(settings, rows()) as served:
        yield clickhouse_connect.get_client(
            host="127.0.0.1",
            port=served.clickhouse_http_port,
            username=USER,
            password=ensure_password(settings),
            database="luxe",
        )


def test_people_are_counted_once_a_message_and_machines_apart(engine: Client) -> None:
    columns = "channel, messages, sent, opened, clicked, opened_by_machine, clicked_by_machine, open_rate, click_rate"
    found = engine.query(f"SELECT {columns} FROM engagement ORDER BY channel").result_rows  # noqa: S608
    assert {str(row[0]): row[1:] for row in found} == {
        "email": (4, 3, 2, 2, 2, 1, 0.6667, 0.6667),
        "sms": (4, 3, 1, 1, 0, 1, 0.3333, 0.3333),
    }


def test_a_look_of_a_machine_is_no_state(engine: Client) -> None:
    found = engine.query("SELECT read_at, clicked_at FROM delivery_log WHERE segments = 2").result_rows
    assert found == [(None, None)]


def test_texts_cost_what_their_segments_cost_and_one_with_a_picture_its_own_price(engine: Client) -> None:
    columns = "clinic_id, toString(month), messages, segments, with_pictures, toFloat64(cost)"
    found = engine.query(f"SELECT {columns} FROM sms_costs").result_rows  # noqa: S608
    assert found == [("c-1", "2026-03-01", 3, 3, 1, 0.0469)]
