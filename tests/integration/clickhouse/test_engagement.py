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

# Texts of other clinics: clinic, country, segments, pictures. `north` has a contract for the US, in euros.
ABROAD: list[tuple[str, str, int, int]] = [
    ("south", "DE", 2, 0),
    ("south", "DE", 1, 0),
    ("south", "MX", 3, 0),
    ("south", "JM", 4, 0),
    ("south", "", 1, 0),
    ("south", "GB", 1, 1),
    ("north", "US", 2, 0),
    ("north", "US", 1, 1),
    ("north", "DE", 1, 0),
    ("south", "MX", 600_000, 0),  # a big clinic's month: 109,140 dollars are more than 32 bits hold
]
PRICES = """prices:
  US: {segment: 0.0083, picture: 0.0220, source: a list, as_of: 2026-11-09}
  DE: {segment: 0.112, source: a list, as_of: 2026-08-28}
  GB: {segment: 0.056, source: a list, as_of: 2026-08-28}
  MX: {segment: 0.1819, source: 'a list: O''Brien\\''s', as_of: 2026-10-03}
clinics:
  north:
    US: {segment: 0.005, picture: 0.01, currency: EUR, source: its contract, as_of: 2026-11-01}
"""


def rows() -> dict[str, list[dict[str, Any]]]:
    messages, statuses = [], []
    said: list[tuple[dict[str, Any], list[tuple[str, str]]]] = []
    for channel, segments, told in MESSAGES:
        pictures = int(segments == WITH_PICTURE)
        advertised = {"channel": channel, "segments": segments, "pictures": pictures, "country": "US"}
        said.append((SHARED | advertised | {"sender_class": "marketing"}, told))
    for clinic_id, country, segments, pictures in ABROAD:
        text = {"channel": "sms", "segments": segments, "pictures": pictures, "country": country}
        care = {"clinic_id": clinic_id, "notification_type": "appointment_confirmation", "sender_class": "care"}
        said.append((SHARED | text | care, [("sent", "")]))
    for message, told in said:
        ids = {"delivery_id": str(uuid.uuid4()), "notification_id": str(uuid.uuid4())}
        messages.append({**message, **ids, "created_at": AT, "locale": "en"})
        of = {name: message[name] for name in (*SHARED, "channel")} | ids
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
    file = state / "prices.yaml"
    file.write_text(PRICES)
    settings = Settings(state_dir=state, sms_prices_file=file)
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
    found = engine.query(
        "SELECT read_at, clicked_at FROM delivery_log WHERE segments = 2 AND clinic_id = 'c-1'"
    ).result_rows
    assert found == [(None, None)]


def test_texts_cost_what_their_segments_cost_and_one_with_a_picture_its_own_price(engine: Client) -> None:
    columns = "clinic_id, toString(month), country, messages, segments, with_pictures, toFloat64(cost), currency"
    found = engine.query(f"SELECT {columns} FROM sms_costs WHERE clinic_id = 'c-1'").result_rows  # noqa: S608
    assert found == [("c-1", "2026-03-01", "US", 3, 3, 1, 0.0469, "USD")]


def test_a_text_costs_what_its_country_costs_at_the_clinics_contract_and_nothing_is_told_where_no_price_is_known(
    engine: Client,
) -> None:
    columns = "clinic_id, country, messages, segments, with_pictures, toFloat64(cost), currency"
    order = "ORDER BY clinic_id, country"
    found = engine.query(f"SELECT {columns} FROM sms_costs WHERE clinic_id != 'c-1' {order}").result_rows  # noqa: S608
    assert found == [
        ("north", "DE", 1, 1, 0, 0.112, "USD"),
        ("north", "US", 2, 2, 1, 0.02, "EUR"),
        ("south", "", 1, 1, 0, None, ""),
        ("south", "DE", 2, 3, 0, 0.336, "USD"),
        ("south", "GB", 1, 0, 1, None, ""),
        ("south", "JM", 1, 4, 0, None, ""),
        ("south", "MX", 2, 600_003, 0, 109_140.5457, "USD"),
    ]


def test_analysts_see_the_prices_and_where_they_are_from(engine: Client) -> None:
    found = engine.query(
        "SELECT clinic_id, source, toString(as_of) FROM sms_prices WHERE country IN ('MX', 'US')"
    ).result_rows
    assert sorted(map(tuple, found)) == [
        ("", "a list", "2026-11-09"),
        ("", "a list: O'Brien\\'s", "2026-10-03"),
        ("north", "its contract", "2026-11-01"),
    ]
