"""Segments as data: a YAML file, checked when a process starts; an error names the file, the line, the field and the mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors import lined_yaml

SHIPPED = Path(__file__).parent / "segments.yaml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

# People of one transaction: 500 are ~60 ms of work, for as long as which a run's row is held and nobody's outbox row.
DEFAULT_BATCH = 500


class Selection(NamedTuple):
    """A kind of selection. ``days``: bounds of its threshold; None where it has none. ``reads``: what of a patient it opens.

    ``needs_portal``: what it says leads to the clinic's portal; a clinic whose policy names none is not scanned.
    """

    event: str
    once_per: tuple[str, ...]
    days: tuple[int, int] | None
    reads: Literal["record", "standing"]
    needs_portal: bool = False


SELECTIONS: Mapping[str, Selection] = {
    "birthday": Selection("birthday.due", ("year",), None, "record"),
    # Below two weeks nobody is missed yet; past three years the data protection officer asks why we still write.
    "inactive": Selection("patient.inactive", ("absence", "year"), (14, 1095), "standing"),
    "credits_expiring": Selection("membership.credits_expiring", ("expiry",), (1, 60), "standing"),
    # Standings keep what was due for 150 days.
    "balance_open": Selection("payment.due", ("debt",), (1, 90), "standing"),
    "consent_expiring": Selection("consent.due", ("expiry",), (1, 90), "record", needs_portal=True),
}


class SegmentsError(Exception):
    """The segments cannot be used. One line a fault: ``file:line: field: what is wrong: what to do``."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Offer(_Model):
    """What the event offers. ``days``: how many days after the occasion it ends."""

    code: str | None = Field(None, min_length=1, max_length=64)
    text: str | None = Field(None, min_length=1, max_length=200)
    days: int | None = Field(None, ge=1, le=365)


class Override(_Model):
    """What one clinic wants otherwise."""

    enabled: bool | None = None
    days: int | None = None
    hour: int | None = Field(None, ge=0, le=23)
    offer: Offer | None = None


class Segment(_Model):
    """One segment. ``hour``: of the clinic's day, 0 to 23. ``days``: the selection's threshold. ``batch``: people at a time."""

    name: str
    about: str = Field(min_length=1, max_length=120)
    selection: str
    event: str
    once_per: str
    hour: int = Field(ge=0, le=23)
    useful_days: int = Field(ge=0, le=28)
    days: int | None = None
    batch: int = Field(DEFAULT_BATCH, ge=1, le=2_000)
    enabled: bool = True
    offer: Offer = Offer()
    clinics: dict[str, Override] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_possible(self) -> Segment:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name it in small letters, digits and underscores, at most 40")
        kind = SELECTIONS.get(self.selection)
        if kind is None:
            raise ValueError(f"selection: write one of {', '.join(SELECTIONS)}")
        if self.event != kind.event:
            raise ValueError(f"event: {self.selection} is told by {kind.event}: write that")
        if self.once_per not in kind.once_per:
            raise ValueError(f"once_per: write one of {', '.join(kind.once_per)}")
        wanted = [self.days, *(one.days for one in self.clinics.values() if one.days is not None)]
        if kind.days is None and wanted != [None]:
            raise ValueError(f"days: {self.selection} has no threshold: remove it")
        if kind.days is not None and not all(one is not None and kind.days[0] <= one <= kind.days[1] for one in wanted):
            raise ValueError(f"days: write {kind.days[0]} to {kind.days[1]}")
        return self

    @property
    def kind(self) -> Selection:
        """What the selection is like."""
        return SELECTIONS[self.selection]

    def at(self, clinic_id: str) -> Segment:
        """The segment as this clinic wants it."""
        override = self.clinics.get(clinic_id)
        if override is None:
            return self
        return self.model_copy(update=override.model_dump(exclude_none=True) | _offer(override))


def _offer(override: Override) -> dict[str, Offer]:
    return {} if override.offer is None else {"offer": override.offer}


def load(path: Path | None = None) -> tuple[Segment, ...]:
    """The segments of a file, in its order; None: those shipped. Raises SegmentsError."""
    file = path or SHIPPED
    found, lines = lined_yaml.read(file, SegmentsError)
    if not isinstance(found, dict) or list(found) != ["segments"] or not isinstance(found["segments"], dict):
        raise SegmentsError(f"{file}:1: expected a mapping `segments` of names to segments, and nothing else")
    segments, faults = [], []
    for name, value in found["segments"].items():
        at = ("segments", name)
        if not isinstance(value, dict):
            faults.append(f"{file}:{lines[at]}: segments.{name}: expected a mapping")
            continue
        try:
            segments.append(Segment.model_validate({**value, "name": name}))
        except ValidationError as error:
            faults += [
                lined_yaml.told(file, at, lines, fault, "docs/segments.md") for fault in error.errors(include_url=False)
            ]
    if faults:
        raise SegmentsError("\n".join(faults))
    return tuple(segments)
