"""The worker that the conformance tests kill: it counts a key's events in its state and says event and count.

Configured by environment: COUNT_APP, COUNT_INPUTS (comma-separated), COUNT_OUTPUT, COUNT_CHANGELOG, COUNT_DEAD, COUNT_PARTITIONS.
With COUNT_VIEW (a compacted topic) each output ends in what the view says of the key ``word``.
With COUNT_CLOCK (a file) the wall clock is so many ms from the machine's as that says.
A value that begins with ``poison`` fails; ``timer:<ms>:<name>`` sets a timer that far ahead of now, ``cancel:<name>`` removes it;
``slow:<ms>:`` takes that long; ``hang`` blocks the event loop for ever.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from connectors.settings import Settings
from streams.runtime import Batch, Batches, DueTimer, Event, Output, PoisonError, Record, Tuning, View, build_app
from streams.runtime.clock import SettledClock, wall_clock_ms
from tests.chaos.orphans import end_with_parent

APP = os.environ["COUNT_APP"]
INPUTS = os.environ["COUNT_INPUTS"].split(",")
OUTPUT = os.environ["COUNT_OUTPUT"]
CHANGELOG = os.environ["COUNT_CHANGELOG"]
DEAD = os.environ["COUNT_DEAD"]
PARTITIONS = int(os.environ["COUNT_PARTITIONS"])


def dead_letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
    """Keeps the original bytes and the kind of error."""
    if isinstance(subject, Record):
        return Output(DEAD, subject.key, subject.value, (("error", type(error).__name__.encode()),))
    return Output(DEAD, subject.timer_id, subject.payload, (("error", type(error).__name__.encode()),))


def stepped_ms() -> int:
    """The wall clock, as somebody set it."""
    return wall_clock_ms() + int(Path(os.environ["COUNT_CLOCK"]).read_text())


view = View(os.environ["COUNT_VIEW"]) if "COUNT_VIEW" in os.environ else None
app = build_app(
    APP,
    inputs=INPUTS,
    changelog=CHANGELOG,
    settings=Settings(),
    dead_letter=dead_letter,
    partitions=PARTITIONS,
    views=[view] if view is not None else [],
    clock_ms=SettledClock(Tuning().clock_settle_seconds, stepped_ms) if "COUNT_CLOCK" in os.environ else None,
)


def count(event: Event, key: bytes, value: bytes) -> None:
    """One more for the key: state and output change together."""
    seen = int(event.get(key) or b"0") + 1
    event.put(key, b"%d" % seen)
    word = b"" if view is None else b"|" + (view.get(b"word") or b"nothing")
    event.produce(OUTPUT, key, b"%s|%d%s" % (value, seen, word))


@app.agent
async def counting(batches: Batches) -> None:
    """Counts records, and timers when they fire."""
    async for batch in batches:
        for timer in batch.due:
            with batch.event(timer) as event:
                count(event, timer.payload.split(b"|")[0], timer.payload.split(b"|")[1])
        for record in batch.records:
            with batch.event(record) as event:
                key, value = record.key or b"", record.value or b""
                if value.startswith(b"poison"):
                    event.put(key, b"a change that must not stay")
                    event.produce(OUTPUT, key, b"an output that must not leave")
                    raise PoisonError("poison")
                if value.startswith(b"slow:"):
                    await asyncio.sleep(int(value.split(b":")[1]) / 1000)
                if value == b"hang":
                    threading.Event().wait()
                if value.startswith(b"timer:"):
                    _, delay_ms, name = value.split(b":", 2)
                    event.set_timer(name, batch.now_ms + int(delay_ms), key + b"|" + value)
                if value.startswith(b"cancel:"):
                    event.cancel_timer(value.partition(b":")[2])
                count(event, key, value)


if __name__ == "__main__":
    end_with_parent()
    app.run()
