"""The topic table: every topic of ours, with its key, cleanup, retention, limits, records and reason.

Topics are created from this table only (`luxe topics create`); broker auto-creation is off. Patient-keyed topics all have the
same partition count, so that one recipient's requests, decisions, messages and statuses meet in the same partition number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DAY_MS = 24 * 60 * 60 * 1000

# Domain events lie in clear (their producers write them), so they are kept no longer than a replay needs: architecture §3.
EVENT_RETENTION_MS = 7 * DAY_MS
# Requests, messages, statuses: long enough to replay a bad week, after that ClickHouse answers.
PIPELINE_RETENTION_MS = 14 * DAY_MS
# A dead letter must outlive a long holiday before somebody looks at it.
DEAD_LETTER_RETENTION_MS = 90 * DAY_MS
# A cancellation is looked up just before a send; no message of its aggregate lives longer than the pipeline's retention.
AGGREGATE_GATE_RETENTION_MS = 35 * DAY_MS
# Wakes connections that are open now; nobody ever reads it from its start.
INBOX_CHANGE_RETENTION_MS = DAY_MS

# A tombstone must have swept its older records out of the log by then: HIPAA knows no date, our answer to a patient does.
ERASURE_COMPACTION_LAG_MS = 3 * DAY_MS

# Our own limit for one event is 1 MiB (codec). Topics take more, so that a producer's oversized record arrives, and becomes a
# dead letter that explains itself, instead of an error in a log that nobody at the clinic reads.
EVENT_MAX_MESSAGE_BYTES = 11 * 1024 * 1024
# A dead letter is the original sealed, so a little larger.
DEAD_LETTER_MAX_MESSAGE_BYTES = 12 * 1024 * 1024
PIPELINE_MAX_MESSAGE_BYTES = 4 * 1024 * 1024

CHANNELS = ("sms", "email", "push", "in_app")
LANES = ("critical", "high", "normal", "low")

EVENT_AGGREGATES = (
    "appointment",
    "birthday",
    "campaign",
    "clinic",
    "consent",
    "document",
    "forms",
    "insurance",
    "inventory",
    "lab",
    "loyalty",
    "medication",
    "membership",
    "message",
    "notification",
    "package",
    "patient",
    "payment",
    "queue",
    "review",
    "staff",
    "sync",
    "system",
    "treatment",
    "waitlist",
)

Cleanup = Literal["delete", "compact", "compact,delete"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. ``retention_ms`` is None for purely compacted topics. ``keyed_by`` says what its Kafka key is."""

    name: str
    keyed_by: str
    cleanup: Cleanup
    retention_ms: int | None
    records: tuple[str, ...]
    reason: str
    max_message_bytes: int = PIPELINE_MAX_MESSAGE_BYTES
    config: tuple[tuple[str, str], ...] = field(default=())

    def broker_config(self, min_insync: int) -> dict[str, str]:
        """The topic's settings as the broker takes them."""
        settings = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(min_insync),
            "retention.ms": str(-1 if self.retention_ms is None else self.retention_ms),
        }
        if "compact" in self.cleanup:
            # A view is read whole at start: keep the part that is not compacted yet small. Tombstones stay a day, longer than
            # any reader of ours is away without starting anew.
            settings |= {
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": str(DAY_MS),
                "delete.retention.ms": str(DAY_MS),
            }
        return settings | dict(self.config)


def deliver_topic(channel: str, lane: str) -> str:
    """Name of the topic that carries one channel's messages of one lane."""
    return f"deliver.{channel}.{lane}"


REQUESTED = "notifications.requested"
DECISIONS = "notifications.decisions"
STATUS = "notifications.status"
DEAD_LETTERS = "dead-letters"
RECIPIENTS = "recipients"
POLICIES = "policies"
TEMPLATES = "templates"
GATES = "gates"
AGGREGATE_GATES = "gates.aggregates"
INTAKE_STATE = "intake-state"
NOTIFY_STATE = "notify-state"
INBOX_CHANGES = "inbox.changes"


