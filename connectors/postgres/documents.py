"""Clinics' blank forms on file: kept by clinic and name of the form, read by the email sink."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import psycopg

from connectors.postgres.pool import Pool
from schemas.phi import AUTHENTICATED

# One file. SendGrid takes 30 MB a mail; base64 makes 7 MB of this, and many mailboxes refuse more than 10.
MAX_DOCUMENT_BYTES = 5 * 1024 * 1024
# forms.due's own limit of a name.
MAX_FORM_CHARACTERS = 200
MAX_FILENAME_CHARACTERS = 100
# The highest level that leaves by email: its body's ceiling (architecture §6).
EMAIL_LEVEL = AUTHENTICATED

_FILENAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]+\.pdf", re.IGNORECASE)


class DocumentError(Exception):
    """A document cannot be kept; the message names the field and the mend."""


class StoredDocument(NamedTuple):
    """What `luxe documents list` shows of one."""

    clinic_id: str
    form: str
    filename: str
    size_bytes: int
    sha256: bytes
    phi_level: int
    uploaded_at: datetime
    uploaded_by: str


class DocumentVersion(NamedTuple):
    """A form as it was on file for a time. ``until`` None: it still is."""

    clinic_id: str
    form: str
    filename: str
    sha256: bytes
    phi_level: int
    by: str
    since: datetime
    until: datetime | None

    @property
    def digest(self) -> str:
        """Its name in the sink's log, where it says what a delivery carries."""
        return short_digest(self.sha256)


class FormFile(NamedTuple):
    """A form on file as an email may carry it. ``content`` None: it stays behind sign-in."""

    filename: str
    content: bytes | None
    sha256: bytes

    def __repr__(self) -> str:
        return f"<FormFile of {len(self.content or b'')} bytes>"


def short_digest(sha256: bytes) -> str:
    """Twelve hex digits: no two of a clinic's forms share as much by chance."""
    return sha256.hex()[:12]


def form_key(form: str) -> str:
    """A form's name as it is compared: without regard to capitals and spaces."""
    return " ".join(form.split()).casefold()


def checked(form: str, filename: str, content: bytes) -> None:
    """Raises DocumentError: no name, no PDF, too big."""
    if not 1 <= len(" ".join(form.split())) <= MAX_FORM_CHARACTERS:
        raise DocumentError(f"form: 1 to {MAX_FORM_CHARACTERS} characters, as forms.due names it")
    if len(filename) > MAX_FILENAME_CHARACTERS or not _FILENAME.fullmatch(filename):
        raise DocumentError(
            f"file: its name goes with the email: at most {MAX_FILENAME_CHARACTERS} plain characters, ending in .pdf; rename it"
        )
    if not content:
        raise DocumentError("file: empty; give a PDF")
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DocumentError(
            f"file: {len(content):,} bytes; at most {MAX_DOCUMENT_BYTES:,} go with an email: save it smaller"
        )
    # Readers look for the two marks in the first and last kilobyte.
    if b"%PDF-" not in content[:1024] or b"%%EOF" not in content[-1024:]:
        raise DocumentError("file: not a whole PDF; export it as PDF again")


