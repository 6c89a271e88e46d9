"""Stores of both kinds: what is asked of one is asked of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from streams.runtime.memory_store import MemoryStore
from streams.runtime.store import Rows, Store, block_cache
from streams.runtime.tuning import Tuning


@pytest.fixture(params=["RocksDB", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    tuning = Tuning()
    made = (
        nullcontext(MemoryStore())
        if request.param == "memory"
        else closing(Store(tmp_path / "store", tuning, block_cache(tuning)))
    )
    with made as opened:
        yield opened
