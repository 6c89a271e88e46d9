"""Events with every field of their schema, their aggregates' versions counted: what a practice system's connector would send."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connectors.demo.people import CLINIC_ID
from schemas.definitions import definition
from schemas.events import ENVELOPE, EVENT_TYPES


class Envelopes:
    """Makes events. ``run``: names them, so that another run's are others; the same run's are the same at every time."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._versions: dict[tuple[str, str], int] = {}

    def event(
        self, event_type: str, at: datetime, subject: str, about: Mapping[str, Any], **payload: Any
    ) -> dict[str, Any]:
        """An event that happens ``at`` (aware). Each field is given, taken from ``about``, its default, or null."""
        aggregate = event_type.split(".", 1)[0]
        version = self._versions[aggregate, subject] = self._versions.get((aggregate, subject), 0) + 1
        contract = EVENT_TYPES[event_type]
        value: dict[str, Any] = {
            "event_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"luxe-demo/{self._run}/{event_type}/{subject}/{version}")),
            "event_type": event_type,
            "occurred_at": at,
            "schema_version": "1.0",
            "source": "luxe-demo",
            "correlation_id": f"demo-{self._run}",
            "clinic_id": CLINIC_ID,
            "aggregate_id": subject,
            "aggregate_version": version,
            "metadata": {},
        }
        for schema_field in definition(contract.record)["fields"]:
            name = schema_field["name"]
            if name in ENVELOPE:
                continue
            if name in payload or name in about:
                value[name] = payload.get(name, about.get(name))
            else:
                value[name] = schema_field.get("default")
        return value
