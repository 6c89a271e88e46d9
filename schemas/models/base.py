"""What every event model shares: the envelope, the schemas' constraints, and printing without PHI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.validation import violations


class Event(BaseModel):
    """A domain event. Validation is that of its schema; errors name fields and shapes, never values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    RECORD: ClassVar[str] = ""

    event_id: str
    event_type: str
    occurred_at: AwareDatetime
    schema_version: str = "1.0"
    source: str
    correlation_id: str | None = None
    clinic_id: str
    aggregate_id: str
    aggregate_version: int
    metadata: dict[str, str] = Field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The event as the codec takes it."""
        return {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        found = violations(self.RECORD, self.record())
        if found:
            raise ValueError("; ".join(map(str, found)))
        return self

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        # The base of every way pydantic prints a model.
        yield "event_id", self.event_id
