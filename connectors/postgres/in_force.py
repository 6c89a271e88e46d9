"""Waiting until a change is in force: its outbox rows are in Kafka, and the relay has said so.

One connection a process listens to the relay (relay.py notifies ``luxe_outbox_published`` with the ids of each batch); whoever
waits asks Postgres nothing. Only what the listener may have missed, while it was away, is looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from psycopg import Notify

from connectors.postgres.outbox import OutboxDelayed
from connectors.postgres.pool import connect_async, where
from connectors.settings import Settings

log = logging.getLogger(__name__)

CHANNEL = "luxe_outbox_published"
# A row may be in Kafka before its writer begins to wait for it: so many of the last ones are remembered.
REMEMBERED_IDS = 20_000
# How late what was missed is noticed: by those who wait only, and only if the relay's word did not reach us.
LOOK_SECONDS = 0.25
FIRST_BACKOFF_SECONDS = 0.1
LAST_BACKOFF_SECONDS = 2.0


class _Wait:
    """Somebody's ids that are not in Kafka yet."""

    __slots__ = ("done", "left")

    def __init__(self, ids: set[int]) -> None:
        self.left = ids
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class InForce:
    """Who waits for which outbox rows. Made by ``open_in_force``."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._published: dict[int, None] = {}
        self._waiting: dict[int, list[_Wait]] = {}
        self._look_now = False

    async def wait(self, ids: Sequence[int], timeout_seconds: float) -> None:
        """Return once all these rows are in Kafka; call it after the commit. Raises OutboxDelayed.

        Then the change is perhaps stored, not yet in force, and safe to repeat.
        """
        left = {id_ for id_ in ids if id_ not in self._published}
        if not left:
            return
        wait = _Wait(left)
        for id_ in left:
            self._waiting.setdefault(id_, []).append(wait)
        try:
            async with asyncio.timeout(timeout_seconds):
                await wait.done
        except TimeoutError:
            raise OutboxDelayed(
                f"{len(wait.left)} records are not in Kafka after {timeout_seconds:g} s; they are safe in Postgres and follow "
                "when relay and Kafka are up: see `luxe status`"
            ) from None
        finally:
            for id_ in wait.left:
                others = self._waiting.get(id_, [])
                others.remove(wait)
                if not others:
                    self._waiting.pop(id_, None)

    async def listen(self) -> None:
        """Hear what the relay says, for ever. Nothing ends it but cancelling."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                async with await connect_async(self._settings, self._name) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._look_now = True
                    backoff = FIRST_BACKOFF_SECONDS
                    while True:
                        await self._hear(connection)
            except psycopg.OperationalError as error:
                log.warning("Postgres at %s: %s; trying again", where(self._settings), type(error).__name__)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_SECONDS)

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        heard = False
        async for notification in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
            heard = True
            self._heard(notification)
        if self._waiting and (self._look_now or not heard):
            self._look_now = False
            cursor = await connection.execute(
                "SELECT id FROM outbox WHERE id = ANY(%s) AND published_at IS NOT NULL", (list(self._waiting),)
            )
            self._in_kafka([id_ for (id_,) in await cursor.fetchall()])

    def _heard(self, notification: Notify) -> None:
        if notification.payload:
            self._in_kafka([int(id_) for id_ in notification.payload.split()])
        else:
            self._look_now = True  # more than a notification carries

    def _in_kafka(self, ids: Sequence[int]) -> None:
        for id_ in ids:
            self._published[id_] = None
            for wait in self._waiting.pop(id_, ()):
                wait.left.discard(id_)
                if not wait.left and not wait.done.done():
                    wait.done.set_result(None)
        while len(self._published) > REMEMBERED_IDS:
            del self._published[next(iter(self._published))]


async def unpublished(connection: psycopg.AsyncConnection, keys: Sequence[tuple[str, bytes]]) -> list[int]:
    """Ids of (topic, key)'s rows that are not in Kafka yet: of changes that somebody made before, and may have given up on."""
    cursor = await connection.execute(
        """SELECT o.id FROM unnest(%s::text[], %s::bytea[]) AS k (topic, key) JOIN outbox o USING (topic, key)
           WHERE o.published_at IS NULL""",
        ([topic for topic, _ in keys], [key for _, key in keys]),
    )
    return [id_ for (id_,) in await cursor.fetchall()]


@asynccontextmanager
async def open_in_force(settings: Settings, name: str) -> AsyncIterator[InForce]:
    """A process' barrier, listening. ``name`` shows in pg_stat_activity."""
    in_force = InForce(settings, f"{name}-in-force")
    listening = asyncio.create_task(in_force.listen())
    listening.add_done_callback(_ended)
    try:
        yield in_force
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("nobody hears the relay any more (%s); restart this process", type(error).__name__)
