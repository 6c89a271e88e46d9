"""Topics as the table in ``schemas.topics`` wants them: created, grown, their settings corrected; never shrunk or deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_admin
from connectors.kafka_refusals import why
from connectors.settings import Settings
from schemas.topics import TOPICS, Topic

# A topic just created is known to the controller at once, to every broker a moment later.
VISIBLE_TIMEOUT_SECONDS = 30.0


class TopicsError(Exception):
    """The topics cannot be made as the table wants them; the message names the topic and the mend."""


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What was, or would be, done to one topic."""

    topic: str
    action: str


def create_topics(
    settings: Settings,
    topics: Sequence[Topic] = TOPICS,
    *,
    dry_run: bool = False,
    report: Callable[[TopicChange], None] | None = None,
) -> list[TopicChange]:
    """Make the broker's topics equal the table; returns what was done. Idempotent.

    Raises TopicsError where a topic has more partitions than the settings say (keys would move: that needs a migration),
    KafkaException where the broker cannot be asked.
    """
    admin = make_admin(settings)
    known = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
    changes: list[TopicChange] = []

    def note(topic: str, action: str) -> None:
        changes.append(TopicChange(topic, action))
        if report is not None:
            report(changes[-1])

    missing = [topic for topic in topics if topic.name not in known]
    for topic in topics:
        if topic.name in known:
            have = len(known[topic.name].partitions)
            if have != settings.kafka_partitions:
                raise TopicsError(
                    f"{topic.name} has {have} partitions, LUXE_KAFKA_PARTITIONS says {settings.kafka_partitions}: keys would "
                    f"move between partitions. Set LUXE_KAFKA_PARTITIONS={have}, or migrate to new topics"
                )
    if missing and not dry_run:
        made = admin.create_topics(
            [
                NewTopic(
                    topic.name,
                    num_partitions=settings.kafka_partitions,
                    replication_factor=settings.kafka_replication,
                    config=topic.broker_config(settings.kafka_min_insync),
                )
                for topic in missing
            ],
            operation_timeout=ADMIN_TIMEOUT_SECONDS,
        )
        for name, done in made.items():
            try:
                done.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise TopicsError(f"{name} cannot be created: {why(error.args[0])}") from error
    for topic in missing:
        note(topic.name, f"create with {settings.kafka_partitions} partitions")
    for topic, different in _differences(settings, [topic for topic in topics if topic.name in known]):
        if not dry_run:
            _set_config(settings, topic, different)
        note(topic.name, "set " + ", ".join(f"{name}={value}" for name, value in sorted(different.items())))
    if missing and not dry_run:
        _wait_until_visible(settings, [topic.name for topic in missing])
    return changes


def topic_ids(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """The id of each topic: another one under the same name after it was deleted and created anew. Missing topics lack."""
    admin = make_admin(settings)
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=ADMIN_TIMEOUT_SECONDS)
    ids: dict[str, str] = {}
    for name, future in described.items():
        try:
            ids[name] = str(future.result().topic_id)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return ids


def _differences(settings: Settings, topics: Sequence[Topic]) -> list[tuple[Topic, dict[str, str]]]:
    if not topics:
        return []
    admin = make_admin(settings)
    resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics}
    found: list[tuple[Topic, dict[str, str]]] = []
    for resource, future in admin.describe_configs(list(resources), request_timeout=ADMIN_TIMEOUT_SECONDS).items():
        have = {name: entry.value for name, entry in future.result().items()}
        topic = resources[resource]
        want = topic.broker_config(settings.kafka_min_insync)
        different = {name: value for name, value in want.items() if _normal(have.get(name)) != _normal(value)}
        if different:
            found.append((topic, different))
    return found


def _normal(value: str | None) -> str:
    # The broker lists `cleanup.policy` in its own order, and numbers in their own form.
    parts = sorted((value or "").split(","))
    try:
        return str(float(parts[0])) if len(parts) == 1 else ",".join(parts)
    except ValueError:
        return ",".join(parts)


def _set_config(settings: Settings, topic: Topic, values: dict[str, str]) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    admin = make_admin(settings)  # held to the end: without it, its requests are given up
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(ADMIN_TIMEOUT_SECONDS)


def _wait_until_visible(settings: Settings, names: Sequence[str]) -> None:
    admin = make_admin(settings)
    deadline = time.monotonic() + VISIBLE_TIMEOUT_SECONDS
    waiting = set(names)
    while waiting:
        known = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        waiting = {
            name
            for name in waiting
            if name not in known
            or len(known[name].partitions) != settings.kafka_partitions
            or any(partition.leader < 0 for partition in known[name].partitions.values())
        }
        if waiting and time.monotonic() > deadline:
            raise TopicsError(
                f"{', '.join(sorted(waiting))}: created, but without a leader after {VISIBLE_TIMEOUT_SECONDS:.0f} s"
            )
        if waiting:
            time.sleep(0.05)
