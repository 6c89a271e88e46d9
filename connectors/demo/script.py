"""What happens to a made-up clinic, and when: events of its practice system, and people who change their minds. In due order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Told:
    """An event as its producer sends it. ``at_ms``: when, ms since the epoch. Never printed: it holds PHI."""

    at_ms: int
    event_type: str
    value: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wished:
    """A line of ``luxe recipients import`` about somebody: who they are at first, what they wish otherwise later."""

    at_ms: int
    cells: Mapping[str, str] = field(repr=False)


Happening: TypeAlias = Told | Wished
