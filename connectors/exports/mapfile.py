"""The map file: which column becomes which field of which event. Validated whole before the first row is read."""

from __future__ import annotations

import string
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.definitions import definition
from schemas.events import ENVELOPE, EVENT_TYPES

CellType = Literal["string", "integer", "decimal", "boolean", "date", "time", "instant", "identifier", "phone"]


class MapError(Exception):
    """The map file cannot be used; the message names the place in it and the mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Spread(_Strict):
    """A declared rule for a time of day that the file lacks: spread over a working day by the digits of a column.

    The same row gets the same time at every run. Times are ``start``, ``start + step``, … before ``end``.
    """

    by: str = Field(description="Column whose digits choose the slot, e.g. the appointment's id.")
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "08:00"
    end: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "18:00"
    step_minutes: int = Field(20, ge=1, le=720)


class Digits(_Strict):
    """A declared rule for a number that the file lacks: the last digits of a column, filled up with zeros in front."""

    by: str
    count: int = Field(ge=1, le=15)


class Expression(_Strict):
    """Where one field's value comes from: a column, a constant, or a declared rule; then its type and its bounds."""

    column: str | None = None
    constant: Any = None
    spread: Spread | None = None
    digits: Digits | None = None
    template: str | None = Field(None, description="Text with {column} in it, e.g. 'Patient {PatientId}'.")
    type: CellType = "string"
    format: str | None = Field(None, description="strptime format of a date, time or instant; default ISO 8601.")
    values: dict[str, Any] | None = Field(None, description="Cell → value; a cell that is not listed is rejected.")
    prefix: str = ""
    optional: bool = Field(False, description="An empty cell is null instead of a rejection.")
    shift: bool = Field(False, description="Move this date or instant by the file's shift.")
    at_most_now: bool = Field(False, description="An instant that the shift moved past now becomes now.")

    @model_validator(mode="after")
    def _one_source(self) -> Expression:
        given = [name for name in ("column", "spread", "digits", "template") if getattr(self, name) is not None]
        if len(given) + ("constant" in self.model_fields_set) != 1:
            raise ValueError("give exactly one of column, constant, spread, digits, template")
        if self.shift and self.type not in ("date", "instant"):
            raise ValueError("shift: only dates and instants can be moved; say type: date or instant")
        return self


class Check(_Strict):
    """What must hold of a row, else it is rejected with ``reason``."""

    column: str
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    not_before: str | None = Field(None, description="Another column: this one's date must not lie before its date.")
    reason: str


class Shift(_Strict):
    """Moves the file's dates as one: by days, or so that the earliest date of a column lands on a day."""

    days: int | None = None
    column: str | None = None
    earliest_on: date | Literal["tomorrow"] | None = None
    format: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Shift:
        if (self.days is None) == (self.column is None or self.earliest_on is None):
            raise ValueError("give days, or column with earliest_on")
        return self


class When(_Strict):
    """Only rows whose column has one of these cells."""

    column: str
    equals: list[str] = Field(min_length=1)


class EventMap(_Strict):
    """One event for each row (that ``when`` lets through)."""

    type: str
    when: When | None = None
    aggregate_id: Expression
    aggregate_version: Expression = Expression(constant=1, type="integer")
    occurred_at: Expression
    fields: dict[str, Expression]

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in EVENT_TYPES:
            raise ValueError("no such event type; `luxe schemas list` shows them")
        return value

    @model_validator(mode="after")
    def _covers_the_schema(self) -> EventMap:
        schema = definition(EVENT_TYPES[self.type].record)
        payload = {f["name"]: f for f in schema["fields"] if f["name"] not in ENVELOPE}
        unknown = sorted(set(self.fields) - set(payload))
        missing = sorted(name for name, f in payload.items() if "default" not in f and name not in self.fields)
        if unknown:
            raise ValueError(f"{self.type} has no field {', '.join(unknown)}")
        if missing:
            raise ValueError(f"{self.type} needs {', '.join(missing)}; give a column, constant or rule for each")
        return self


class ExportMap(_Strict):
    """The whole map."""

    source: str = Field(min_length=1, description="Name of the practice system, into every event.")
    clinic_id: str = Field(min_length=1)
    time_zone: str = Field(description="IANA zone of the file's local times.")
    encoding: str = "utf-8"
    delimiter: str = Field(",", min_length=1, max_length=1)
    shift: Shift | None = None
    checks: list[Check] = []
    events: list[EventMap] = Field(min_length=1)
    recipients: dict[str, Expression] | None = Field(
        None, description="Columns of `luxe recipients import`, one recipient for each distinct recipient_id."
    )

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("no such IANA time zone, e.g. America/New_York") from error
        return value

    @model_validator(mode="after")
    def _recipients_have_ids(self) -> ExportMap:
        if self.recipients is not None and "recipient_id" not in self.recipients:
            raise ValueError("recipients: recipient_id is missing; say which column it is")
        return self

    def columns(self) -> set[str]:
        """Every column that the map names."""
        named: set[str] = {check.column for check in self.checks}
        named |= {check.not_before for check in self.checks if check.not_before}
        if self.shift and self.shift.column:
            named.add(self.shift.column)
        expressions: list[Expression] = list((self.recipients or {}).values())
        for event in self.events:
            expressions += [event.aggregate_id, event.aggregate_version, event.occurred_at, *event.fields.values()]
            if event.when:
                named.add(event.when.column)
        for expression in expressions:
            named |= {expression.column} if expression.column else set()
            named |= {rule.by for rule in (expression.spread, expression.digits) if rule is not None}
            named |= set(template_columns(expression.template)) if expression.template else set()
        return named


def template_columns(template: str) -> list[str]:
    """The columns in a template."""
    return [column for _, column, _, _ in string.Formatter().parse(template) if column]


def read_map(path: Path) -> ExportMap:
    """Read and check a map file. Raises MapError."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"{path}: cannot be read ({type(error).__name__})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        raise MapError(f"{path}{place}: not YAML ({getattr(error, 'problem', type(error).__name__)})") from error
    try:
        return ExportMap.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the map"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise MapError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}{more}") from error
