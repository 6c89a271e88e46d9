"""Watching ``luxe demo --misbehave`` to its end, and what its account says beyond an ordinary day's."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.account import Accounts, clickhouse_events, clickhouse_states, take_account
from cli.misbehaving import Misbehaving, sent_twice
from connectors.clickhouse.remote import open_remote
from connectors.settings import Settings

POLL_SECONDS = 1.0
# Workers are killed for so long; then all that is in doubt has to settle, the longest a killed sink's lease.
KILLING_SECONDS = 30.0
# After so long without a change, with nothing under way, nothing more will come but by timers of minutes and hours.
QUIET_SECONDS = 8.0
SETTLE_TIMEOUT_SECONDS = 300.0
# ClickHouse is a second or two behind Kafka; what is tried again every few seconds is over within a minute and a half.
AGREE_TIMEOUT_SECONDS = 120.0
AGREE_POLL_SECONDS = 3.0


def watch_a_bad_day(
    settings: Settings, correlation_id: str, events: int, trouble: Misbehaving, console: Console
) -> bool:
    """Show the states as they change, stop killing after a while; whether everything settled in the end."""
    client = open_remote(settings)
    began = time.monotonic()
    quiet_since, last = began, None
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while (passed := time.monotonic() - began) < SETTLE_TIMEOUT_SECONDS:
            if passed >= KILLING_SECONDS:
                trouble.no_more_kills()
            seen = _seen(client, correlation_id)
            if seen is not None and seen != last:
                last, quiet_since = seen, time.monotonic()
            if seen is not None:
                live.update(_table(seen, events, trouble))
                arrived, under_way, states = seen
                is_settled = arrived >= events and not under_way and not states.get(("undecided", ""), 0)
                if is_settled and passed >= KILLING_SECONDS and time.monotonic() - quiet_since >= QUIET_SECONDS:
                    return True
            time.sleep(POLL_SECONDS)
    return False


_Seen = tuple[int, int, dict[tuple[str, str], int]]


def _seen(client: Client, correlation_id: str) -> _Seen | None:
    """Events in ClickHouse, deliveries under way, states. None: it, too, is killed now and then."""
    try:
        under_way = client.query(
            """
            SELECT count() FROM delivery_log
            WHERE correlation_id = {id:String} AND status IN ('waiting', 'queued', 'sending') AND notification_id NOT IN (
                SELECT assumeNotNull(notification_id) FROM raw_dead_letter WHERE notification_id IS NOT NULL)
            """,
            parameters={"id": correlation_id},
        ).result_rows[0][0]
        events, states = clickhouse_events(client, correlation_id), dict(clickhouse_states(client, correlation_id))
    except (ClickHouseError, OSError):
        return None
    return events, int(under_way), states


def _table(seen: _Seen, events: int, trouble: Misbehaving) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "workers killed", ", ".join(f"{name} {n}" for name, n in sorted(trouble.killed.items())) or "none yet"
    )
    table.add_row("events in ClickHouse", f"{seen[0]} of {events}")
    table.add_row("messages under way", str(seen[1]))
    for (state, reason), count in sorted(seen[2].items()):
        table.add_row(f"{state} {reason}".strip(), str(count))
    return table


def account_of_a_bad_day(settings: Settings, correlation_id: str, since: datetime) -> Accounts:
    """The account once ClickHouse has what Kafka has. Timers go on trying again, so the two are never still for long."""
    began = time.monotonic()
    while True:
        accounts = take_account(settings, correlation_id, since)
        if not accounts.differences() or time.monotonic() - began > AGREE_TIMEOUT_SECONDS:
            return accounts
        time.sleep(AGREE_POLL_SECONDS)


def of_a_bad_day(settings: Settings, accounts: Accounts, since: datetime, trouble: Misbehaving) -> dict[str, Any]:
    """Each notification once by its final state, what was sent twice, and the longest that anybody waited."""
    kafka = accounts.kafka
    states = {f"{state}/{reason}".rstrip("/"): count for (state, reason), count in sorted(kafka.states().items())}
    twice = sent_twice(settings, kafka, since)
    handed_over = sum(kafka.accepted.values())
    return {
        "states": states,
        "balances": sum(states.values()) == kafka.requests,
        "killed": dict(trouble.killed),
        "sent_twice": dict(twice),
        "sent_twice_share": round(twice.total() / handed_over, 4) if handed_over else 0.0,
        "slowest_seconds": slowest_seconds(open_remote(settings), since),
    }


def slowest_seconds(client: Client, since: datetime) -> dict[str, float]:
    """From the event to the provider, and to the first sign of arrival, in the worst case of all messages since then."""
    row = client.query(
        """
        SELECT
            maxOrNull(dateDiff('millisecond', occurred_at, sent_at)),
            maxOrNull(dateDiff('millisecond', occurred_at, delivered_at))
        FROM delivery_log WHERE created_at >= {since:DateTime64(3)}
        """,
        parameters={"since": since},
    ).result_rows[0]
    return {name: round((ms or 0) / 1000, 3) for name, ms in zip(("to_provider", "to_recipient"), row, strict=True)}
