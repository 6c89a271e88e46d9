"""How a command works on the system of record: one connection, the key ring, and errors that say what to do."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import psycopg

from connectors.postgres.pool import connect_async, where
from connectors.postgres.records import Records
from connectors.sealing import KeyRingError, SealError
from connectors.settings import Settings
from schemas.registry import RegistryError

T = TypeVar("T")


def in_database(settings: Settings, work: Callable[[psycopg.AsyncConnection, Records], Awaitable[T]]) -> T:
    """Run ``work`` with a connection in autocommit mode. Raises click.ClickException where it cannot go on."""

    async def run() -> T:
        async with await connect_async(settings, "cli") as connection:
            return await work(connection, Records.open(settings))

    try:
        return asyncio.run(run())
    except psycopg.OperationalError as error:
        raise click.ClickException(
            f"Postgres at {where(settings)}: {type(error).__name__}; see that it runs (`luxe up`) and that LUXE_POSTGRES_DSN "
            "names it, then run this again"
        ) from None
    except psycopg.errors.UndefinedTable as error:
        raise click.ClickException(
            f"the schema of {where(settings)} is missing or old; `luxe up` brings it up to date"
        ) from error
    except psycopg.Error as error:
        # Not its text: that may quote the row.
        raise click.ClickException(
            f"Postgres at {where(settings)} refused a statement ({type(error).__name__}, {error.sqlstate}); nothing of it was "
            "stored; if it happens again, report it"
        ) from None
    except (KeyRingError, SealError, RegistryError) as error:
        raise click.ClickException(str(error)) from error


def operator() -> str:
    """Who runs this command, for the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
