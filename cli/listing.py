"""Lists of many columns: a table where the screen holds its words whole, else a block a row. Also into a file or a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

INDENT = 2


def show(
    console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str = ""
) -> None:
    """Print the rows. The first column names a row; where it is empty, the row goes on with the name before it."""
    held = list(rows)
    table = Table(title=title, caption=caption or None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in held:
        table.add_row(*map(Text, row))
    # The least width that breaks no word.
    if Measurement.get(console, console.options.update(max_width=10_000), table).minimum <= console.width:
        console.print(table)
        return
    console.print(Text(title, style="bold"))
    for row in held:
        if row[0]:
            console.print()
            console.print(Text(row[0], style="bold"), overflow="fold")
        console.print(_block(headings, row))
    if caption:
        console.print()
        console.print(Text(caption, style="dim"))


def _block(headings: Sequence[str], row: Sequence[str]) -> Table:
    """What a row says, a line each; nothing of what is empty."""
    block = Table.grid(padding=(0, 2, 0, 0))
    block.add_column(no_wrap=True, min_width=INDENT + max(map(len, headings)))
    block.add_column(overflow="fold")
    for heading, cell in zip(headings[1:], row[1:], strict=True):
        if cell:
            block.add_row(Text(" " * INDENT + heading, style="dim"), Text(cell))
    return block
