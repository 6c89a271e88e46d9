"""A real sink that ends, or stands still, at a named step of an attempt: ``python -m tests.chaos.dying_sink sms``.

Configured by environment: DIE_AT, one of STEPS (none: it lives); DIE_PASSING, the how manieth time that step is passed; DIE_BY,
the signal's name, SIGKILL or SIGSTOP; DIE_DELAY_MS, for ``on_its_way``: how long after the call was begun; DIE_JOURNAL, a file
for what was under way (words of the journal and delivery ids); DIE_MEMBER, its name in its consumer groups, under which the next
one takes its place at once: an unnamed member's partitions move when its session is over.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from connectors.providers.outcome import OutcomeUnknown
from sinks.__main__ import main
from sinks.runtime import lanes
from sinks.runtime.attempts import Attempts, Begun
from sinks.runtime.in_flight import Assignment, Taken
from sinks.runtime.statuses import DeliveryLife
from tests.chaos.orphans import end_with_parent

# An attempt in order; the last two are passed only by one that is taken up after another's death.
STEPS = (
    "taken",  # from the log; nothing is in the ledger
    "begun",  # the ledger's row is committed
    "calling",  # `sending` is told; the request has not left
    "on_its_way",  # it has left, and is not answered
    "answered",  # the provider's answer is here; the ledger does not know
    "entered",  # the ledger knows; nobody was told
    "told",  # its end is handed to the producer
    "acknowledged",  # Kafka has its end; its offset is not finished
    "finished",  # its offset may be committed
    "committed",
    "asking",  # in doubt: the provider is asked next
    "asked",
)
CHANNELS = {
    "sms": ("sinks.sms", "Sms"),
    "email": ("sinks.email", "EmailChannel"),
    "push": ("sinks.push", "Push"),
    "in_app": ("sinks.in_app", "InApp"),
}


class Death:
    """Counts the passings of one step, and comes at one of them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.step = environment.get("DIE_AT", "")
        if self.step and self.step not in STEPS:
            raise ValueError(f"DIE_AT: {self.step}; one of {', '.join(STEPS)}")
        self._left = int(environment.get("DIE_PASSING", "1"))
        self._by = signal.Signals[environment.get("DIE_BY", "SIGKILL")]
        self.delay_seconds = float(environment.get("DIE_DELAY_MS", "0")) / 1000
        self._journal = os.open(environment["DIE_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def passed(self, step: str) -> None:
        """Here it may come."""
        if self.is_due(step):
            self.come()

    def is_due(self, step: str) -> bool:
        if step != self.step:
            return False
        self._left -= 1
        return self._left == 0

    def come(self) -> None:
        os.kill(os.getpid(), self._by)

    def note(self, word: str, delivery_id: str) -> None:
        """Into the journal; what is written there outlives the process."""
        os.write(self._journal, f"{word} {delivery_id}\n".encode())


def wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put something around a function of the sink's own."""
    inner = getattr(owner, name)
    setattr(owner, name, functools.wraps(inner)(wrapper(inner)))


def around_the_ledger(death: Death) -> None:
    def begin(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def begun(self: Attempts, message: Mapping[str, Any]) -> Any:
            death.note("taken", message["delivery_id"])
            death.passed("taken")
            result = await inner(self, message)
            if isinstance(result, Begun):
                death.passed("begun")
            return result

        return begun

    def finish(inner: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
        async def finished(self: Attempts, begun: Begun, outcome: Any) -> bool:
            entered = await inner(self, begun, outcome)
            death.note("entered" if entered else "overtaken", begun.delivery_id)
            death.passed("entered")
            return entered

        return finished

    wrap(Attempts, "begin", begin)
    wrap(Attempts, "finish", finish)


def around_the_calls(death: Death, channel: Any) -> None:
    def send(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def sent(self: Any, message: Mapping[str, Any], content: Mapping[str, Any]) -> Any:
            death.note("calling", message["delivery_id"])
            death.passed("calling")
            if death.is_due("on_its_way"):
                asyncio.get_running_loop().call_later(death.delay_seconds, death.come)
            try:
                answer = await inner(self, message, content)
            except OutcomeUnknown:
                death.note("unanswered", message["delivery_id"])
                raise
            death.passed("answered")
            return answer

        return sent

    def find(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def found(self: Any, *asked: Any) -> Any:
            death.passed("asking")
            answer = await inner(self, *asked)
            death.passed("asked")
            return answer

        return found

    wrap(channel, "send", send)
    wrap(channel, "find", find)


def around_the_log(death: Death) -> None:
    def after(step: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def wrapper(inner: Callable[..., None]) -> Callable[..., None]:
            def done(*given: Any) -> None:
                inner(*given)
                death.passed(step)

            return done

        return wrapper

    def finish(inner: Callable[[Taken], None]) -> Callable[[Taken], None]:
        def finished(self: Taken) -> None:
            death.passed("acknowledged")
            inner(self)
            death.passed("finished")

        return finished

    wrap(DeliveryLife, "ended", after("told"))
    wrap(Taken, "finish", finish)
    wrap(Assignment, "committed", after("committed"))


def as_member(name: str) -> None:
    def wrapper(inner: Callable[..., Any]) -> Callable[..., Any]:
        def named(*given: Any, **overrides: Any) -> Any:
            return inner(*given, **overrides, group_instance_id=name)

        return named

    wrap(lanes, "make_consumer", wrapper)


if __name__ == "__main__":
    end_with_parent()
    module, name = CHANNELS[sys.argv[1]]
    death = Death(os.environ)
    around_the_ledger(death)
    around_the_calls(death, getattr(import_module(module), name))
    around_the_log(death)
    if member := os.environ.get("DIE_MEMBER"):
        as_member(member)
    main()
