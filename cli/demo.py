"""``luxe demo``: a made-up clinic's day through the whole pipeline, told as it goes and accounted for at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.account import Accounts, clickhouse_events, clickhouse_states, print_accounts, provider_counts, take_account
from cli.bad_day import account_of_a_bad_day, of_a_bad_day, watch_a_bad_day
from cli.misbehaving import Misbehaving
from cli.stack_options import state_dir_option
from cli.up import LiveProgress
from connectors.clickhouse.endpoint import USER, password_file
from connectors.clickhouse.remote import open_remote
from connectors.demo.day import ClinicDay, bad_records
from connectors.demo.people import make_patients, patient_rows, staff_rows
from connectors.kafka import make_producer
from connectors.postgres.pool import connect
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry

PATIENTS = 120
POLL_SECONDS = 0.5
# Nothing changed for so long: whatever is left waits for a timer, a receipt that does not come, or is lost.
QUIET_SECONDS = 4.0
SETTLE_TIMEOUT_SECONDS = 120.0
FLUSH_TIMEOUT_SECONDS = 30.0
RELAY_TIMEOUT_SECONDS = 60.0
UNSETTLED = (
    *(("undecided", ""), ("sent", "")),
    *(("waiting", reason) for reason in ("not_taken", "queued", "sending")),
)


@dataclass(frozen=True, slots=True)
class Published:
    """What went into Kafka."""

    correlation_id: str
    events: int
    bad: int
    by_type: dict[str, int]


@click.command("demo")
@state_dir_option
@click.option(
    "--appointments", type=click.IntRange(1, 20_000), default=150, show_default=True, help="Bookings of the day."
)
@click.option("--seed", type=int, default=20, show_default=True, help="Another seed, another day.")
@click.option(
    "--misbehave",
    is_flag=True,
    help="The provider does everything wrong that it can, and workers are killed at random. Takes two or three minutes.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line of totals instead of the account.")
@click.option(
    "--down", "stop_after", is_flag=True, help="Stop the stack at the end. Default: leave it running to look around."
)
def command(state_dir: Path, appointments: int, seed: int, misbehave: bool, as_json: bool, stop_after: bool) -> None:
    """Run a clinic's day: events in Kafka become SMS, email and push, messages in inboxes, and rows in ClickHouse.

    Starts the local stack if it does not run. Everything is made up; nothing leaves this machine.
    """
    started = time.monotonic()
    console = Console(stderr=True)
    with LiveProgress(console) as progress:
        stack = LocalStack(state_dir, watcher=progress)
        stack.up()
    settings = stack.settings()
    run = datetime.now(UTC).strftime("%m%d%H%M%S")
    patients = make_patients(Random(seed), PATIENTS)  # noqa: S311 — made-up people
    _import_recipients(settings, [*patient_rows(Random(seed), patients), *staff_rows()], console)  # noqa: S311
    before, began = provider_counts(settings), datetime.now(UTC)
    day = ClinicDay(seed, run, datetime.now(UTC), patients)
    if misbehave:
        with Misbehaving(settings, stack, seed) as trouble:
            published = _published(settings, day, appointments, console)
            settled = watch_a_bad_day(settings, published.correlation_id, published.events, trouble, console)
        stack.up()  # whoever was killed last is back
        accounts = account_of_a_bad_day(settings, published.correlation_id, began)
    else:
        published = _published(settings, day, appointments, console)
        settled = _watch(settings, published, console)
        accounts = take_account(settings, published.correlation_id, began)
    seconds = round(time.monotonic() - started, 1)
    totals = _totals(accounts, published, before, seconds)
    if misbehave:
        totals |= of_a_bad_day(settings, accounts, began, trouble)
    if as_json:
        click.echo(json.dumps(totals))
    else:
        print_accounts(accounts)
        _print_ending(settings, totals, published, state_dir)
        if misbehave:
            killed, twice = sum(totals["killed"].values()), sum(totals["sent_twice"].values())
            click.echo(
                f"{killed} workers were killed; {twice} messages were sent twice (--json says on which channel)."
            )
    if stop_after:
        stack.down()
    problems = accounts.differences()
    if totals["lost"] or problems or not settled:
        for problem in problems or [f"not everything settled in time; {totals['lost']} lost"]:
            click.echo(f"does not close: {problem}", err=True)
        click.echo(f"  next: `luxe status`, and the logs in {state_dir / 'logs'}", err=True)
        sys.exit(1)


def _import_recipients(settings: Settings, rows: list[dict[str, Any]], console: Console) -> None:
    """By the command that a clinic would use; then wait until the pipeline knows them."""
    path = settings.state_dir / "demo-recipients.jsonl"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
        with console.status("importing patients and staff"):
            done = subprocess.run(
                [sys.executable, "-P", "-m", "cli.main", "recipients", "import", str(path)],
                env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise click.ClickException(f"luxe recipients import failed:\n{done.stderr or done.stdout}")
            _wait_for_relay(settings)
    finally:
        path.unlink(missing_ok=True)  # people's names and numbers in clear
    console.print(f"[green]✓[/green] {len(rows)} patients and staff imported", highlight=False)


def _wait_for_relay(settings: Settings) -> None:
    deadline = time.monotonic() + RELAY_TIMEOUT_SECONDS
    with connect(settings, "luxe demo") as connection:
        while time.monotonic() < deadline:
            left = connection.execute("SELECT count(*) FROM outbox WHERE published_at IS NULL").fetchone()
            connection.rollback()
            if left is not None and left[0] == 0:
                return
            time.sleep(0.1)
    raise click.ClickException(
        "the outbox is not relayed to Kafka; `luxe status` tells whether `relay` runs, its log why not"
    )


def _published(settings: Settings, day: ClinicDay, appointments: int, console: Console) -> Published:
    with console.status("publishing the day's events"):
        published = _publish(settings, day, appointments)
    console.print(
        f"[green]✓[/green] {published.events} events of {len(published.by_type)} types published, "
        f"and {published.bad} broken records",
        highlight=False,
    )
    return published


def _publish(settings: Settings, day: ClinicDay, appointments: int) -> Published:
    codec = Codec(FileRegistry())
    producer = make_producer(settings)
    by_type: dict[str, int] = {}
    failed: list[str] = []
    correlation_id = ""
    for event in day.events(appointments):
        contract = EVENT_TYPES[event.event_type]
        producer.produce(
            contract.topic,
            codec.encode(contract.topic, contract.record, event.value),
            key=event.key,
            on_delivery=lambda error, _message: failed.append(error.name()) if error else None,
        )
        producer.poll(0)
        by_type[event.event_type] = by_type.get(event.event_type, 0) + 1
        correlation_id = event.value["correlation_id"]
    bad = bad_records(datetime.now(UTC).date())
    for topic, key, value in bad:
        producer.produce(topic, value, key=key)
    if producer.flush(FLUSH_TIMEOUT_SECONDS) or failed:
        raise click.ClickException("not every event reached Kafka; `luxe status` tells whether it runs")
    return Published(correlation_id, sum(by_type.values()), len(bad), by_type)


def _watch(settings: Settings, published: Published, console: Console) -> bool:
    """Show the states as they change until nothing moves any more; whether everything settled."""
    client = open_remote(settings)
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    last: object = None
    quiet_since = time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while time.monotonic() < deadline:
            seen = _seen(client, published.correlation_id)
            if seen is None:
                time.sleep(POLL_SECONDS)
                continue
            events, states = seen
            live.update(_live_table(published, events, states))
            if (events, states) != last:
                last, quiet_since = (events, states), time.monotonic()
            unsettled = sum(count for state, count in states.items() if state in UNSETTLED)
            if events >= published.events and not unsettled and time.monotonic() - quiet_since >= QUIET_SECONDS:
                return True
            time.sleep(POLL_SECONDS)
    return False


def _seen(client: Client, correlation_id: str) -> tuple[int, dict[tuple[str, str], int]] | None:
    try:
        return clickhouse_events(client, correlation_id), dict(clickhouse_states(client, correlation_id))
    except ClickHouseError:
        return None  # between two of its restarts; the deadline bounds how long


def _live_table(published: Published, events: int, states: dict[tuple[str, str], int]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("events in ClickHouse", f"{events} of {published.events}")
    for (state, reason), count in sorted(states.items()):
        table.add_row(f"{state} {reason}".strip(), str(count))
    return table


def _totals(
    accounts: Accounts, published: Published, before: dict[str, dict[str, int]], seconds: float
) -> dict[str, Any]:
    kafka, states = accounts.kafka, accounts.kafka.states()

    def of(wanted: str) -> int:
        return sum(count for (state, _), count in states.items() if state == wanted)

    channels = ("sms", "email", "push", "in_app")
    at_provider = {c: sum(accounts.provider.get(c, {}).values()) - sum(before.get(c, {}).values()) for c in channels}
    missing = sum(max(kafka.accepted[c] - at_provider[c], 0) for c in channels)
    return {
        "events": published.events,
        "requests": kafka.requests,
        "decisions": {outcome: kafka.decisions[outcome] for outcome in ("deliver", "defer", "suppress")},
        "sent": {channel: kafka.accepted[channel] for channel in channels},
        "delivered": of("delivered"),
        "unconfirmed": of("sent"),
        "failed": of("failed"),
        "unknown": of("unknown"),
        "waiting": of("waiting"),
        "suppressed": of("suppressed"),
        "dead_letters": of("dead_letter") + sum(kafka.event_dead_letters.values()),
        "clickhouse_rows": accounts.clickhouse_rows,
        "lost": max(published.events - accounts.clickhouse_events, 0) + of("undecided") + missing,
        "seconds": seconds,
    }


def _print_ending(settings: Settings, totals: dict[str, Any], published: Published, state_dir: Path) -> None:
    sent, endpoint = totals["sent"], f"http://{settings.clickhouse_http_host}:{settings.clickhouse_http_port}"
    places = (
        ('luxe query "SELECT * FROM funnel"', "what was sent, by type and channel"),
        ('luxe query "SELECT * FROM decisions LIMIT 5"', "why each was sent, deferred or not"),
        ("luxe dead-letters list", f"the {published.bad} broken records, explained"),
        (f"luxe account --correlation-id {published.correlation_id}", "this account again"),
        (f"{settings.loopback_url}/messages?limit=3", "what the provider got"),
        ("luxe token --role staff --sub front-1 --clinic clinic-demo --page", "a link to the front desk's alert board"),
        (endpoint, f"ClickHouse, read-only; user {USER}, password in {password_file(settings)}"),
        ("luxe status", f"what runs; its logs are in {state_dir / 'logs'}"),
    )
    width = max(len(place) for place, _ in places)
    lines = [
        "",
        f"{totals['events']} events became {totals['requests']} notifications in {totals['seconds']} s: "
        f"{sent['sms']} SMS, {sent['email']} emails and {sent['push']} push messages were handed over, "
        f"{sent['in_app']} put into inboxes,",
        f"{totals['delivered']} notifications arrived, {totals['unconfirmed']} are with a provider that sends no receipts, "
        f"{totals['failed']} failed, {totals['unknown']} are in doubt,",
        f"{totals['waiting']} wait for their time, {totals['suppressed']} were not wanted, {totals['lost']} were lost.",
        "",
        "Where to look:",
        *(f"  {place:<{width}}  {what}" for place, what in places),
        "Stop it with `luxe down`; `luxe down --wipe` removes everything.",
    ]
    click.echo("\n".join(lines))
