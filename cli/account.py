"""``luxe account``: every requested notification once, by its final state, counted from Kafka, ClickHouse and the provider."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from connectors.accounting import Account
from connectors.clickhouse.remote import open_remote
from connectors.kafka import read_to_end
from connectors.kafka_diagnosis import why_not
from connectors.postgres.pool import connect
from connectors.settings import Settings, SettingsError
from schemas.codec import Codec, CodecError
from schemas.registry import open_registry
from schemas.topics import DEAD_LETTERS, DECISIONS, EVENT_TOPICS, REQUESTED, STATUS, TOPICS

DELIVER_TOPICS = tuple(topic.name for topic in TOPICS if topic.name.startswith("deliver."))
PROVIDER_TIMEOUT_SECONDS = 30.0

States = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The same numbers from three places."""

    kafka: Account
    unreadable: int
    clickhouse: States
    clickhouse_events: int
    clickhouse_rows: int
    provider: dict[str, dict[str, int]]

    def differences(self) -> list[str]:
        """What does not agree, for a person; empty when the account closes."""
        kafka = self.kafka.states()
        found = [
            f"{state} {reason}: Kafka {kafka[state, reason]}, ClickHouse {self.clickhouse[state, reason]}"
            for state, reason in sorted(kafka | self.clickhouse)
            if kafka[state, reason] != self.clickhouse[state, reason]
        ]
        if self.kafka.events != self.clickhouse_events:
            found.append(f"events: Kafka {self.kafka.events}, ClickHouse {self.clickhouse_events}")
        undecided = sum(count for (state, _), count in kafka.items() if state == "undecided")
        if undecided:
            found.append(f"{undecided} requests without a decision")
        return found


def take_account(settings: Settings, correlation_id: str | None, unnamed_since: datetime | None = None) -> Accounts:
    """Read every topic to its end, ask ClickHouse and the providers.

    Raises KafkaException, ClickHouseError, OSError, psycopg.OperationalError.
    """
    auth = settings.schema_registry_auth
    codec = Codec(open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None))
    account = Account(correlation_id, unnamed_since)
    unreadable = 0
    topics = (*EVENT_TOPICS, REQUESTED, DECISIONS, *DELIVER_TOPICS, STATUS, DEAD_LETTERS)
    for message in read_to_end(settings, topics):
        try:
            account.take(codec.decode(message.value()))
        except CodecError:
            unreadable += 1
    client = open_remote(settings)
    return Accounts(
        account,
        unreadable,
        clickhouse_states(client, correlation_id),
        clickhouse_events(client, correlation_id),
        clickhouse_rows(client),
        provider_counts(settings),
    )


def clickhouse_states(client: Client, correlation_id: str | None) -> States:
    """State and reason → notifications."""
    where = "WHERE correlation_id = {id:String}" if correlation_id is not None else ""
    rows = client.query(
        f"SELECT state, reason, count() FROM notifications {where} GROUP BY state, reason",  # noqa: S608 — no input in it
        parameters={"id": correlation_id or ""},
    ).result_rows
    return Counter({(str(state), str(reason)): int(count) for state, reason, count in rows})


def clickhouse_events(client: Client, correlation_id: str | None) -> int:
    """Domain events in ClickHouse."""
    tables = [
        row[0]
        for row in client.query(
            "SELECT name FROM system.tables WHERE database = 'luxe' AND startsWith(name, 'raw_event_') AND total_rows > 0"
        ).result_rows
    ]
    if not tables:
        return 0
    where = "WHERE correlation_id = {id:String}" if correlation_id is not None else ""
    union = " UNION ALL ".join(f"SELECT count() AS n FROM {table} FINAL {where}" for table in tables)  # noqa: S608
    return int(client.query(f"SELECT sum(n) FROM ({union})", parameters={"id": correlation_id or ""}).result_rows[0][0])  # noqa: S608


def clickhouse_rows(client: Client) -> int:
    """Rows in all raw tables."""
    found = client.query(
        "SELECT sum(total_rows) FROM system.tables WHERE database = 'luxe' AND startsWith(name, 'raw_')"
    )
    return int(found.result_rows[0][0] or 0)


