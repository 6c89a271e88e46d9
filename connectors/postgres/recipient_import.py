"""Importing recipients: lines in batches, each batch one transaction. What is stored like that already is left, so that an
import that was interrupted is finished by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from connectors.postgres.recipient_file import Line
from connectors.postgres.recipient_patch import LineProblem, Patch, Problem
from connectors.postgres.recipients import Edit, Recipient, RecipientError, checked, edit_many
from connectors.postgres.records import Records

# Half a second's work: recipients stay locked no longer, and the outbox relay waits no longer for the rest.
BATCH_LINES = 500
# Problems kept to be listed; a file with more has one cause, which the first ones show. The count goes on.
MAX_PROBLEMS = 10_000


@dataclass(slots=True)
class ImportResult:
    """What an import did, in lines. ``problems``: (line number, problem) of those rejected, the first MAX_PROBLEMS."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return self.created + self.updated + self.unchanged + self.rejected

    def reject(self, number: int, problem: Problem) -> None:
        self.rejected += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((number, problem))


async def import_recipients(
    connection: psycopg.AsyncConnection,
    records: Records,
    lines: Iterable[Line],
    updated_by: str,
    *,
    dry_run: bool = False,
    progress: Callable[[ImportResult], None] = lambda result: None,
) -> ImportResult:
    """Store what the lines say. ``connection`` in autocommit mode. ``dry_run``: each batch is rolled back, so a line that
    repeats a recipient of an earlier batch counts as if it were alone.
    """
    result = ImportResult()
    for batch in _batches(lines, result):
        rejected: dict[str, tuple[int, Problem]] = {}
        now = datetime.now(UTC)
        async with connection.transaction(force_rollback=dry_run):
            written = await edit_many(
                connection,
                records,
                {patch.recipient: _edit(number, patch, records, updated_by, now, rejected) for number, patch in batch},
                updated_by,
                "import",
            )
        for number, patch in batch:
            if patch.recipient in written.erased:
                mend = "this person was erased; give one who comes back another id"
                rejected[patch.recipient] = (number, Problem("recipient_id", "an erased recipient", mend))
        for number, problem in sorted(rejected.values()):
            result.reject(number, problem)
        result.created += len(written.created)
        result.updated += len(written.updated)
        result.unchanged += len([recipient for recipient in written.unchanged if recipient not in rejected])
        progress(result)
    return result


def _edit(
    number: int,
    patch: Patch,
    records: Records,
    updated_by: str,
    now: datetime,
    rejected: dict[str, tuple[int, Problem]],
) -> Edit:
    """An edit that leaves what is stored, and notes why, where the line cannot be used."""

    def edit(found: Recipient | None) -> Recipient | None:
        try:
            wanted = patch.applied(found, updated_by, now)
            checked(records, wanted)
        except LineProblem as error:
            rejected[patch.recipient] = (number, error.problem)
        except RecipientError as error:
            rejected[patch.recipient] = (number, Problem(error.field, error.shape, error.mend))
        else:
            return wanted
        return None

    return edit


def _batches(lines: Iterable[Line], result: ImportResult) -> Iterator[list[tuple[int, Patch]]]:
    """Usable lines in batches without a recipient twice: the second line of one must find the first one's result."""
    batch: list[tuple[int, Patch]] = []
    recipients: set[str] = set()
    for line in lines:
        if line.problem is not None:
            result.reject(line.number, line.problem)
        if line.patch is None:
            continue
        if len(batch) >= BATCH_LINES or line.patch.recipient in recipients:
            yield batch
            batch, recipients = [], set()
        batch.append((line.number, line.patch))
        recipients.add(line.patch.recipient)
    if batch:
        yield batch
