"""How long the chaos tests run: the short form in ``make test``, the full one in ``make chaos``."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the full form was asked for (LUXE_CHAOS=full)."""
    return os.environ.get("LUXE_CHAOS", "short") == "full"