def provider_counts(settings: Settings) -> dict[str, dict[str, int]]:
    """Channel → status → messages: the loopback provider's own list, where one runs, and what lies in the inboxes.

    Raises OSError, psycopg.OperationalError.
    """
    with connect(settings, "account") as connection:
        (kept,) = connection.execute("SELECT count(*) FROM inbox_items").fetchone() or (0,)
    counts = {"in_app": {"in the inbox": int(kept)}} if kept else {}
    if settings.loopback_url is None:
        return counts
    url = f"{settings.loopback_url}/messages/count"
    with urllib.request.urlopen(url, timeout=PROVIDER_TIMEOUT_SECONDS) as answer:  # noqa: S310 — the URL is a setting
        counts |= json.load(answer)["by_channel"]
    return counts


@click.command("account")
@click.option(
    "--correlation-id", help="Only what carries this id, e.g. of one `luxe produce` run. Default: everything."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(correlation_id: str | None, as_json: bool) -> None:
    """Close the account: events, requests and their final states by Kafka's topics, ClickHouse and the provider's list.

    Exit status 1 when they do not agree or a request has no decision.
    """
    settings = Settings()
    console = Console(stderr=True)
    try:
        with console.status("reading every topic to its end"):
            accounts = take_account(settings, correlation_id)
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres does not answer ({type(error).__name__}); `luxe up` starts it") from error
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka does not answer ({why_not(settings, error.args[0])}); `luxe up` starts it"
        ) from error
    except (ClickHouseError, OSError, SettingsError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}\n  next: `luxe status` tells what runs") from error
    differences = accounts.differences()
    if as_json:
        click.echo(json.dumps(as_object(accounts) | {"differences": differences}))
    else:
        print_accounts(accounts)
        for difference in differences:
            click.echo(f"does not close: {difference}", err=True)
        if not differences:
            click.echo("the account closes: Kafka and ClickHouse give the same numbers")
    if differences:
        sys.exit(1)


def as_object(accounts: Accounts) -> dict[str, Any]:
    """For JSON."""
    kafka = accounts.kafka
    return {
        "events": kafka.events,
        "requests": kafka.requests,
        "records": dict(kafka.records),
        "decisions": dict(kafka.decisions),
        "states": {f"{state}/{reason}".rstrip("/"): n for (state, reason), n in sorted(kafka.states().items())},
        "accepted": dict(kafka.accepted),
        "event_dead_letters": dict(kafka.event_dead_letters),
        "unreadable_records": accounts.unreadable,
        "clickhouse_events": accounts.clickhouse_events,
        "clickhouse_rows": accounts.clickhouse_rows,
        "provider": accounts.provider,
    }


def print_accounts(accounts: Accounts) -> None:
    """For a person."""
    console = Console()
    kafka = accounts.kafka
    table = Table(title=f"{kafka.events} events, {kafka.requests} notifications requested", title_justify="left")
    table.add_column("final state")
    table.add_column("reason")
    for heading in ("Kafka", "ClickHouse"):
        table.add_column(heading, justify="right")
    states = kafka.states()
    for state, reason in sorted(states | accounts.clickhouse):
        table.add_row(state, reason, str(states[state, reason]), str(accounts.clickhouse[state, reason]))
    table.add_section()
    table.add_row("all", "", str(states.total()), str(accounts.clickhouse.total()))
    console.print(table)
    sent = Table(title="Handed to providers", title_justify="left")
    for heading in ("channel", "accepted (Kafka)", "at the provider"):
        sent.add_column(heading, justify="right")
    for channel in sorted(set(kafka.accepted) | set(accounts.provider)):
        by_status = accounts.provider.get(channel, {})
        detail = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
        # A push message goes to each of a person's devices by a call of its own.
        unit = "calls: one a device; " if channel == "push" else ""
        sent.add_row(channel, str(kafka.accepted[channel]), f"{sum(by_status.values())} ({unit}{detail})")
    console.print(sent)
    if kafka.event_dead_letters or accounts.unreadable:
        found = ", ".join(f"{count} {code}" for code, count in sorted(kafka.event_dead_letters.items()))
        console.print(
            f"dead letters of events: {found or 'none'}; `luxe dead-letters list` explains each", highlight=False
        )
