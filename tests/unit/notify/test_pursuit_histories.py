"""Random lives of one notification: providers fail, contradict and repeat themselves, time passes, people change their minds."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import CHANNELS
from streams.rules.retrying import ATTEMPTS, SOFT_BOUNCE_ATTEMPTS
from streams.rules.schedule import CLOSED_KEPT_MS, STATE_KEPT_MS
from tests.notify_world import NOW, NOW_MS, World

KINDS = ("appointment_confirmation", "appointment_reminder_24h", "receipt_delivery", "treatment_followup_24hr")
TEXTS: dict[str, Any] = {
    "email": {"subject": "About it", "html": "<p>Hi</p>"},
    "push": {"subject": "Hi"},
    "in_app": {"subject": "Hi"},
}
WORLD = World(Path(tempfile.mkdtemp()))
for _kind in KINDS:
    for _channel in CHANNELS:
        WORLD.add_template(_kind, _channel, "Hi {{ first_name }}", **TEXTS.get(_channel, {}))

STATUSES: list[dict[str, Any]] = [
    {"status": "sent"},
    {"status": "delivered"},
    {"status": "unknown"},
    {"status": "failed", "error_class": "transient"},
    {"status": "failed", "error_class": "permanent_recipient"},
    {"status": "failed", "error_class": "unknown"},
    {"status": "undelivered", "error_class": "transient"},
    {"status": "bounced", "error_class": "permanent_recipient"},
    {"status": "suppressed", "reason": "opted_out"},
    {"status": "expired", "reason": "send_not_after"},
]
ENDING = {"failed", "undelivered", "bounced", "suppressed", "expired"}
# What happens: (of the messages so far, one by number; which status; ms that pass before it).
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 9), st.sampled_from(STATUSES), st.sampled_from([0, 10, 1_000, 60_000, 900_000, 3_600_000])
    ),
    max_size=14,
)


@settings(max_examples=1000, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    lane=st.sampled_from(list(ATTEMPTS)),
    happenings=HAPPENINGS,
    opts_out_at=st.none() | st.integers(0, 14),
    cancelled_at=st.none() | st.integers(0, 14),
)
def test_it_is_pursued_within_bounds(
    kind: str,
    lane: str,
    happenings: list[tuple[int, dict[str, Any], int]],
    opts_out_at: int | None,
    cancelled_at: int | None,
) -> None:
    WORLD.store.write([(row, None) for row in list(WORLD.store.rows)])
    WORLD.gates.clear()
    WORLD.add_recipient("patient:1")
    WORLD.now_ms = NOW_MS
    outputs = WORLD.ask(WORLD.request(WORLD.created(1), kind=kind, lane=lane))
    first = WORLD.messages(outputs)
    messages, succeeded_at, stopped = list(first), -1, False
    endings: Counter[tuple[str, int]] = Counter()
    for number, (which, said, passes_ms) in enumerate(happenings):
        WORLD.now_ms += passes_ms
        before = len(messages)
        messages += WORLD.messages(WORLD.work())
        if stopped or succeeded_at >= 0:
            new = messages[before:]
            # Nothing goes out after it may not, and no other channel is asked once one arrived.
            assert not (stopped and new)
            assert {one["channel"] for one in new} <= {one["channel"] for one in messages[:before]}
        if number == opts_out_at:
            WORLD.add_gate("recipient:patient:1")
            stopped = True
        if number == cancelled_at:
            newer = WORLD.request(WORLD.created(2, aggregate_id="A-1", aggregate_version=2), kind=kind)
            WORLD.ask(newer | {"kind": "withdraw", "withdraws": "all", "sealed": None})
            stopped = True
        about = messages[which % len(messages)]
        at = NOW + timedelta(milliseconds=WORLD.now_ms - NOW_MS)
        came = WORLD.work(WORLD.status(about, status_at=at, attempt=about["attempt"], **said))
        assert WORLD.letters(came) == [] or {one["error_code"] for one in WORLD.letters(came)} == {"plan_exhausted"}
        assert not (stopped and WORLD.messages(came))
        messages += WORLD.messages(came)
        if said["status"] == "delivered" and succeeded_at < 0:
            latest = max(one["attempt"] for one in messages if one["delivery_id"] == about["delivery_id"])
            # An SMS's first terminal status stands: a success that contradicts it is none.
            if about["attempt"] == latest and not endings[about["delivery_id"], about["attempt"]]:
                succeeded_at = number
        if said["status"] in ENDING:
            endings[about["delivery_id"], about["attempt"]] += 1
    # No attempt is made twice, none before the one before it had failed, none beyond its bound.
    attempts = Counter((one["delivery_id"], one["attempt"]) for one in messages)
    assert set(attempts.values()) == {1}
    late = sum(said["status"] == "expired" for _, said, _ in happenings)
    for one in messages:
        assert one["attempt"] <= max(ATTEMPTS[lane], SOFT_BOUNCE_ATTEMPTS) + late
        if one["attempt"] > 1:
            assert (one["delivery_id"], one["attempt"] - 1) in attempts
    # In the end nothing of it is left.
    for _ in range(80):
        WORLD.work(now_ms=WORLD.now_ms + 3_600_000 * 6)
    WORLD.work(now_ms=WORLD.now_ms + max(2 * STATE_KEPT_MS, CLOSED_KEPT_MS))
    assert [row for row in WORLD.store.rows if not row.startswith((b"sm", b"tm", b"sa"))] == []
