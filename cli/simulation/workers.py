"""Partitions of patients shared out among processes. What comes of them is the same, however many work on them."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Protocol

from cli.simulation.outcome import Outcome
from cli.simulation.parts import Alarm, Given
from cli.simulation.second_hop import SecondHop

# Nearly all that is made is either gone at once or kept to the end: collections find little, and took six parts in a hundred.
_THRESHOLDS = (10_000, 10, 30)


class WorkerLost(Exception):
    """A process ended before its work did; its own error stands on stderr. The message says which."""


class Worker(Protocol):
    """Whoever works on some of the partitions: told what to do first, asked what came of it later."""

    def give(self, until_ms: int, given: Mapping[int, list[Given]]) -> None:
        """Lets time pass to before ``until_ms`` in its partitions."""

    def take(self) -> list[Alarm]:
        """What was raised in the earliest time that was given and not yet asked for. Raises WorkerLost."""

    def finish(self, now_ms: int) -> list[tuple[int, Outcome]]:
        """The simulation is over: partition and outcome of each. Raises WorkerLost."""


@contextmanager
def working(hops: Sequence[SecondHop], workers: int) -> Iterator[list[Worker]]:
    """``workers`` processes for these partitions, ended on leaving; one works in this process.

    Processes are forked, so that they share what was made before; no other thread may run then. Where a system cannot fork, this
    process does the work.
    """
    gc.collect()
    gc.freeze()  # what was made before stays: no collection need look at it, nor copy what processes share
    thresholds = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    made: list[_Process] = []
    try:
        if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
            yield [Here(hops)]
            return
        for number in range(workers):
            made.append(_Process(hops[number::workers], [one.connection for one in made]))
        yield list(made)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        for one in made:
            one.end()


class Here:
    """A worker in this process."""

    def __init__(self, hops: Sequence[SecondHop]) -> None:
        self._hops = hops
        self._raised: list[list[Alarm]] = []

    def give(self, until_ms: int, given: Mapping[int, list[Given]]) -> None:
        """Works at once."""
        self._raised.append([alarm for hop in self._hops for alarm in hop.run(until_ms, given.get(hop.part, ()))])

    def take(self) -> list[Alarm]:
        """See ``Worker``."""
        return self._raised.pop(0)

    def finish(self, now_ms: int) -> list[tuple[int, Outcome]]:
        """See ``Worker``."""
        return [(hop.part, hop.finish(now_ms)) for hop in self._hops]


class _Process:
    def __init__(self, hops: Sequence[SecondHop], others: Sequence[Connection]) -> None:
        context = multiprocessing.get_context("fork")
        self._parts = frozenset(hop.part for hop in hops)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, [*others, self.connection], hops), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, until_ms: int, given: Mapping[int, list[Given]]) -> None:
        own = {part: some for part, some in given.items() if part in self._parts}
        try:
            self.connection.send((until_ms, own))
        except OSError:
            raise self._lost() from None

    def take(self) -> list[Alarm]:
        try:
            alarms: list[Alarm] = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        return alarms

    def finish(self, now_ms: int) -> list[tuple[int, Outcome]]:
        try:
            self.connection.send((now_ms, None))
            found: list[tuple[int, Outcome]] = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        return found

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()

    def _lost(self) -> WorkerLost:
        self._process.join()
        return WorkerLost(f"a worker process ended with exit status {self._process.exitcode}; nothing was simulated")


def _work(connection: Connection, others: Sequence[Connection], hops: Sequence[SecondHop]) -> None:
    """What a process does, until it was asked for its outcomes or whoever gives it work is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives it work stops it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:  # open here too, since they were when it was forked: then nobody's end would be seen
        other.close()
    here = Here(hops)
    try:
        while True:
            at_ms, given = connection.recv()
            if given is None:
                connection.send(here.finish(at_ms))
                return
            here.give(at_ms, given)
            connection.send(here.take())
    except (EOFError, BrokenPipeError):
        return
