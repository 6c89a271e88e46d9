"""``luxe dead-letters``: what could not be handled, why, and what to do. Never shows the record itself: it stays sealed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import click
import orjson
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from connectors.kafka import read_to_end
from connectors.kafka_diagnosis import why_not
from connectors.settings import Settings
from schemas.codec import Codec, CodecError
from schemas.registry import open_registry
from schemas.topics import DEAD_LETTERS

LETTER = "luxe.pipeline.DeadLetter"
# Shown of a letter, in this order. Not the recipient (whose record it is, is PHI) and not what is sealed.
SHOWN = (
    "dead_letter_id",
    "recorded_at",
    "stage",
    "error_code",
    "field",
    "explanation",
    "source_topic",
    "source_partition",
    "source_offset",
    "source_timestamp",
    "schema_id",
    "schema_name",
    "event_type",
    "event_id",
    "notification_type",
    "notification_id",
    "clinic_id",
    "original_bytes",
    "correlation_id",
)
# What each code means and what mends it, where the letter's own explanation does not say enough.
CAUSES: dict[str, tuple[str, str]] = {
    "unknown_magic_byte": (
        "The bytes are not in Confluent's wire format.",
        "Let the producer use an Avro serialiser; see its guide.",
    ),
    "unknown_schema_id": (
        "The registry has no schema of that id.",
        "Register the producer's schema: `luxe schemas push`; then send again.",
    ),
    "truncated_record": (
        "The record ends before its schema does.",
        "Look for a producer that cuts or re-encodes values.",
    ),
    "trailing_bytes": (
        "There is more than the schema reads.",
        "The producer wrote with another schema than the id says.",
    ),
    "oversized_record": (
        "The record is larger than we handle.",
        "Send references instead of contents, or several events.",
    ),
    "invalid_utf8": ("A text is not UTF-8.", "Let the producer convert its texts (often Latin-1) to UTF-8."),
    "tombstone": ("The record has no value.", "Events are never deleted; send a cancelling event instead."),
    "schema_violation": ("A value does not fit its schema.", "Mend the field at the producer, then send again."),
    "impossible_value": ("The schema fits, and a value cannot be.", "Mend the field at the producer, then send again."),
    "wrong_key": (
        "The Kafka key is not the aggregate_id.",
        "Send the aggregate_id as key, so that one aggregate's events keep their order.",
    ),
    "wrong_topic": (
        "The event lies on another topic than its type's.",
        "Send it to the topic that the explanation names.",
    ),
    "unopenable_slot": (
        "What is kept of a waitlist's slot cannot be opened.",
        "Withdraw the slot and announce it anew under another id; look who altered the row.",
    ),
    "slot_key_gone": (
        "The clinic's key that sealed what a waitlist's slot is, is gone.",
        "Restore its row of data_keys from a backup and replay; else withdraw the slot and announce it under another id.",
    ),
    "unknown_event_type": ("The record is not an event of ours.", "See `luxe schemas list` for the events there are."),
    "unknown_notification_type": (
        "A request names a type that is not in the catalogue.",
        "Use a name of docs/catalogue.md.",
    ),
    "wrong_recipient_kind": (
        "A request sends a patients' type to staff, or the reverse.",
        "Use another type or recipient.",
    ),
    "segment_not_expanded": (
        "A campaign names a group and none of its patients.",
        "List the patients' ids, then launch again.",
    ),
    "unreadable_record": (
        "A recipient, policy or template cannot be read.",
        "Check `luxe keys status`; store the record anew; send again.",
    ),
    "template_missing": ("There is no text for this type and channel.", "Publish the template, then send again."),
    "template_error": (
        "A template cannot be rendered for this event.",
        "Preview it with this event type, mend it, publish it.",
    ),
    "plan_exhausted": (
        "Every channel of its plan failed for good, or as often as it is tried.",
        "Call who needs to know; correct their numbers and addresses; `luxe explain` tells what each channel said.",
    ),
    "duplicate_event": (
        "An event of this event_id came before.",
        "Nothing, if it was sent again; else give each event an id of its own.",
    ),
    "superseded_event": (
        "A later version of its aggregate came before it.",
        "Nothing, if events were overtaken on their way; else let versions rise.",
    ),
    "closed_aggregate": (
        "Its aggregate was cancelled, and not restored.",
        "Send what restores it first, e.g. appointment.restored.",
    ),
    "unexpected_record": ("A record of another kind than its topic's.", "Send it to its own topic."),
    "missing_event": ("A request to notify has no event in it.", "Send its event again."),
    "unreadable_event": ("The event in a request cannot be opened.", "Check `luxe keys status`; send its event again."),
    "unknown_zone": ("A time zone is no IANA name.", "Send a name like America/New_York."),
    "null_key": ("A message has no Kafka key.", "Write messages under their recipient's key."),
    "wrong_record": ("A record of another kind than its topic's.", "Send it to its own topic."),
    "no_inbox": ("An in-app message to somebody without a record.", "Import the person, then send its event again."),
    "wrong_channel": ("A message lies on another channel's topic.", "Send it to its own."),
    "unknown_key": (
        "Neither clinic nor system has the key that it is sealed with.",
        "Run `luxe up`, or restore the table data_keys; then send again.",
    ),
    "unreadable_receipt": (
        "A provider signed an event that is none of its forms.",
        "Compare its documentation with connectors/webhooks/receipts.py; the rest of its batch was taken.",
    ),
    "unexpected_error": ("A fault of ours.", "Report it with the letter's id; the record is kept."),
}


@click.group("dead-letters")
def command() -> None:
    """What could not be handled, why, and what mends it. Shows no patient's data."""


