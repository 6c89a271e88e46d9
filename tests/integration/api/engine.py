"""A ClickHouse with our tables and some rows, in a process of its own: `python -m tests.integration.api.engine`.

Rows come on standard input, as JSON: table → list of objects. Says READY and its port; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

from connectors.clickhouse import sms_prices
from connectors.clickhouse.client import apply_ddl, engine_directory, open_client
from connectors.clickhouse.endpoint import ensure_password, make_app
from connectors.clickhouse.tables import DATABASE
from connectors.settings import Settings


def fill(settings: Settings, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Make the tables and put the rows in."""
    client = open_client(settings)
    apply_ddl(client, sms_prices.load(settings.sms_prices_file))
    for table, objects in rows.items():
        numbered = [{"_topic_id": table, "_partition": 0, "_offset": n, **one} for n, one in enumerate(objects)]
        client.raw_insert(
            f"{DATABASE}.{table}",
            insert_block="\n".join(map(json.dumps, numbered)).encode(),
            column_names=list(numbered[0]),
            fmt="JSONEachRow",
            settings={"date_time_input_format": "best_effort"},
        )
    client.close()


async def serve(settings: Settings) -> None:
    """Until standard input ends."""
    runner = web.AppRunner(make_app(engine_directory(settings) / "data", ensure_password(settings)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("READY", runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await runner.cleanup()


if __name__ == "__main__":
    own = Settings()
    fill(own, json.loads(sys.stdin.readline()))
    asyncio.run(serve(own))
