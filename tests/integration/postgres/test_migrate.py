"""Migrations: applied once, in order, whole or not at all; what was applied is never changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from connectors.postgres.migrate import MIGRATIONS, MigrationError, migrate, migrations_in
from connectors.settings import Settings
from tests.conftest import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def empty(stack: Stack, tmp_path: Path) -> Settings:
    return stack.settings_for(tmp_path / "state", postgres_dsn=SecretStr(stack.new_database()))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (id int); INSERT INTO one VALUES (1);")
    (tmp_path / "0100_two.sql").write_text("CREATE TABLE two (id int);")
    return tmp_path


def tables(settings: Settings) -> list[str]:
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def test_several_at_once_apply_each_once(empty: Settings) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: migrate(empty, say=said.append), range(4)))
    assert sorted(counts) == [0, 0, 0, len(migrations_in(MIGRATIONS))]
    assert {"outbox", "recipients", "data_keys", "deliveries"} <= set(tables(empty))
    assert "postgres: applied 0001_outbox (1/" in said[0]


def test_one_that_fails_leaves_nothing_of_itself(empty: Settings, directory: Path) -> None:
    (directory / "0101_broken.sql").write_text("CREATE TABLE three (id int); SELECT no_such_column;")
    with pytest.raises(MigrationError, match=r"0101_broken\.sql failed and was rolled back"):
        migrate(empty, directory, say=lambda line: None)
    assert tables(empty) == ["one", "schema_migrations", "two"]
    (directory / "0101_broken.sql").write_text("CREATE TABLE three (id int)")
    assert migrate(empty, directory, say=lambda line: None) == 1


def test_a_lower_number_that_comes_later_is_applied_too(empty: Settings, directory: Path) -> None:
    migrate(empty, directory, say=lambda line: None)
    (directory / "0002_late.sql").write_text("CREATE TABLE late (id int)")
    assert migrate(empty, directory, say=lambda line: None) == 1


def test_a_changed_file_is_an_error(empty: Settings, directory: Path) -> None:
    migrate(empty, directory, say=lambda line: None)
    (directory / "0001_one.sql").write_text("CREATE TABLE one (id bigint)")
    with pytest.raises(MigrationError, match=r"0001_one\.sql differs"):
        migrate(empty, directory, say=lambda line: None)


def test_an_older_program_does_not_touch_a_newer_database(empty: Settings, directory: Path) -> None:
    migrate(empty, directory, say=lambda line: None)
    (directory / "0100_two.sql").unlink()
    with pytest.raises(MigrationError, match="older than the database"):
        migrate(empty, directory, say=lambda line: None)


def test_misnamed_and_doubled_files_are_errors(directory: Path) -> None:
    (directory / "1_x.sql").touch()
    with pytest.raises(MigrationError, match="NNNN"):
        migrations_in(directory)
    (directory / "1_x.sql").rename(directory / "0001_x.sql")
    with pytest.raises(MigrationError, match="taken by 0001_one"):
        migrations_in(directory)
