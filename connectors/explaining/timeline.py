"""One notification's story in order: asked for, decided, made, handed over, told of by receipts; each step a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from connectors.accounting import EXHAUSTED
from connectors.explaining.facts import CARRIES_OUT, Decision, Delivery, Receipt, Story
from connectors.explaining.phrases import ENDED, MESSAGES, STATUSES, WHOLE, kind_of, who_is
from connectors.explaining.sentence import Clock, together

Kind = Literal["asked", "decided", "message", "status", "dead_letter"]


class Entry(NamedTuple):
    """One step. ``code``: the decision's reason, the status, or the dead letter's cause. The rest: of a message."""

    at: datetime
    kind: Kind
    sentence: str
    code: str = ""
    channel: str | None = None
    delivery_id: str | None = None
    attempt: int | None = None


def timeline(story: Story, clock: Clock) -> list[Entry]:
    """Everything that is recorded of it, in the order in which it came about."""
    who = who_is(story.recipient)
    # Sorted by time alone, and each message's own story kept in its order: providers' clocks tell whole seconds.
    entries = [*_asked(story, clock), *(_decided(one, who, clock) for one in story.decisions)]
    for delivery in story.deliveries:
        at = delivery.created_at
        entries.append(
            Entry(
                at, "message", f"A {MESSAGES[delivery.channel]} was made.", "", delivery.channel, delivery.delivery_id
            )
        )
        for receipt in delivery.receipts:
            at = max(at, receipt.status_at)
            entries.append(_status(delivery, receipt, at, who))
    entries.sort(key=lambda entry: entry.at)
    if story.dead_letter is not None:
        last = entries[-1].at if entries else story.occurred_at
        says = f"It could not be handled ({story.dead_letter}); technicians have it before them."
        if story.dead_letter == EXHAUSTED:
            says = "No way of its plan is left; somebody at the clinic was told."
        entries.append(Entry(last, "dead_letter", says, story.dead_letter))
    return entries


def _asked(story: Story, clock: Clock) -> Iterator[Entry]:
    if story.requested_at is not None:
        due = "" if story.due_at is None else f", to be sent at {clock.moment(story.due_at)}"
        says = f"The {kind_of(story.notification_type)} was asked for ({story.event_type}){due}."
        yield Entry(story.requested_at, "asked", says, story.event_type)


def _decided(decision: Decision, who: str, clock: Clock) -> Entry:
    because = WHOLE.get(decision.reason, f"of the reason {decision.reason}").replace("{who}", who)
    if decision.outcome == "deliver":
        first = together([MESSAGES[channel] for channel in decision.handed_over])
        says = f"It was decided to be sent by {first}."
        if decision.reason in CARRIES_OUT:
            says = f"It was handed over as {first}, because {because}."
        elif later := decision.later:
            says = f"{says[:-1]}; by {together([MESSAGES[channel] for channel in later])} if that does not arrive."
    elif decision.outcome == "defer":
        until = f" until {clock.moment(decision.until)}" if decision.until else ""
        says = f"It waits{until}, because {because}."
    else:
        says = f"It is not sent, because {because}."
    return Entry(decision.decided_at, "decided", says, decision.reason)


def _status(delivery: Delivery, receipt: Receipt, at: datetime, who: str) -> Entry:
    says = STATUSES[receipt.status].format(message=MESSAGES[delivery.channel])
    why = ENDED.get(receipt.reason) or ENDED.get(receipt.error_class or "")
    if why is not None:
        says = f"{says}, because {why.format(who=who)}"
    if receipt.attempt > 1:
        says = f"{says} (attempt {receipt.attempt})"
    return Entry(at, "status", f"{says}.", receipt.status, delivery.channel, delivery.delivery_id, receipt.attempt)
