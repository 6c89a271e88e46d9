"""``make test`` spreads the tests over processes: what shares the session's stack stays in one of them, one after another.

Topics and consumer groups have fixed names, so two tests on one broker would take each other's messages. Whatever asks for the
``stack`` fixture, by whichever way, is therefore one group; of the rest (rules, and tests that start a stack of their own) each
module is a group, and a process that has nothing to do takes the next. Nobody keeps a list: the processes find out what asks for
what when they collect, and leave word for the one that hands out the work.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARED = "stack"
_FOLDER = "groups_folder"


def group(nodeid: str, fixtures: Sequence[str]) -> str:
    """Tests of one group run in one process, in the order of the collection."""
    return SHARED if SHARED in fixtures else nodeid.partition("::")[0]


def rank(of: str) -> int:
    """In which order groups are begun: the long chain first, then what starts processes, then what fills the gaps."""
    return 0 if of == SHARED else 2 if of.startswith("tests/unit/") else 1


class Groups(LoadScopeScheduling):
    """xdist's own scheduling by scopes, where a scope is a group."""

    def __init__(self, config: pytest.Config, log: Any, folder: Path) -> None:
        super().__init__(config, log)
        self._folder = folder
        self._groups: Mapping[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        if not self._groups:
            self._groups = json.loads(next(self._folder.glob("*.json")).read_text(encoding="utf-8"))
        return self._groups[nodeid]


class Spreading:
    """The hooks of the process that hands out the work."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="luxe-groups-")

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_FOLDER] = self._folder.name

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Groups:
        config.option.loadscopereorder = False  # the order is ours, see `rank`
        return Groups(config, log, Path(self._folder.name))

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


def collected(config: Any, items: list[pytest.Item]) -> None:
    """In a process that runs tests: order them, and leave word of their groups."""
    groups = {item.nodeid: group(item.nodeid, getattr(item, "fixturenames", ())) for item in items}
    items.sort(key=lambda item: rank(groups[item.nodeid]))
    draft = Path(config.workerinput[_FOLDER]) / config.workerinput["workerid"]
    draft.write_text(json.dumps(groups), encoding="utf-8")
    draft.rename(draft.with_suffix(".json"))
