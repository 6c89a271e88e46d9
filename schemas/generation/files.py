"""Which files are generated, and what must stand in them."""

from __future__ import annotations

from pathlib import Path

from schemas.definitions import ROOT, definitions
from schemas.events import EVENT_TYPES
from schemas.generation.event_models import models_module
from schemas.generation.reference import reference
from schemas.generation.typed_dicts import records_module

REFERENCE_PATH = ROOT.parent / "docs" / "schema-reference.md"
MODELS_ROOT = ROOT / "models"
RECORDS_PATH = ROOT / "records.py"

# Written by hand, in the folder of the generated ones.
_BY_HAND = frozenset({"__init__.py", "base.py"})


def model_files() -> dict[Path, str]:
    """Python files generated from the schemas, with their text."""
    records = definitions()
    found = {
        RECORDS_PATH: records_module(schema for name, schema in records.items() if name.startswith("luxe.pipeline."))
    }
    aggregates = sorted({event_type.split(".", 1)[0] for event_type in EVENT_TYPES})
    for aggregate in aggregates:
        found[MODELS_ROOT / f"{aggregate}.py"] = models_module(
            aggregate,
            {
                event_type: records[contract.record]
                for event_type, contract in EVENT_TYPES.items()
                if event_type.startswith(f"{aggregate}.")
            },
        )
    return found


def reference_text() -> str:
    """Text of docs/schema-reference.md."""
    return reference(definitions())


def stale(files: dict[Path, str]) -> list[Path]:
    """Those whose text on disk is another, and model files of aggregates that are gone."""
    differing = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if MODELS_ROOT in {path.parent for path in files}:
        differing += [
            path for path in sorted(MODELS_ROOT.glob("*.py")) if path not in files and path.name not in _BY_HAND
        ]
    return differing
