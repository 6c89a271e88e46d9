"""``luxe explain``: why somebody did, or did not, get a notification, with one sentence that can be said to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from api.explanation_model import served
from cli.database import in_database
from connectors.clickhouse.remote import open_remote
from connectors.explaining.calendar import calendar
from connectors.explaining.explain import explained
from connectors.explaining.facts import Decision, Delivery, Explanation, Story
from connectors.explaining.listed import AGGREGATE_TYPES, About, Filter, listed
from connectors.explaining.recorded import Place, places_of, stories
from connectors.postgres.records import Records
from connectors.settings import Settings, SettingsError

_AGO = re.compile(r"(\d{1,4})([hdw])")
# Clocks of our processes may be a little apart.
_AHEAD = timedelta(minutes=5)
_HOURS = {"h": 1, "d": 24, "w": 168}
# Appointments are booked a year ahead, and what was asked for then belongs to their calendar.
_ABOUT_SINCE = timedelta(days=730)

_Wanted = Callable[[Client], list[Story]]


def moment_of(text: str, now: datetime) -> datetime:
    """``3d``, ``12h``, ``2w`` ago, or a date, or a time in ISO 8601 (UTC where it names no zone). Raises BadParameter."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(hours=int(ago[1]) * _HOURS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            "write 12h, 3d or 2w (ago), a date like 2026-03-03, or a time like 2026-03-03T09:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command("explain")
@click.argument("notification_id", required=False)
@click.option(
    "--patient", metavar="ID", help="All of one patient's: the practice system's id; staff:<id> for a colleague."
)
@click.option(
    "--about",
    metavar="KIND:ID",
    help="The calendar of one thing: appointment:<id>, say; what was sent, and what waits.",
)
@click.option("--since", metavar="T", help="12h, 3d, 2w, or a date or time. [default: 7d; with --about two years]")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Of many: the newest.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a notification.")
def command(
    notification_id: str | None, patient: str | None, about: str | None, since: str | None, limit: int, as_json: bool
) -> None:
    """Explain one notification, all of a patient's since some time, or all about one appointment (or whatever events tell of).

    The event behind it, every rule's verdict, the versions of what it went by, what was planned and sent when by which step, the
    receipts, and one sentence to say. Shows ids and codes, never a name, an address or a text.

    \b
    luxe explain --patient p-0001 --since 3d
    luxe explain --about appointment:A-1007
    luxe explain 6f1c2c5e-2b58-5f0c-9d0f-6f2f8c9d3b11
    """
    if [notification_id, patient, about].count(None) != 2:
        raise click.UsageError("give a notification's id, or --patient ID, or --about KIND:ID")
    now = datetime.now(UTC)
    settings = Settings()
    if notification_id is not None:
        wanted = _one(notification_id)
    elif patient is not None:
        wanted = _of_patient(patient, moment_of(since or "7d", now), now, limit)
    else:
        earliest = moment_of(since, now) if since else now - _ABOUT_SINCE
        wanted = _about(about or "", earliest, now, limit)
    found = _recorded(settings, wanted)

    async def work(connection: psycopg.AsyncConnection, _records: Records) -> list[Explanation]:
        return await explained(connection, found, now)

    explanations = in_database(settings, work)
    if not explanations and notification_id is not None:
        raise click.ClickException(
            "no such notification is known; a new one takes some seconds to get here. "
            "`luxe explain --patient ID` lists a patient's"
        )
    if as_json:
        for one in explanations:
            click.echo(served(one).model_dump_json(by_alias=True))
    elif patient is not None:
        _print_list(explanations)
    elif about is not None:
        _print_calendar(explanations)
    else:
        _print_whole(explanations[0])


def _one(notification_id: str) -> _Wanted:
    return lambda client: stories(client, [notification_id])


def _of_patient(patient: str, since: datetime, now: datetime, limit: int) -> _Wanted:
    recipient = patient if patient.startswith(("patient:", "staff:")) else f"patient:{patient}"

    def wanted(client: Client) -> list[Story]:
        places = places_of(client, recipient, since, Place(now + _AHEAD, ""), limit)
        return stories(client, [place.notification_id for place in places])

    return wanted


def _about(text: str, since: datetime, now: datetime, limit: int) -> _Wanted:
    """Raises BadParameter."""
    about = About.read(text)
    if about is None:
        raise click.BadParameter(
            f"write a kind of thing and its id, appointment:A-1007 say; kinds are {', '.join(AGGREGATE_TYPES)}",
            param_hint="--about",
        )

    def wanted(client: Client) -> list[Story]:
        found: list[Story] = []
        before: Place | None = Place(now + _AHEAD, "")
        while before is not None and len(found) < limit:
            page = listed(client, Filter(since, about=about), before, limit - len(found))
            found, before = found + page.stories, page.next
        return found

    return wanted


