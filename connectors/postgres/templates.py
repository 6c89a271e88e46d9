"""Templates: versions are added, never changed; publishing one makes it the active version and archives its predecessor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from connectors.postgres import outbox
from connectors.postgres.outbox import OutboxRow
from connectors.postgres.records import TEMPLATE, Records
from schemas.topics import TEMPLATES
from schemas.validation import violations

_KEY_FIELDS = ("template_id", "channel", "locale")
# What a template's row holds beside its content.
_ROW_FIELDS = frozenset({*_KEY_FIELDS, "version", "status", "created_at", "created_by", "activated_at"})


class TemplateError(Exception):
    """A template holds something impossible; the message names the template, the field, its shape and the mend."""


async def publish(
    connection: psycopg.AsyncConnection,
    records: Records,
    templates: Sequence[Mapping[str, Any]],
    created_by: str,
    *,
    only_own: bool = False,
) -> list[int]:
    """Store templates as the active version where they differ from it; ids of the outbox rows, none where nothing changed.

    Each is a Template; its version, status, creation and activation are given here. ``only_own``: leave those whose newest
    version somebody other than ``created_by`` made. Raises TemplateError and CodecError for one that does not fit.
    """
    now = datetime.now(UTC)
    await connection.execute("LOCK TABLE templates IN SHARE ROW EXCLUSIVE MODE")
    cursor = await connection.execute(
        """SELECT DISTINCT ON (template_id, channel, locale) template_id, channel, locale, version, status, created_by,
                  content
           FROM templates ORDER BY template_id, channel, locale, version DESC"""
    )
    newest = {(row[0], row[1], row[2]): (row[3], row[4], row[5], row[6]) for row in await cursor.fetchall()}
    published: list[tuple[str, str, str, int]] = []
    for template in templates:
        key = (template["template_id"], template["channel"], template["locale"])
        draft = {
            **template,
            "version": 1,
            "status": "active",
            "created_at": now,
            "created_by": created_by,
            "activated_at": now,
        }
        filled = records.codec.decode_bare(TEMPLATE, records.codec.encode_bare(TEMPLATE, draft))
        for violation in violations(TEMPLATE, filled):
            raise TemplateError(f"template {key[0]}, {key[1]}, {key[2]}: {violation}")
        content = {name: value for name, value in filled.items() if name not in _ROW_FIELDS}
        version, status, author, stored = newest.get(key, (0, "", created_by, None))
        if (status == "active" and stored == content) or (only_own and author != created_by):
            continue
        archived = await connection.execute(
            """UPDATE templates SET status = 'archived' WHERE template_id = %s AND channel = %s AND locale = %s
               AND status = 'active' RETURNING version""",
            key,
        )
        await connection.execute(
            """INSERT INTO templates
                   (template_id, channel, locale, version, status, content, created_at, created_by, activated_at)
               VALUES (%s, %s, %s, %s, 'active', %s, %s, %s, %s)""",
            (*key, version + 1, Jsonb(content), now, created_by, now),
        )
        newest[key] = (version + 1, "active", created_by, content)
        # The new one first: a reader in between finds two active versions and takes the higher, never none.
        published += [(*key, version + 1), *((*key, old) for (old,) in await archived.fetchall())]
    return await _publish(connection, records, published)


async def variables_of(connection: psycopg.AsyncConnection, template_id: str) -> list[dict[str, Any]]:
    """The variables (luxe.pipeline.TemplateVariable) that any active version of a template uses, one of each name."""
    cursor = await connection.execute(
        """SELECT DISTINCT ON (v->>'name') v FROM templates, jsonb_array_elements(content->'variables') AS v
           WHERE template_id = %s AND status = 'active' ORDER BY v->>'name'""",
        (template_id,),
    )
    return [variable for (variable,) in await cursor.fetchall()]


async def _publish(
    connection: psycopg.AsyncConnection, records: Records, versions: Iterable[tuple[str, str, str, int]]
) -> list[int]:
    rows = []
    for key in versions:
        cursor = await connection.execute(
            """SELECT status, content, created_at, created_by, activated_at FROM templates
               WHERE template_id = %s AND channel = %s AND locale = %s AND version = %s""",
            key,
        )
        for status, content, created_at, created_by, activated_at in await cursor.fetchall():
            record = {
                **content,
                **dict(zip((*_KEY_FIELDS, "version"), key, strict=True)),
                "status": status,
                "created_at": created_at,
                "created_by": created_by,
                "activated_at": activated_at,
            }
            topic_key = "/".join(str(part) for part in key)
            rows.append(OutboxRow(TEMPLATES, topic_key.encode(), records.encode_template(record)))
    return await outbox.add_many(connection, rows)
