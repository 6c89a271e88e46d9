"""Was it a person who followed a link, or a machine that looks ahead? Pure; what machines look like is data (machines.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml

# Mail gateways open every link before they hand an email over; nobody reads that fast.
SCANNED_SECONDS = 10.0


class _Known(NamedTuple):
    parts: tuple[str, ...]
    whole: frozenset[str]
    prefetch: Mapping[str, tuple[str, ...]]


@cache
def _known() -> _Known:
    found = yaml.safe_load((files("connectors.short_links") / "machines.yaml").read_text(encoding="utf-8"))
    prefetch = {name: tuple(words) for name, words in found["prefetch_headers"].items()}
    return _Known(tuple(found["user_agents"]), frozenset(found["user_agents_exactly"]), prefetch)


def is_machine(method: str, headers: Mapping[str, str], channel: str, since_sent_seconds: float) -> bool:
    """Whether it looks like one. ``headers``: of the request, found by any spelling of their names.

    In doubt it is a machine: who counts people must not count these.
    """
    known = _known()
    if method != "GET":
        return True
    for name, words in known.prefetch.items():
        said = headers.get(name, "").lower()
        if any(word in said for word in words):
            return True
    agent = headers.get("User-Agent", "").strip().lower()
    if not agent or agent in known.whole or any(part in agent for part in known.parts):
        return True
    return channel == "email" and since_sent_seconds < SCANNED_SECONDS
