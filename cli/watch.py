"""``luxe watch``: deliveries as they happen, a line a change: what was decided, and what became of each message."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import orjson
from confluent_kafka import KafkaException

from cli.explain import moment_of
from connectors.following import follow
from connectors.kafka_diagnosis import why_not
from connectors.settings import Settings, SettingsError
from schemas.codec import Codec, CodecError
from schemas.registry import open_registry
from schemas.topics import CHANNELS, DECISIONS, STATUS

_COLOURS = {
    **dict.fromkeys(("delivered", "read", "clicked", "acknowledged"), "green"),
    **dict.fromkeys(("deliver", "sent", "sending", "queued"), "cyan"),
    **dict.fromkeys(("defer", "expired", "cancelled", "suppressed", "suppress"), "yellow"),
    **dict.fromkeys(("failed", "undelivered", "bounced", "unknown", "complained"), "red"),
}


class Wanted(NamedTuple):
    """What to show; None: any."""

    recipient: str | None = None
    notification_type: str | None = None
    clinic_id: str | None = None
    channel: str | None = None

    def shows(self, change: Mapping[str, Any]) -> bool:
        """Whether a change is to be shown."""
        return (
            self.recipient in (None, change["recipient"])
            and self.notification_type in (None, change["notification_type"])
            and self.clinic_id in (None, change["clinic_id"])
            and (self.channel is None or self.channel in change["channels"])
        )


@click.command("watch")
@click.option("--since", metavar="T", help="From then on: 12h, 3d, 2w ago, or a date or time. Without: from now on.")
@click.option("--recipient", metavar="ID", help="One person's: patient:<id>, staff:<id>, or a patient's id.")
@click.option("--type", "notification_type", metavar="NAME", help="Of one notification type.")
@click.option("--clinic", metavar="ID", help="Of one clinic.")
@click.option("--channel", type=click.Choice(CHANNELS), help="By one channel.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many lines.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
def command(
    since: str | None,
    recipient: str | None,
    notification_type: str | None,
    clinic: str | None,
    channel: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Follow deliveries live, until Ctrl-C: one line for each decision and each status.

    Shows ids and codes, never a name, an address or a text.

    \b
    luxe watch
    luxe watch --recipient p-0001 --since 1h
    luxe watch --channel sms --json
    """
    start = None if since is None else moment_of(since, datetime.now(UTC))
    key = recipient if recipient is None or ":" in recipient else f"patient:{recipient}"
    wanted = Wanted(key, notification_type, clinic, channel)
    settings = Settings()
    try:
        _watch(settings, start, wanted, limit, as_json)
    except KeyboardInterrupt:
        return  # the way to end it
    except BrokenPipeError:
        # Whoever read, e.g. `head`, has enough. Python would say so again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka does not answer ({why_not(settings, error.args[0])}); `luxe status` tells what runs, `luxe up` starts it"
        ) from error
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def _watch(settings: Settings, since: datetime | None, wanted: Wanted, limit: int | None, as_json: bool) -> None:
    auth = settings.schema_registry_auth
    codec = Codec(open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None))
    shown = 0
    for messages in follow(settings, (DECISIONS, STATUS), since):
        for message in messages:
            try:
                change = change_of(codec.decode(message.value()).value)
            except CodecError as error:
                where = f"{message.topic()}, partition {message.partition()}, offset {message.offset()}"
                click.echo(f"a record cannot be read ({error.code}): {where}", err=True)
                continue
            if wanted.shows(change):
                click.echo(orjson.dumps(change, option=orjson.OPT_UTC_Z).decode() if as_json else line_of(change))
                shown += 1
                if shown == limit:
                    return


def change_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A Decision or a DeliveryStatus as it is shown: ids and codes."""
    is_decision = "outcome" in record
    at = record["decided_at"] if is_decision else record["status_at"]
    return {
        "at": at,
        "kind": "decision" if is_decision else "status",
        **{name: record[name] for name in ("notification_id", "notification_type", "recipient", "clinic_id", "lane")},
        "what": record["outcome"] if is_decision else record["status"],
        "reason": record["reason"] or ("" if is_decision else record["error_class"] or ""),
        "channels": [step["channel"] for step in record["steps"]] if is_decision else [record["channel"]],
        "until": record["until"] if is_decision else record["retry_at"],
        "attempt": None if is_decision else record["attempt"],
        "delivery_id": None if is_decision else record["delivery_id"],
        "correlation_id": record["correlation_id"],
    }


def line_of(change: Mapping[str, Any]) -> str:
    """A change as a line; coloured, which click takes away again where nobody would see it."""
    what = click.style(f"{change['what']:<11}", fg=_COLOURS.get(change["what"]))
    attempt = f" (attempt {change['attempt']})" if (change["attempt"] or 1) > 1 else ""
    why = f", {change['reason']}" if change["reason"] not in ("", change["what"]) else ""
    until = f", until {change['until']:%Y-%m-%dT%H:%M:%S}Z" if change["until"] else ""
    by = " ".join(change["channels"]) or "-"
    return (
        f"{change['at']:%H:%M:%S}Z  {change['notification_id']}  {change['recipient']:<20}  {what} "
        f"{change['notification_type']}: {by}{attempt}{why}{until}"
    )