@command.command("list")
@click.option("--stage", help="Only of this stage: intake, notify, a channel, webhooks.")
@click.option("--code", help="Only with this error code.")
@click.option("--topic", help="Only from this source topic.")
@click.option("--clinic", help="Only of this clinic.")
@click.option("--hours", type=click.FloatRange(min=0), help="Only of the last so many hours.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_letters(
    stage: str | None,
    code: str | None,
    topic: str | None,
    clinic: str | None,
    hours: float | None,
    limit: int,
    as_json: bool,
) -> None:
    """The newest dead letters, oldest first, and how many there are by cause."""
    wanted = {"stage": stage, "error_code": code, "source_topic": topic, "clinic_id": clinic}
    since = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    counts: Counter[tuple[str, str]] = Counter()

    def matching() -> Iterator[dict[str, Any]]:
        for letter in _letters(Settings()):
            if any(value is not None and letter[name] != value for name, value in wanted.items()):
                continue
            if since is None or letter["recorded_at"] >= since:
                counts[letter["stage"], letter["error_code"]] += 1
                yield letter

    found = heapq.nlargest(limit, matching(), key=itemgetter("recorded_at"))[::-1]
    if as_json:
        for letter in found:
            click.echo(_json(letter))
        return
    if not found:
        click.echo("No dead letters.")
        return
    table = Table(
        title=f"Dead letters: {len(found)} of {counts.total()}", caption="`luxe dead-letters show ID` explains one"
    )
    for heading in ("id", "when (UTC)", "stage", "code", "field", "event", "from"):
        table.add_column(heading, overflow="fold")
    for letter in found:
        table.add_row(
            letter["dead_letter_id"][:8],
            f"{letter['recorded_at']:%Y-%m-%d %H:%M:%S}",
            letter["stage"],
            letter["error_code"],
            letter["field"] or "",
            letter["event_type"] or letter["notification_type"] or "",
            _source(letter),
        )
    console = Console()
    console.print(table)
    for (of_stage, of_code), count in counts.most_common():
        console.print(f"{count:>7,}  {of_stage}: {of_code}", highlight=False)


@command.command("show")
@click.argument("letter_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(letter_id: str, as_json: bool) -> None:
    """Explain one dead letter: its cause, where the original lies, what to do. ID: its id, or the beginning of it."""
    found = {
        letter["dead_letter_id"]: letter
        for letter in _letters(Settings())
        if letter["dead_letter_id"].startswith(letter_id)
    }
    if not found:
        raise click.ClickException(f"no dead letter with id {letter_id}; `luxe dead-letters list` shows them")
    if len(found) > 1:
        raise click.ClickException(f"{len(found)} dead letters begin with {letter_id}; give more of the id")
    (letter,) = found.values()
    if as_json:
        click.echo(_json(letter))
        return
    cause, mend = CAUSES.get(letter["error_code"], ("", ""))
    for heading, text in (
        ("Dead letter", letter["dead_letter_id"]),
        ("Cause", f"{letter['error_code']}. {cause}".strip()),
        ("In detail", letter["explanation"]),
        ("Stage", letter["stage"]),
        ("Source", _source(letter)),
        (
            "Written",
            f"{letter['source_timestamp']:%Y-%m-%d %H:%M:%S} UTC; given up {letter['recorded_at']:%Y-%m-%d %H:%M:%S} UTC",
        ),
        ("Schema", f"{letter['schema_name']} (id {letter['schema_id']})" if letter["schema_id"] is not None else ""),
        ("Event", " ".join(filter(None, (letter["event_type"], letter["event_id"])))),
        ("Notification", " ".join(filter(None, (letter["notification_type"], letter["notification_id"])))),
        ("Clinic", letter["clinic_id"]),
        ("Original", f"{letter['original_bytes']:,} bytes, sealed; the source topic has it in clear for 7 days"),
        ("What to do", mend or "As the detail says."),
    ):
        if text:
            click.echo(f"{heading:<13}{text}")


def _letters(settings: Settings) -> Iterator[dict[str, Any]]:
    """Every letter, as far as it may be shown. A letter that cannot be read itself is told of, and passed over."""
    auth = settings.schema_registry_auth
    codec = Codec(open_registry(settings.schema_registry_url, auth.get_secret_value() if auth else None))
    unreadable = 0
    try:
        for message in read_to_end(settings, [DEAD_LETTERS]):
            try:
                letter = codec.decode(message.value()).value
                yield {name: letter[name] for name in SHOWN}
            except (CodecError, KeyError):
                unreadable += 1
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka_bootstrap}: {why_not(settings, error.args[0])}; is the stack up? `luxe status` says"
        ) from error
    if unreadable:
        click.echo(f"{unreadable} records of {DEAD_LETTERS} are not dead letters of ours", err=True)


def _source(letter: dict[str, Any]) -> str:
    return f"{letter['source_topic']}[{letter['source_partition']}]@{letter['source_offset']}"


def _json(letter: dict[str, Any]) -> str:
    cause, mend = CAUSES.get(letter["error_code"], ("", ""))
    return orjson.dumps({**letter, "cause": cause, "mend": mend}, option=orjson.OPT_UTC_Z).decode()