def event_topic(event_type: str) -> str:
    """Topic of a domain event: ``appointment.created`` → ``events.appointment``."""
    return f"events.{event_type.split('.', 1)[0]}"


def _pipeline(name: str) -> str:
    return f"luxe.pipeline.{name}"


TOPICS: tuple[Topic, ...] = (
    *(
        Topic(
            f"events.{aggregate}",
            "aggregate_id (the clinic's id where an event is about a whole clinic)",
            "delete",
            EVENT_RETENTION_MS,
            (f"luxe.events.* of {aggregate}",),
            "Domain events from producers, in the order of their aggregate",
            EVENT_MAX_MESSAGE_BYTES,
        )
        for aggregate in EVENT_AGGREGATES
    ),
    Topic(
        REQUESTED,
        "recipient",
        "delete",
        PIPELINE_RETENTION_MS,
        (_pipeline("NotificationRequest"),),
        "intake ► notify",
    ),
    Topic(
        DECISIONS,
        "recipient",
        "delete",
        PIPELINE_RETENTION_MS,
        (_pipeline("Decision"),),
        "Why she did, or did not, get it",
    ),
    *(
        Topic(
            deliver_topic(channel, lane),
            "recipient",
            "delete",
            PIPELINE_RETENTION_MS,
            (_pipeline("ChannelMessage"), *((_pipeline("ReceiptQuery"),) if (channel, lane) == ("sms", "low") else ())),
            "notify ► sink; a topic a lane, so that bulk never stands before urgent",
        )
        for channel in CHANNELS
        for lane in LANES
    ),
    Topic(
        STATUS,
        "recipient",
        "delete",
        PIPELINE_RETENTION_MS,
        (_pipeline("DeliveryStatus"),),
        "sinks and receipts ► notify",
    ),
    Topic(
        DEAD_LETTERS,
        "dead_letter_id",
        "delete",
        DEAD_LETTER_RETENTION_MS,
        (_pipeline("DeadLetter"),),
        "What could not be handled, sealed, with its cause",
        DEAD_LETTER_MAX_MESSAGE_BYTES,
    ),
    Topic(
        RECIPIENTS,
        "recipient",
        "compact",
        None,
        (_pipeline("Recipient"),),
        "View: patients and staff (outbox)",
        # An erased person's wrapped key must leave old segments too, within days.
        config=(("max.compaction.lag.ms", str(ERASURE_COMPACTION_LAG_MS)),),
    ),
    Topic(
        POLICIES,
        "clinic_id",
        "compact",
        None,
        (_pipeline("ClinicPolicy"),),
        "View: clinics' policies (outbox)",
    ),
    Topic(
        TEMPLATES,
        "template_id/channel/locale/version",
        "compact",
        None,
        (_pipeline("Template"),),
        "View: templates (outbox)",
    ),
    Topic(
        GATES,
        "gate_key",
        "compact",
        None,
        (_pipeline("Gate"),),
        "View: suppressions, consents withdrawn (outbox)",
    ),
    Topic(
        AGGREGATE_GATES,
        "gate_key",
        "compact,delete",
        AGGREGATE_GATE_RETENTION_MS,
        (_pipeline("Gate"),),
        "View: cancelled and superseded aggregates (intake); bounded, unlike gates",
    ),
    Topic(
        INBOX_CHANGES,
        "recipient",
        "delete",
        INBOX_CHANGE_RETENTION_MS,
        (_pipeline("InboxChange"),),
        "in-app sink, API ► every API process, whose open connections read what has changed; push sinks, for badges",
    ),
    Topic(INTAKE_STATE, "state key", "compact", None, (), "Changelog of intake's state and input positions"),
    Topic(
        NOTIFY_STATE,
        "state key",
        "compact",
        None,
        (),
        "Changelog of notify's state: timers, caps, notifications",
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
EVENT_TOPICS: tuple[str, ...] = tuple(topic.name for topic in TOPICS if topic.name.startswith("events."))
