"""``luxe send``: ask for a notification by hand, as the API is asked: the same body, the same checks, the same pipeline."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TextIO

import click
import orjson
import psycopg

from api.asking import Made, NewNotification, ask
from api.bodies import parsed
from api.identity import EVERY_CLINIC, Identity
from api.preference_model import milliseconds
from api.problems import Problem
from cli.database import in_database, operator
from connectors.postgres import outbox
from connectors.postgres.outbox import OutboxDelayed
from connectors.postgres.records import Records
from connectors.settings import Settings

MAX_BODY_CHARACTERS = 256 * 1024


@click.command("send")
@click.argument("body", type=click.File("r", encoding="utf-8"))
@click.option(
    "--key", metavar="KEY", help="The same key with the same body is sent once. Default: a new one each time."
)
@click.option("--json", "as_json", is_flag=True, help="JSON of what was asked for.")
def command(body: TextIO, key: str | None, as_json: bool) -> None:
    """Send one notification: BODY is a file with the body of POST /v1/notifications (`-`: standard input).

    What is said is PHI, so it is never an option: every user of a machine sees those. Sent in the name of an admin.

    \b
    echo '{"recipient": "patient:p-0001", "message": "Your forms are ready."}' | luxe send -
    luxe send request.json --key forms-2026-11-28-p-0001
    """
    used = key or str(uuid.uuid4())
    settings = Settings()
    try:
        wanted = parsed(NewNotification, orjson.loads(body.read(MAX_BODY_CHARACTERS)))
        identity = Identity(f"cli-{operator()}", "admin", frozenset({EVERY_CLINIC}))

        async def work(connection: psycopg.AsyncConnection, records: Records) -> Made:
            async with connection.transaction():
                made = await ask(connection, records, wanted, used, identity, milliseconds(datetime.now(UTC)))
            await outbox.published(connection, made.outbox_ids, settings.api_in_force_seconds)
            return made

        made = in_database(settings, work)
    except orjson.JSONDecodeError as error:
        raise click.ClickException(f"the body is no JSON (line {error.lineno}); see docs/api.md for one") from None
    except Problem as problem:
        lines = [problem.detail or str(problem), *map(str, problem.violations)]
        raise click.ClickException("\n  ".join(lines)) from None
    except OutboxDelayed as error:
        raise click.ClickException(f"{error}\n  next: the same again, with `--key {used}`, once they run") from error
    asked = made.asked
    if as_json:
        told = {"notification_id": asked.notification_id, "notification_type": asked.notification_type, "key": used}
        click.echo(json.dumps(told | {"again": made.again}))
        return
    click.echo(f"{asked.notification_id}  {asked.notification_type}{'  (asked for before)' if made.again else ''}")
    click.echo(f"`luxe explain {asked.notification_id}` tells in a moment what became of it", err=True)
