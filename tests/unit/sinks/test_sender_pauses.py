"""Receipts say that a sender may not send: what becomes of its messages. On real parts: tests/integration/sinks/test_pauses.py"""

from __future__ import annotations

import asyncio

from connectors.postgres.sender_refusals import SenderRefusal
from sinks.runtime.call_ends import Tries
from tests.unit.sinks.desk import Desk, Record, message


async def test_what_receipts_say_of_a_sender_pauses_it_until_they_say_it_no_more() -> None:
    desk, record = Desk(), Record()
    marketing = message(sender_class="marketing")
    refusal = SenderRefusal("marketing", "30034", "c-1")
    for _ in range(3):  # it is asked for again and again
        desk.admission.told([refusal])
    assert [alarm["details"]["code"] for alarm in desk.log.alarms] == ["30034"]
    waiting = [asyncio.create_task(desk.permit(marketing, Tries(), record)) for _ in range(3)]
    (await desk.permit(message(), Tries())).close()
    # One after the other, as time goes by: each is answered, and none lets the others go.
    for _ in range(2):
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (probe,) = [task.result() for task in done]
        waiting = [task for task in waiting if task not in done]
        assert probe.is_probe
        desk.admission.ends.answered(probe)
        probe.close()
        assert not any(task.done() for task in waiting)
    desk.admission.told([])
    (last,) = waiting
    assert not (await last).is_probe
    (await last).close()
    assert [breaker["state"] for breaker in desk.admission.standing()["breakers"]] == ["closed"] * 3
