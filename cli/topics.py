"""``luxe topics``: the topic table, printed, created, compared."""

from __future__ import annotations

import sys

import click
import orjson
from confluent_kafka import KafkaException
from rich.console import Console

from cli import listing
from connectors.kafka_admin import TopicsError, create_topics
from connectors.kafka_diagnosis import why_not
from connectors.settings import Settings
from schemas.topics import DAY_MS, TOPICS, Topic

HEADINGS = ("topic", "keyed by", "cleanup", "retention", "max record", "records", "why")


@click.group("topics", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Print the topic table (no command), create the topics, or say what differs at the broker."""
    if context.invoked_subcommand is None:
        context.invoke(list_topics)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--markdown", is_flag=True, help="The table as in docs/topics.md.")
def list_topics(as_json: bool = False, markdown: bool = False) -> None:
    """Every topic: key, cleanup, retention, size limit, records, reason."""
    if as_json:
        for topic in TOPICS:
            click.echo(orjson.dumps({name: getattr(topic, name) for name in Topic.__slots__}).decode())
    elif markdown:
        click.echo(markdown_table(), nl=False)
    else:
        caption = "`luxe topics create` makes them; `luxe topics diff` compares"
        listing.show(Console(), f"{len(TOPICS)} topics", HEADINGS, map(_row, TOPICS), caption)


@command.command("create")
def create() -> None:
    """Create what is missing and correct settings that differ. Idempotent; never deletes, never shrinks."""
    _apply(dry_run=False)


@command.command("diff")
def diff() -> None:
    """Say what `create` would do; exit status 1 if anything."""
    if _apply(dry_run=True):
        click.echo("→ run `luxe topics create`")
        sys.exit(1)


def markdown_table() -> str:
    """The table as Markdown, for docs/topics.md (held equal by a test)."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _row(topic)) + " |" for topic in TOPICS]
    return "\n".join(lines) + "\n"


def _row(topic: Topic) -> tuple[str, ...]:
    retention = "for ever" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days"
    size = f"{topic.max_message_bytes // (1024 * 1024)} MiB"
    records = ", ".join(name.removeprefix("luxe.pipeline.") for name in topic.records) or "state"
    return topic.name, topic.keyed_by, topic.cleanup, retention, size, records, topic.reason


def _apply(*, dry_run: bool) -> int:
    settings = Settings()
    try:
        changes = create_topics(
            settings, dry_run=dry_run, report=lambda change: click.echo(f"{change.topic}: {change.action}")
        )
    except TopicsError as error:
        raise click.ClickException(str(error)) from error
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka at {settings.kafka_bootstrap} does not answer ({why_not(settings, error.args[0])}); "
            "start it with `luxe up`, or set LUXE_KAFKA_BOOTSTRAP"
        ) from error
    if not changes:
        click.echo(f"{len(TOPICS)} topics are as they should be")
    return len(changes)
