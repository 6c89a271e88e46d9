"""Pydantic models of the domain events, a module an aggregate, imported when first asked for."""

from __future__ import annotations

import importlib

from schemas.definitions import UnknownRecordError
from schemas.events import EVENT_TYPES
from schemas.models.base import Event


def model_of(event_type: str) -> type[Event]:
    """Model of an event type. Raises UnknownRecordError."""
    if event_type not in EVENT_TYPES:
        raise UnknownRecordError(f"no event type {event_type!r}; `luxe schemas list` shows them")
    module = importlib.import_module(f"schemas.models.{event_type.split('.', 1)[0]}")
    model: type[Event] = getattr(module, EVENT_TYPES[event_type].record.rsplit(".", 1)[-1])
    return model
