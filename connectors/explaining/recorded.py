"""Reads stories from ClickHouse: requests, decisions, messages, receipts and dead letters of some notifications."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from clickhouse_connect.driver.client import Client

from connectors.accounting import EXHAUSTED, Account
from connectors.explaining.facts import Decision, Delivery, Receipt, RuleVerdict, Step, Story
from schemas.codec import Decoded

Row = Mapping[str, Any]

_ABOUT = (
    "category, lane, recipient, clinic_id, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, "
    "occurred_at"
)
_MINE = "notification_id IN {ids:Array(String)}"
# Columns named one by one: bytes, and what ingestion adds, stay where they are.
_READ = {
    "requests": (
        f"SELECT notification_id, notification_type, {_ABOUT}, requested_at, due_at, expires_at, correlation_id "  # noqa: S608 — no input
        f"FROM raw_notification_request FINAL WHERE kind = 'notify' AND {_MINE} LIMIT 1 BY notification_id"
    ),
    "decisions": (
        f"SELECT notification_id, notification_type, {_ABOUT}, sequence, outcome, reason, until, decided_at, steps, rules, "  # noqa: S608
        "recipient_version, policy_version, catalog_version, consent_versions, template_id, digest_id "
        f"FROM raw_decision FINAL WHERE {_MINE} ORDER BY notification_id, sequence LIMIT 1 BY notification_id, sequence"
    ),
    "messages": (
        "SELECT notification_id, delivery_id, channel, step, template_id, template_version, locale, created_at "  # noqa: S608
        f"FROM raw_channel_message FINAL WHERE {_MINE} ORDER BY step, attempt DESC LIMIT 1 BY delivery_id"
    ),
    "statuses": (
        "SELECT notification_id, delivery_id, channel, status, status_at, attempt, reason, provider, provider_status, "  # noqa: S608
        f"error_class, error_code FROM raw_delivery_status FINAL WHERE {_MINE} "
        "ORDER BY status_at, recorded_at LIMIT 1 BY status_id"
    ),
    "dead": (
        # That its plan came to an end is said beside why; the account goes by why.
        f"SELECT notification_id, error_code FROM raw_dead_letter FINAL WHERE {_MINE} "  # noqa: S608
        f"ORDER BY error_code = '{EXHAUSTED}', error_code LIMIT 1 BY notification_id"
    ),
}
_TIMES = (
    "occurred_at",
    "requested_at",
    "due_at",
    "expires_at",
    "until",
    "decided_at",
    "created_at",
    "status_at",
    "asked_at",
)

# Ids travel in the request's line, which the embedded engine's endpoint, as most servers, takes up to 8 KB of.
_IDS_AT_ONCE = 100

_OF_SOMEBODY = """
    SELECT notification_id, min(at) AS asked_at FROM (
        SELECT notification_id, requested_at AS at, clinic_id FROM raw_notification_request
        WHERE kind = 'notify' AND recipient = {recipient:String}
        UNION ALL
        SELECT notification_id, decided_at AS at, clinic_id FROM raw_decision WHERE recipient = {recipient:String}
    )
    WHERE {every:UInt8} OR clinic_id IN {clinics:Array(String)}
    GROUP BY notification_id
    HAVING asked_at >= parseDateTime64BestEffort({since:String}, 3, 'UTC')
       AND (asked_at, notification_id) < (parseDateTime64BestEffort({before:String}, 3, 'UTC'), {before_id:String})
    ORDER BY asked_at DESC, notification_id DESC
    LIMIT {limit:UInt32}
