"""Registering our schemas in an http registry: the only place that writes there."""

from __future__ import annotations

import json
from typing import NamedTuple

from schemas.compatibility import level_for
from schemas.definitions import versions
from schemas.registry import HttpRegistry


class PushOutcome(NamedTuple):
    """Of one subject: what was added (a line each), and how many versions were there already."""

    added: list[str]
    kept: int


def push_subject(registry: HttpRegistry, of_subject: str, name: str, *, dry_run: bool) -> PushOutcome:
    """Register the versions of a record under a subject, oldest first, and set the subject's compatibility.

    Raises RegistryError where the registry refuses or cannot be reached.
    """
    added, kept = [], 0
    level = level_for(name)
    for number, text in enumerate(versions(name), start=1):
        if registry.find(of_subject, text) is not None:
            kept += 1
            continue
        if dry_run:
            added.append(f"{of_subject} version {number} ({level})")
            continue
        if not added:
            registry.set_compatibility(of_subject, level)
        schema_id = registry.register(of_subject, json.dumps(text, ensure_ascii=False))
        added.append(f"{of_subject} version {number} → id {schema_id} ({level})")
    return PushOutcome(added, kept)
