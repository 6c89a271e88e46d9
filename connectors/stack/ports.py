"""Ports: the defaults where they are free, others where they are not, and the same ones again at the next start."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping

from connectors.stack.errors import PortTaken

LOOPBACK = "127.0.0.1"

DEFAULT_PORTS: dict[str, int] = {
    "kafka": 19092,
    "kafka-controller": 19093,
    "postgres": 15432,
    "loopback": 18200,
    "clickhouse": 18123,
    "webhooks": 18090,
    "api": 18080,
}


def is_free(port: int) -> bool:
    """Whether something could listen on this port of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As servers do: a port that only lingers after a closed connection is free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(excluding: Collection[int] = ()) -> int:
    """A port of loopback that nothing listens on, chosen by the kernel."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            candidate.bind((LOOPBACK, 0))
            port = int(candidate.getsockname()[1])
        if port not in excluding:
            return port


def unclaimed(_port: int) -> bool:
    """What ``choose_ports`` takes to be so where nobody else starts anything."""
    return True


def choose_ports(
    previous: Mapping[str, int],
    explicit: Mapping[str, int],
    ours: Collection[str],
    *,
    anywhere: bool = False,
    claim: Callable[[int], bool] = unclaimed,
) -> dict[str, int]:
    """A port for every name in DEFAULT_PORTS.

    ``previous`` are the last start's, ``ours`` the names whose port our own running process holds (kept as they are).
    ``anywhere`` prefers any free port to the default. ``claim`` says whether a free one may be had, and keeps it from others that
    are starting too. Raises PortTaken when an ``explicit`` one is in use.
    """
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        if name in ours and explicit.get(name, previous.get(name)) == previous.get(name):
            chosen[name] = previous[name]
        elif name in explicit:
            if not (is_free(explicit[name]) and claim(explicit[name])):
                raise PortTaken(
                    f"port {explicit[name]}, asked for {name}, is in use by another program or a stack that is being started",
                    f"stop that program, or leave out --port {name}=… and a free one is chosen",
                )
            chosen[name] = explicit[name]
        else:
            wanted = previous.get(name, 0 if anywhere else default)
            taken = {*chosen.values(), *explicit.values()}
            usable = wanted and wanted not in taken and is_free(wanted) and claim(wanted)
            chosen[name] = wanted if usable else _any_port(taken, claim)
    return chosen


def _any_port(taken: Collection[int], claim: Callable[[int], bool]) -> int:
    while not claim(port := free_port(taken)):
        pass
    return port