"""


class Place(NamedTuple):
    """A notification's place among somebody's: newest first, by when it was asked for."""

    asked_at: datetime
    notification_id: str


def places_of(
    client: Client,
    recipient: str,
    since: datetime,
    before: Place,
    limit: int,
    clinics: Sequence[str] | None = None,
) -> list[Place]:
    """The newest ``limit`` notifications of somebody from ``since`` on, behind ``before``; of some clinics, None: of all.

    Raises ClickHouseError.
    """
    parameters = {
        "recipient": recipient,
        "every": int(clinics is None),
        "clinics": list(clinics or ()),
        "since": since.astimezone(UTC).isoformat(),
        "before": before.asked_at.astimezone(UTC).isoformat(),
        "before_id": before.notification_id,
        "limit": limit,
    }
    return places_in(client, _OF_SOMEBODY, parameters)


def places_in(client: Client, sql: str, parameters: dict[str, Any]) -> list[Place]:
    """What a question for notification_id and asked_at finds. Raises ClickHouseError."""
    return [Place(row["asked_at"], row["notification_id"]) for row in _rows(client, sql, parameters)]


def stories(client: Client, ids: Sequence[str]) -> list[Story]:
    """The stories of these notifications, in that order; what nothing is known of is left out. Raises ClickHouseError."""
    found: dict[str, dict[str, list[Row]]] = {name: {} for name in _READ}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        parameters = {"ids": list(ids[start : start + _IDS_AT_ONCE])}
        for name, sql in _READ.items():
            found[name] |= _by_notification(_rows(client, sql, parameters))
    return [
        _story(id_, {name: rows.get(id_, []) for name, rows in found.items()})
        for id_ in ids
        if id_ in found["requests"] or id_ in found["decisions"]
    ]


def _rows(client: Client, sql: str, parameters: dict[str, Any]) -> list[Row]:
    answer = client.raw_query(sql, parameters=parameters, fmt="JSONEachRow")
    return [_with_times(orjson.loads(line)) for line in answer.splitlines() if line]


def _with_times(row: dict[str, Any]) -> Row:
    for name in _TIMES:
        if row.get(name):
            row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
    return row


def _by_notification(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["notification_id"]].append(row)
    return dict(found)


def _story(id_: str, found: Mapping[str, Sequence[Row]]) -> Story:
    decisions = [_decision(row) for row in found["decisions"]]
    # A digest is asked for by nobody: its decision alone tells of it.
    asked = found["requests"][0] if found["requests"] else {}
    about = asked or found["decisions"][-1]
    account = _account(id_, found)
    state, reason = account.state(id_)
    receipts: defaultdict[str, list[Receipt]] = defaultdict(list)
    for row in found["statuses"]:
        receipts[row["delivery_id"]].append(_receipt(row))
    statuses = account.deliveries(id_)
    return Story(
        id_,
        about["notification_type"],
        about["category"],
        about["lane"],
        about["recipient"],
        about["clinic_id"],
        about["event_id"],
        about["event_type"],
        about["aggregate_type"],
        about["aggregate_id"],
        int(about["aggregate_version"]),
        about["occurred_at"],
        asked.get("requested_at"),
        asked.get("due_at"),
        asked.get("expires_at"),
        asked.get("correlation_id"),
        state,
        reason,
        tuple(decisions),
        tuple(
            Delivery(
                row["delivery_id"],
                row["channel"],
                int(row["step"]),
                statuses[row["delivery_id"]],
                row["template_id"],
                int(row["template_version"]),
                row["locale"],
                row["created_at"],
                tuple(sorted(receipts[row["delivery_id"]], key=_place)),
            )
            for row in {row["delivery_id"]: row for row in reversed(found["messages"])}.values()
        )[::-1],
        found["dead"][0]["error_code"] if found["dead"] else None,
    )


# A provider's times are of whole seconds: by them alone a delivery would come before its queueing.
_LIFE = {"queued": 0, "sending": 1, "sent": 2, "unknown": 2, "read": 4, "clicked": 5, "acknowledged": 6}
_ENDED = 3


def _place(receipt: Receipt) -> tuple[int, int, datetime]:
    return receipt.attempt, _LIFE.get(receipt.status, _ENDED), receipt.status_at


def _account(id_: str, found: Mapping[str, Sequence[Row]]) -> Account:
    """The account of this one notification: its state is defined there, and nowhere else."""
    account = Account()
    account.take(Decoded(0, "luxe.pipeline.NotificationRequest", {"notification_id": id_, "kind": "notify"}))
    for name, rows in (
        ("Decision", found["decisions"]),
        ("ChannelMessage", found["messages"]),
        ("DeliveryStatus", found["statuses"]),
        ("DeadLetter", found["dead"]),
    ):
        for row in rows:
            account.take(Decoded(0, f"luxe.pipeline.{name}", dict(row)))
    return account


def _decision(row: Row) -> Decision:
    return Decision(
        int(row["sequence"]),
        row["outcome"],
        row["reason"],
        row["until"],
        row["decided_at"],
        tuple(
            Step(
                int(step["step"]),
                step["channel"],
                step["delivery_id"],
                step["success"],
                int(step["timeout_seconds"]),
                bool(step["parallel"]),
                int(step["template_version"]),
            )
            for step in row["steps"]
        ),
        tuple(
            RuleVerdict(rule["rule"], rule["channel"] or None, rule["verdict"], rule["reason"]) for rule in row["rules"]
        ),
        int(row["recipient_version"]),
        int(row["policy_version"]),
        row["catalog_version"],
        {name: int(version) for name, version in row["consent_versions"].items()},
        row["template_id"],
        row["digest_id"],
    )


def _receipt(row: Row) -> Receipt:
    return Receipt(
        row["status"],
        row["status_at"],
        int(row["attempt"]),
        row["reason"],
        row["provider"],
        row["provider_status"],
        row["error_class"],
        row["error_code"],
    )