def _recorded(settings: Settings, wanted: _Wanted) -> list[Story]:
    try:
        return wanted(open_remote(settings))
    except (ClickHouseError, SettingsError) as error:
        raise click.ClickException(
            f"ClickHouse does not answer ({type(error).__name__}); `luxe status` tells what runs, `luxe up` starts it"
        ) from error


def _print_calendar(explanations: list[Explanation]) -> None:
    """Earliest first, by the clinic's clocks."""
    by_id = {one.story.notification_id: one for one in explanations}
    for moment, story in calendar(one.story for one in explanations):
        one = by_id[story.notification_id]
        local = moment.astimezone(ZoneInfo(one.zone))
        click.echo(
            f"{local:%a %Y-%m-%d %H:%M %Z}  version {story.aggregate_version}  {story.notification_type} for "
            f"{story.recipient}: {story.state}{f' ({story.reason})' if story.reason else ''}"
        )
        click.echo(f"    {one.sentence}  {story.notification_id}")
    if not explanations:
        click.echo(
            "nothing was asked for about it; a new event takes some seconds to get here, and `luxe dead-letters list` "
            "has those that could not be handled",
            err=True,
        )


def _print_list(explanations: list[Explanation]) -> None:
    for one in explanations:
        story = one.story
        asked = story.requested_at or (story.decisions[0].decided_at if story.decisions else story.occurred_at)
        click.echo(f"{asked:%Y-%m-%d %H:%M:%S}Z  {story.notification_id}  {story.state}")
        click.echo(f"    {one.sentence}")
    if not explanations:
        click.echo("nothing was asked for in that time; `--since 4w` looks further back", err=True)


def _print_whole(one: Explanation) -> None:
    story = one.story
    click.echo(one.sentence)
    click.echo()
    click.echo(
        f"notification  {story.notification_id} ({story.notification_type}, {story.category}, lane {story.lane})"
    )
    click.echo(f"event         {story.event_type} {story.event_id} of {_time(story.occurred_at)}")
    click.echo(f"about         {story.aggregate_type} {story.aggregate_id}, version {story.aggregate_version}")
    click.echo(f"state         {story.state}{f' ({story.reason})' if story.reason else ''}; clinic {story.clinic_id}")
    if story.requested_at:
        due = f", due {_time(story.due_at)}" if story.due_at else ", due at once"
        expires = f", expires {_time(story.expires_at)}" if story.expires_at else ""
        click.echo(f"asked for     {_time(story.requested_at)}{due}{expires}")
    for decision in story.decisions:
        _print_decision(decision)
    for consent in one.consents:
        click.echo(
            f"  consent     {consent.consent_type} version {consent.version}: {consent.status} on "
            f"{consent.consent_date:%Y-%m-%d}, {consent.method}{f', {consent.source}' if consent.source else ''}"
        )
    for delivery in story.deliveries:
        _print_delivery(delivery, one)
    if story.dead_letter:
        click.echo(f"dead letter   {story.dead_letter}; `luxe dead-letters list` says what mends it")


def _print_decision(decision: Decision) -> None:
    until = f" until {_time(decision.until)}" if decision.until else ""
    click.echo(
        f"decision {decision.sequence}    {decision.outcome}{until}: {decision.reason}, at {_time(decision.decided_at)}"
    )
    template = f", template {decision.template_id}" if decision.template_id else ""
    click.echo(
        f"  versions    recipient {decision.recipient_version}, policy {decision.policy_version}, "
        f"catalogue {decision.catalog_version}{template}"
    )
    if decision.digest_id:
        click.echo(f"  digest      {decision.digest_id}")
    for verdict in decision.rules:
        on = f" {verdict.channel}" if verdict.channel else ""
        why = f" ({verdict.reason})" if verdict.reason else ""
        click.echo(f"  rule        {verdict.rule}{on}: {verdict.verdict}{why}")
    for step in decision.steps:
        timeout = f", then {step.timeout_seconds} s" if step.timeout_seconds else ""
        together = ", with the step before" if step.parallel else ""
        click.echo(f"  step {step.step}      {step.channel}, until {step.success}{timeout}{together}")


def _print_delivery(delivery: Delivery, one: Explanation) -> None:
    click.echo(
        f"delivery {delivery.step}    {delivery.channel}: {delivery.status}; template {delivery.template_id} version "
        f"{delivery.template_version} ({delivery.locale}), {delivery.delivery_id}"
    )
    row = one.ledger.get(delivery.delivery_id)
    if row is not None:
        click.echo(f"  ledger      {row.provider}: {row.state}, attempt {row.attempt}")
    for receipt in delivery.receipts:
        detail = ", ".join(
            filter(None, (receipt.provider, receipt.provider_status, receipt.reason, receipt.error_code))
        )
        click.echo(f"  {_time(receipt.status_at)}  {receipt.status}{f' ({detail})' if detail else ''}")


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z" if moment else "never"
