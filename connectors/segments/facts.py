"""What an event tells of a patient that a selection needs: facts, each about one thing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

Event = Mapping[str, Any]


class Told(NamedTuple):
    """A fact as an event tells it. ``key``: kind and id of the thing; ``on``: the day it hangs on; ``value``: JSON."""

    key: str
    on: date
    value: Mapping[str, Any]


def _booked(day: str, *, stands: bool) -> Callable[[Event], list[Told]]:
    return lambda event: [Told(f"appointment:{event['appointment_id']}", event[day], {"booked": stands})]


def _visited(at: str) -> Callable[[Event], list[Told]]:
    return lambda event: [Told(f"appointment:{event['appointment_id']}", event[at].date(), {"booked": False})]


def _credits(event: Event) -> list[Told]:
    value = {"aggregate": event["aggregate_id"], "balance": str(event["new_balance"]), "tier": event["tier"]}
    return [Told(f"credits:{event['membership_id']}", event["expiry_date"], value)]


def _credits_announced(event: Event) -> list[Told]:
    """The practice system says itself that they run out: that we need not."""
    return [Told(f"credits_announced:{event['membership_id']}", event["expiry_date"], {})]


# What of a debt is said again when it is overdue.
DEBT_FIELDS = ("currency", "kind", "invoice_id", "plan_id", "appointment_id", "autopay", "payment_url")


def _due(event: Event) -> list[Told]:
    value = {"aggregate": event["aggregate_id"], "amount": str(event["amount"])}
    value |= {name: event[name] for name in DEBT_FIELDS}
    told = [Told(f"due:{event['payment_id']}", event["due_date"], value)]
    if (event["days_overdue"] or 0) > 0:
        # The practice system says itself that it is overdue.
        told.append(Told(f"due_announced:{event['payment_id']}", event["due_date"], {}))
    return told


def _paid(event: Event) -> list[Told]:
    left = event["remaining_balance"]
    value = {"left": None if left is None else str(left)}
    return [Told(f"paid:{event['payment_id']}", event["occurred_at"].date(), value)]


def _failed(event: Event) -> list[Told]:
    return [Told(f"failed:{event['payment_id']}", event["occurred_at"].date(), {})]


def _plan(event: Event) -> list[Told]:
    stands = event["change"] not in ("paused", "completed", "cancelled")
    return [Told(f"plan:{event['plan_id']}", event["occurred_at"].date(), {"stands": stands})]


_FACTS: Mapping[str, Callable[[Event], list[Told]]] = {
    "appointment.created": _booked("appointment_date", stands=True),
    "appointment.confirmed": _booked("appointment_date", stands=True),
    "appointment.restored": _booked("appointment_date", stands=True),
    "appointment.rescheduled": _booked("new_date", stands=True),
    "appointment.cancelled": _booked("appointment_date", stands=False),
    "appointment.no_show": _booked("scheduled_date", stands=False),
    "appointment.checked_in": _visited("checked_in_at"),
    "appointment.completed": _visited("completed_at"),
    "membership.credits_added": _credits,
    "membership.credits_expiring": _credits_announced,
    "payment.due": _due,
    "payment.received": _paid,
    "payment.failed": _failed,
    "payment.plan_updated": _plan,
}
_VISITED_AT = {"appointment.completed": "completed_at", "appointment.checked_in": "checked_in_at"}

EVENT_TYPES = frozenset(_FACTS)


def facts_of(event: Event) -> list[Told]:
    """What an event of ``EVENT_TYPES`` tells."""
    return _FACTS[event["event_type"]](event)


def visited_at(event: Event) -> datetime | None:
    """When she was there, where the event says that she was."""
    name = _VISITED_AT.get(event["event_type"])
    return None if name is None else event[name]


def belongs_to(key: str, facts: Mapping[str, Any]) -> bool:
    """Whether a fact says something about another one that is there: it stays for as long as that."""
    kind, _, id_ = key.partition(":")
    if kind == "credits_announced":
        return f"credits:{id_}" in facts
    if kind in ("due_announced", "paid", "failed"):
        return f"due:{id_}" in facts
    return kind == "plan" and any(
        name.startswith("due:") and fact.value["plan_id"] == id_ for name, fact in facts.items()
    )
