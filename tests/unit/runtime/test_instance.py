"""Who a worker is: the first free slot, its own while it lives."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.runtime import FatalError
from streams.runtime.instance import claim


def test_workers_of_one_host_take_slots_and_a_dead_ones_is_taken_again(tmp_path: Path) -> None:
    first, second = claim(tmp_path, "intake", None), claim(tmp_path, "intake", None)
    assert first.member_id != second.member_id
    assert first.folder != second.folder
    first.lock.close()  # as the kernel does it when the process dies
    again = claim(tmp_path, "intake", None)
    assert (again.member_id, again.folder) == (first.member_id, first.folder)
    assert claim(tmp_path, "notify", None).folder != again.folder


def test_a_wanted_instance_that_is_taken_is_refused(tmp_path: Path) -> None:
    held = claim(tmp_path, "intake", "pod-1")
    assert held.member_id == "pod-1"
    with pytest.raises(FatalError, match="pod-1 is taken"):
        claim(tmp_path, "intake", "pod-1")
