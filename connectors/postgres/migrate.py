"""Migrations: numbered SQL files, each applied once, in order, in a transaction of its own.

A file is never changed once applied anywhere: its checksum is kept, and a different one is an error, not a surprise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import psycopg

from connectors.postgres.pool import connect, where
from connectors.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
_FILE_NAME = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
# Any constant of ours: two `luxe up` at once must not both create the tables.
_MIGRATE_LOCK = 7305808869232274


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message names the migration and the mend."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def migrations_in(directory: Path = MIGRATIONS) -> list[Migration]:
    """All migrations, by number. Raises MigrationError for a misnamed file or a number used twice."""
    found: dict[int, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: name it NNNN_what_it_does.sql")
        migration = Migration(int(match[1]), match[2], path.read_text())
        if migration.version in found:
            raise MigrationError(f"{path.name}: number {match[1]} is taken by {found[migration.version]}.sql")
        found[migration.version] = migration
    return [found[version] for version in sorted(found)]


def migrate(settings: Settings, directory: Path = MIGRATIONS, say: Callable[[str], None] = click.echo) -> int:
    """Bring the schema up to date; how many migrations were applied. Safe to run from several places at once.

    Raises MigrationError, psycopg.OperationalError when the server is away.
    """
    migrations = migrations_in(directory)
    with connect(settings, "migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATE_LOCK,))
        connection.execute(
            """CREATE TABLE IF NOT EXISTS schema_migrations (
                   version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
                   applied_at timestamptz NOT NULL DEFAULT now())"""
        )
        pending = _pending(connection, migrations)
        for number, migration in enumerate(pending, 1):
            _apply(connection, migration)
            say(f"postgres: applied {migration} ({number}/{len(pending)})")
    if not pending:
        say(f"postgres: schema at {where(settings)} is up to date")
    return len(pending)


def _pending(connection: psycopg.Connection, migrations: list[Migration]) -> list[Migration]:
    applied: dict[int, tuple[str, str]] = {
        version: (name, checksum)
        for version, name, checksum in connection.execute("SELECT version, name, checksum FROM schema_migrations")
    }
    for version in applied.keys() - {migration.version for migration in migrations}:
        raise MigrationError(
            f"the database has migration {version:04d}_{applied[version][0]}, this program does not: it is older than "
            "the database; install the version that made it, or a newer one"
        )
    for migration in migrations:
        if migration.version in applied and applied[migration.version][1] != migration.checksum:
            raise MigrationError(
                f"{migration}.sql differs from what was applied to this database; restore the file, and put the change "
                "into a migration of its own"
            )
    return [migration for migration in migrations if migration.version not in applied]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.checksum),
            )
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationError(
            f"{migration}.sql failed and was rolled back: {error.diag.message_primary}; mend it and run again"
        ) from error
