"""Histories of one appointment, arriving in any order, against a model of ten lines: what is sent, once, and what is not."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.runtime import Output
from tests.notify_world import NOW, NOW_MS, World

MINUTE_MS = 60_000
# One that asks for a confirmation, and one that does not.
ASKING, TELLING = "appointment_reminder_24h", "no_show_followup"
WORLD = World(Path(tempfile.mkdtemp()))
WORLD.add_recipient("patient:1", emails=[])
for name in (ASKING, TELLING):
    WORLD.add_template(name, "sms", "Reminder")


@dataclass(frozen=True)
class Step:
    """One event of the appointment as it reaches notify: created, rescheduled, cancelled, restored or only withdrawn.

    ``settles``: it says that it was confirmed up to this version. ``asks``: its reminder asks for that. ``at``: minute of
    arrival; ``due``: minute at which its reminder is due.
    """

    number: int
    version: int
    kind: str
    withdraws: str
    settles: int | None
    asks: bool
    at: int
    due: int


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Up to eight events, versions in no order, some of them arriving twice."""
    steps = [
        Step(
            number,
            draw(st.integers(1, 5)),
            draw(st.sampled_from(["notify", "notify", "notify", "withdraw"])),
            draw(st.sampled_from(["none", "none", "older", "all"])),
            draw(st.none() | st.integers(1, 5)),
            draw(st.booleans()),
            draw(st.integers(0, 10)),
            draw(st.integers(0, 15)),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    again = draw(st.lists(st.sampled_from(steps), max_size=3))
    repeats = [Step(**{**vars(step), "at": step.at + draw(st.integers(0, 5))}) for step in again]
    return sorted([*steps, *repeats], key=lambda step: step.at)


def expected(history: list[Step]) -> Counter[tuple[int, str]]:
    """The model: (number, what became of it). A request dies by what was seen up to the moment it is due."""
    ends: Counter[tuple[int, str]] = Counter()
    for step in {step.number: step for step in reversed(history)}.values():  # the first arrival of each
        if step.kind == "withdraw":
            continue
        sent_at = max(step.at, step.due)
        # What arrives in the minute of the timer is handled before it fires.
        seen = [other for other in history if other.at <= (sent_at if step.due > step.at else step.at)]
        seen = seen if step.due > step.at else seen[: seen.index(step) + 1]
        closed = any(
            o.withdraws == "all"
            and (o.version > step.version or (o.version == step.version and o.number != step.number))
            for o in seen
        )
        older = any(o.withdraws == "older" and o.version > step.version for o in seen)
        done = step.asks and any(o.settles is not None and o.settles >= step.version for o in seen)
        ends[step.number, "dead" if closed or older or done else "sent"] += 1
    return ends


def possible_reasons(history: list[Step], number: int) -> set[str]:
    """Why this one may have died; which of them it is, is the order's doing."""
    step = next(one for one in history if one.number == number)
    reasons = set()
    if step.asks and any(o.settles is not None and o.settles >= step.version for o in history):
        reasons.add("already_done")
    if any(o.withdraws == "older" and o.version > step.version for o in history):
        reasons.add("superseded")
    if any(o.withdraws == "all" and o.version >= step.version for o in history):
        reasons.add("cancelled")
    return reasons


def request(step: Step) -> dict[str, Any]:
    event = WORLD.created(step.number, aggregate_id="A", aggregate_version=step.version)
    due_at = NOW + timedelta(minutes=step.due)
    kind = ASKING if step.asks else TELLING
    made = WORLD.request(event, kind=kind, withdraws=step.withdraws, settled_version=step.settles, due_at=due_at)
    return made if step.kind == "notify" else made | {"kind": "withdraw", "sealed": None}


@settings(max_examples=150, deadline=None)
@given(histories())
def test_every_history_ends_as_the_model_says(history: list[Step]) -> None:
    WORLD.store.write([(row, None) for row in list(WORLD.store.rows)])
    numbers = {request(step)["notification_id"]: step.number for step in history}
    outputs: list[Output] = []
    for minute in range(20):
        records = [WORLD.record_of(request(step)) for step in history if step.at == minute]
        outputs += WORLD.work(*records, now_ms=NOW_MS + minute * MINUTE_MS)
    found: Counter[tuple[int, str]] = Counter()
    for message in WORLD.messages(outputs):
        found[numbers[message["notification_id"]], "sent"] += 1
    decisions = WORLD.decisions(outputs)
    for decision in decisions:
        if decision["outcome"] == "suppress":
            number = numbers[decision["notification_id"]]
            assert decision["reason"] in possible_reasons(history, number)
            found[number, "dead"] += 1
    assert found == expected(history)
    # The account closes: each has one final decision, and nothing waits any more.
    final = Counter(decision["notification_id"] for decision in decisions if decision["outcome"] != "defer")
    assert set(final.values()) <= {1}
    assert not [row for row in WORLD.store.rows if row.startswith((b"tn", b"sw"))]
