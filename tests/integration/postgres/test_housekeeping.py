"""Housekeeping comes round twice a minute for ever: what it looks for is found by an index, however large a table grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString, cast

import psycopg
import pytest

from connectors.postgres.housekeeping import keep_house
from connectors.settings import Settings

pytestmark = pytest.mark.integration


class Planned:
    """A connection that keeps the plan of everything executed; a whole table is read only where nothing else is possible."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        connection.execute("SET enable_seqscan = off")
        self.whole: set[str] = set()

    def execute(self, query: LiteralString, parameters: tuple[Any, ...] = ()) -> psycopg.Cursor:
        row = self._connection.execute("EXPLAIN (FORMAT JSON) " + query, parameters).fetchone()
        assert row is not None
        self.whole |= {node["Relation Name"] for node in nodes(row[0][0]["Plan"]) if node["Node Type"] == "Seq Scan"}
        return self._connection.execute(query, parameters)


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_nothing_is_looked_for_in_a_whole_table(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        planned = Planned(connection)
        keep_house(cast(psycopg.Connection, planned))
    assert planned.whole == set()