async def put(
    connection: psycopg.AsyncConnection,
    *,
    clinic_id: str,
    form: str,
    filename: str,
    content: bytes,
    phi_level: int,
    uploaded_by: str,
) -> Literal["added", "replaced", "unchanged"]:
    """Keep a form of a clinic, in place of the one of that name; what was there stays in the history, without its content.

    Raises DocumentError.
    """
    checked(form, filename, content)
    found = await (await connection.execute("SELECT 1 FROM policies WHERE clinic_id = %s", (clinic_id,))).fetchone()
    if found is None:
        raise DocumentError("clinic: it has no policy here; `luxe policies list` shows those that have")
    digest = hashlib.sha256(content).digest()
    was = await (
        await connection.execute(
            "SELECT sha256, filename, phi_level FROM clinic_documents WHERE clinic_id = %s AND form_key = %s",
            (clinic_id, form_key(form)),
        )
    ).fetchone()
    if was == (digest, filename, phi_level):
        return "unchanged"
    await connection.execute(
        """WITH kept AS (
               INSERT INTO clinic_documents (clinic_id, form_key, form, filename, content, sha256, phi_level, uploaded_by)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (clinic_id, form_key) DO UPDATE SET form = excluded.form, filename = excluded.filename,
                   content = excluded.content, sha256 = excluded.sha256, phi_level = excluded.phi_level,
                   uploaded_at = now(), uploaded_by = excluded.uploaded_by
               RETURNING clinic_id, form_key, form, filename, sha256, phi_level, uploaded_by)
           INSERT INTO clinic_document_history
               (clinic_id, form_key, form, filename, sha256, phi_level, change, changed_by)
           SELECT clinic_id, form_key, form, filename, sha256, phi_level, 'put', uploaded_by FROM kept""",
        (clinic_id, form_key(form), " ".join(form.split()), filename, content, digest, phi_level, uploaded_by),
    )
    return "added" if was is None else "replaced"


async def remove(connection: psycopg.AsyncConnection, clinic_id: str, form: str, *, removed_by: str) -> bool:
    """Take a form off; False: there was none."""
    cursor = await connection.execute(
        """WITH gone AS (
               DELETE FROM clinic_documents WHERE clinic_id = %s AND form_key = %s
               RETURNING clinic_id, form_key, form, filename, sha256, phi_level)
           INSERT INTO clinic_document_history
               (clinic_id, form_key, form, filename, sha256, phi_level, change, changed_by)
           SELECT clinic_id, form_key, form, filename, sha256, phi_level, 'removed', %s FROM gone""",
        (clinic_id, form_key(form), removed_by),
    )
    return cursor.rowcount > 0


async def history(
    connection: psycopg.AsyncConnection, clinic_id: str | None = None, form: str | None = None
) -> list[DocumentVersion]:
    """What was ever on file, of a clinic or under a name, in the order in which each form's came."""
    cursor = await connection.execute(
        """SELECT clinic_id, form, filename, sha256, phi_level, changed_by, changed_at, until FROM (
               SELECT *, lead(changed_at) OVER (PARTITION BY clinic_id, form_key ORDER BY id) AS until
               FROM clinic_document_history
               WHERE (%(clinic)s::text IS NULL OR clinic_id = %(clinic)s)
                 AND (%(key)s::text IS NULL OR form_key = %(key)s)) changes
           WHERE change = 'put' ORDER BY clinic_id, form_key, id""",
        {"clinic": clinic_id, "key": None if form is None else form_key(form)},
    )
    return [DocumentVersion(*row) for row in await cursor.fetchall()]


async def stored(connection: psycopg.AsyncConnection, clinic_id: str | None = None) -> list[StoredDocument]:
    """Every form on file, or a clinic's, without its content."""
    cursor = await connection.execute(
        """SELECT clinic_id, form, filename, octet_length(content), sha256, phi_level, uploaded_at, uploaded_by
           FROM clinic_documents WHERE %(clinic)s::text IS NULL OR clinic_id = %(clinic)s ORDER BY clinic_id, form_key""",
        {"clinic": clinic_id},
    )
    return [StoredDocument(*row) for row in await cursor.fetchall()]


async def find(pool: Pool, clinic_id: str, form_keys: Iterable[str]) -> Mapping[str, FormFile]:
    """The clinic's forms of these names that are on file; of those above an email's level, without content."""
    wanted: Sequence[str] = list(form_keys)
    async with pool.connection() as connection:
        cursor = await connection.execute(
            """SELECT form_key, filename, CASE WHEN phi_level <= %s THEN content END, sha256
               FROM clinic_documents WHERE clinic_id = %s AND form_key = ANY(%s)""",
            (EMAIL_LEVEL, clinic_id, wanted),
            binary=True,
        )
        return {key: FormFile(*file) for key, *file in await cursor.fetchall()}
