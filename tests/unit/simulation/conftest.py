"""The checks of a simulation, told of one patient."""

from __future__ import annotations

import pytest

from cli.simulation.checks.every import Checks, checks_for
from cli.simulation.running import SIMULATED_POLICY
from tests.unit.simulation.seen import CATALOG, HER, ms


@pytest.fixture
def checks() -> Checks:
    made = checks_for(CATALOG, SIMULATED_POLICY)
    for onlooker in made.onlookers:
        onlooker.wished(HER, ms("2026-01-01T00:00"))
    return made
