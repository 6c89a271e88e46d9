"""Explanations put together: stories from ClickHouse, what was said from Postgres, and their sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import psycopg

from connectors.explaining.facts import NOTHING_SAID, ConsentSaid, Explanation, Said, Story
from connectors.explaining.said import ledger_of, said_of, zones_of
from connectors.explaining.sentence import Clock, sentence


async def explained(
    connection: psycopg.AsyncConnection,
    stories: Sequence[Story],
    now: datetime,
    may_know: Callable[[str], bool] = lambda _recipient: True,
) -> list[Explanation]:
    """Each story's explanation. ``may_know``: of which recipients what they said may be told."""
    said: dict[str, Said] = {}
    for recipient in {story.recipient for story in stories if may_know(story.recipient)}:
        said[recipient] = await said_of(connection, recipient)
    ledger = await ledger_of(connection, [one.delivery_id for story in stories for one in story.deliveries])
    zones = await zones_of(connection, sorted({story.clinic_id for story in stories}))
    return [
        Explanation(
            story,
            _consents_used(story, said.get(story.recipient, NOTHING_SAID)),
            {one.delivery_id: ledger[one.delivery_id] for one in story.deliveries if one.delivery_id in ledger},
            zones[story.clinic_id],
            sentence(story, said.get(story.recipient, NOTHING_SAID), Clock(zones[story.clinic_id], now)),
        )
        for story in stories
    ]


def _consents_used(story: Story, said: Said) -> tuple[ConsentSaid, ...]:
    """The consents as the last decision found them."""
    used: Mapping[str, int] = story.last.consent_versions if story.last else {}
    return tuple(one for one in said.consents if used.get(one.consent_type) == one.version)
