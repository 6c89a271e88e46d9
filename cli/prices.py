"""``luxe prices``: what a text costs by country, as the analysts' view has it; checks a file of your own."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from connectors.clickhouse import sms_prices
from connectors.clickhouse.sms_prices import SmsPricesError
from connectors.settings import Settings


@click.command("prices")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check this file instead of LUXE_SMS_PRICES_FILE's; it comes in force with the ClickHouse sink's next start.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: a country's price, of a clinic or the list."
)
def command(file: Path | None, as_json: bool) -> None:
    """What a text costs by country of its number, and where each figure is from."""
    try:
        prices = sms_prices.load(file or Settings().sms_prices_file)
    except SmsPricesError as error:
        raise click.ClickException(str(error)) from error
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("clinic", "country", "segment", "picture", "currency", "as of", "source"):
        table.add_column(title, overflow="fold")
    for clinic_id, country, price in prices.entries():
        if as_json:
            click.echo(json.dumps({"clinic_id": clinic_id, "country": country, **price.model_dump(mode="json")}))
            continue
        amounts = ("unknown" if one is None else f"{one:f}" for one in (price.segment, price.picture))
        table.add_row(clinic_id or "every", country, *amounts, price.currency, price.as_of.isoformat(), price.source)
    if not as_json:
        Console().print(table)
        click.echo("other countries' texts have no known price, and the view sms_costs shows no cost for them")
