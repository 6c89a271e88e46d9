"""``luxe what-if``: would somebody get a notification at some time, asked of the rules that decide."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any

import click
import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError

from api.what_if import served
from cli.database import in_database
from connectors.clickhouse.remote import open_remote
from connectors.explaining.counted import Told, told_to
from connectors.postgres import recipients
from connectors.postgres.records import Records
from connectors.settings import Settings, SettingsError
from streams.what_if import Foretold, NoPolicy, NoSuchType, Question, catalog, not_considered, what_if

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ON_WEEKDAY = re.compile(r"([a-z]{3})[a-z]* (\d{1,2}:\d{2})")


def moment_of(text: str, today: datetime) -> datetime:
    """``now``, ``sat 22:10``, or ISO 8601; without a zone it is by the recipient's clocks. Raises BadParameter."""
    if text.strip().lower() == "now":
        return today
    try:
        if (found := _ON_WEEKDAY.fullmatch(text.strip().lower())) and found[1] in _WEEKDAYS:
            day = today + timedelta(days=(_WEEKDAYS.index(found[1]) - today.weekday()) % 7)
            return datetime.combine(day, time.fromisoformat(found[2].zfill(5)))
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            'write now, "sat 22:10", 2026-11-28T22:10 (the recipient\'s clocks) or 2026-11-28T22:10Z'
        ) from None


@click.command("what-if")
@click.argument("recipient")
@click.option("--type", "notification_type", metavar="NAME", help="A notification type of the catalogue.")
@click.option("--event", "event_type", metavar="NAME", help="An event: every type that it calls for.")
@click.option("--at", "when", required=True, metavar="TIME", help='now, "sat 22:10", 2026-11-28T22:10, or with a zone.')
@click.option("--expires", metavar="TIME", help="When it would mean nothing any more; without: never.")
@click.option("--about", metavar="ID", help="The appointment, payment … that it would be about: never the same twice.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a type.")
def command(
    recipient: str,
    notification_type: str | None,
    event_type: str | None,
    when: str,
    expires: str | None,
    about: str | None,
    as_json: bool,
) -> None:
    """Would RECIPIENT (patient:<id>, staff:<id>, or a patient's id) get it? Nothing is sent or stored.

    \b
    luxe what-if p-0001 --type appointment_reminder_24h --at "sat 22:10"
    luxe what-if p-0001 --event appointment.created --at 2026-11-28T22:10
    """
    if (notification_type is None) == (event_type is None):
        raise click.UsageError("name one: --type or --event")
    today = datetime.now(UTC)
    expires_at = None if expires is None else moment_of(expires, today)
    if expires_at is not None and expires_at.tzinfo is None:
        raise click.BadParameter("write --expires with its zone, like 2026-11-28T22:10Z")
    question = Question(moment_of(when, today), notification_type, event_type, expires_at, about=about)
    key = recipient if recipient.startswith(("patient:", "staff:")) else f"patient:{recipient}"
    settings = Settings()
    told = _told(settings, key, today)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[Foretold]:
        found = (await recipients.get_many(connection, records, [key])).get(key)
        if found is None:
            raise click.ClickException("no such recipient, or erased; write patient:<id> or staff:<id>")
        return await what_if(connection, records, catalog(), found, question, told)

    try:
        answers = in_database(settings, work)
    except (NoSuchType, NoPolicy) as error:
        raise click.ClickException(str(error)) from error
    for one in answers:
        if as_json:
            click.echo(served(one).model_dump_json(by_alias=True))
        else:
            _print(one)
    if not as_json:
        for line in not_considered(question, told):
            click.echo(f"not considered: {line}")


def _told(settings: Settings, recipient: str, now: datetime) -> list[Told] | None:
    """What was sent lately; None, and the answer says so, where ClickHouse does not tell."""
    try:
        return told_to(open_remote(settings), recipient, now)
    except (ClickHouseError, SettingsError):
        return None


def _print(one: Foretold) -> None:
    click.echo(f"{one.notification_type}: {one.sentence}")
    if (counts := one.counts) is not None:
        last = (
            "" if counts.last_of_class is None else f"; the last of its kind on {counts.last_of_class:%Y-%m-%d %H:%M}Z"
        )
        click.echo(
            f"    counted: {counts.that_day} that day, {counts.of_category} of its category, "
            f"{counts.messages_that_hour} messages in the hour before{last}"
        )
    against: list[Any] = [
        verdict for verdict in one.decision.rules if verdict.verdict not in ("pass", "not_applicable")
    ]
    for verdict in against:
        on = f" {verdict.channel}" if verdict.channel else ""
        click.echo(f"    {verdict.rule}{on}: {verdict.verdict} ({verdict.reason})")
