"""What a simulation came to, as tables and as one line of totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli.simulation.checks.every import REMINDERS
from cli.simulation.checks.reminders import VERDICTS
from cli.simulation.inputs import Input
from cli.simulation.leads import LEADS
from cli.simulation.outcome import Outcome
from schemas.topics import CHANNELS

# No table is broken over lines where nobody looks at a terminal.
_WIDTH = 160


def totals_of(given: Input, came: Outcome) -> dict[str, Any]:
    """For ``--json``."""
    found: dict[str, Any] = {
        "events": came.events,
        "requested": came.requested,
        "ended": came.ended,
        "waiting": came.waiting,
        "sent": {channel: sum(n for (_, c), n in came.sent.items() if c == channel) for channel in CHANNELS},
        "refused_by_provider": dict(sorted(came.refused.items())),
        "decisions": {
            outcome: sum(n for (name, _), n in came.outcomes.items() if name == outcome)
            for outcome in ("deliver", "defer", "suppress")
        },
        "dead_letters": dict(sorted(came.letters.items())),
        "timers": came.timers,
    }
    if given.rows:
        found |= {
            "rows": given.rows,
            "rejected": dict(sorted(given.rejected.items())),
            "reminders": {
                name: {
                    verdict: count
                    for verdict in VERDICTS
                    if (count := sum(n for (_, kind, v), n in came.reminders.items() if (kind, v) == (name, verdict)))
                }
                for name in REMINDERS
            },
        }
    return found | {"violations": came.violations}


def print_tables(given: Input, came: Outcome, totals: Mapping[str, Any]) -> None:
    """What was sent by type and channel, by hour and channel, why not; of an export, what each lead time got."""
    console = Console(width=None if Console().is_terminal else _WIDTH)
    console.print(_table("sent", "type", CHANNELS, sorted({name for name, _ in came.sent}), came.sent))
    hours = {(f"{hour:02d}", channel): count for (hour, channel), count in came.hours.items()}
    console.print(_table("sent, by the clinic's hour", "hour", CHANNELS, sorted({hour for hour, _ in hours}), hours))
    outcomes = {(f"{outcome}: {reason}", "decisions"): count for (outcome, reason), count in came.outcomes.items()}
    console.print(
        _table("decided", "outcome and reason", ("decisions",), sorted({name for name, _ in outcomes}), outcomes)
    )
    booked = [lead for lead in LEADS if came.booked[lead]]
    sent = came.led | {("appointments", lead): came.booked[lead] for lead in booked}
    types = ["appointments", *sorted({name for name, _ in came.led})]
    console.print(_table("notifications sent, by how long before was booked", "type", booked, types, sent))
    rows = {(f"{lead}: {kind}", verdict): count for (lead, kind, verdict), count in came.reminders.items()}
    names = [
        name for lead in LEADS for kind in REMINDERS if any((name := f"{lead}: {kind}", v) in rows for v in VERDICTS)
    ]
    console.print(_table("reminders of appointments that stood", "booked before", VERDICTS, names, rows))
    if given.rows:
        click.echo(f"{given.rows:,} rows, {sum(given.rejected.values()):,} of them rejected:")
        for reason, count in sorted(given.rejected.items()):
            click.echo(f"  {count:,} × {reason}")
    for code, count in sorted(came.letters.items()):
        click.echo(f"{count:,} dead letters: {code}")
    messages = sum(totals["sent"].values())
    click.echo(
        f"{totals['events']:,} events called for {totals['requested']:,} notifications; {messages:,} messages were sent."
    )
    click.echo(
        f"{totals['ended']:,} of them ended, {totals['waiting']:,} wait for their time; "
        f"{totals['violations']:,} violations were found."
    )


def _table(
    title: str, first: str, columns: Iterable[str], names: Iterable[str], counts: Mapping[tuple[str, str], int]
) -> Table:
    table = Table(title=title)
    table.add_column(first)
    wanted = list(columns)
    for column in wanted:
        table.add_column(column, justify="right")
    for name in names:
        table.add_row(name, *(f"{counts.get((name, column), 0):,}" for column in wanted))
    return table
