"""What is done once between the stores' start and the pipeline's: keys, schema, topics, first rows.

``python -m connectors.stack.setup`` does it where something else starts the processes (the containers' one-shot).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from connectors.settings import Settings

# (label, function of the settings), in order. Every one is idempotent, for every start of the pipeline runs them all.
SETUP_STEPS: tuple[tuple[str, str], ...] = (
    ("keys", "connectors.sealing:ensure_key_ring"),
    ("postgres schema", "connectors.postgres.migrate:migrate"),
    ("topics", "connectors.kafka_admin:create_topics"),
    ("clinic and templates", "cli.setup:seed_defaults"),
)


def set_up(settings: Settings, tell: Callable[[str], None]) -> None:
    """Runs every step, telling each label before it. What a step raises goes on to the caller."""
    for label, target in SETUP_STEPS:
        tell(label)
        # By name: the last step is of a layer above, and a stack of stores alone needs none of these modules.
        module, _, function = target.partition(":")
        getattr(importlib.import_module(module), function)(settings)


if __name__ == "__main__":
    set_up(Settings(), lambda label: print(label, flush=True))
