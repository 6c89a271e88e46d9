"""Prices by country as data: what is shipped has a source and a date, and what cannot be used is said with its line and mend."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import luxe
from connectors.clickhouse.sms_prices import SmsPricesError, load

GERMANY = """prices:
  DE: {segment: 0.112, source: the list, as_of: 2026-08-28}
clinics:
  north:
    US:
      segment: 0.005
      picture: 0.01
      currency: EUR
      source: its contract
      as_of: 2026-11-01
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    return file


def test_each_figure_that_is_shipped_says_where_and_when_it_was_read_and_only_twilios_mms_countries_have_pictures() -> (
    None
):
    shipped = load()
    assert shipped.clinics == {}
    for country, price in shipped.listed.items():
        assert price.source == f"https://www.twilio.com/en-us/sms/pricing/{country.lower()}"
        assert price.segment is not None
        assert price.segment > 0
        assert price.picture is None or country in ("US", "CA")
    assert shipped.listed["DE"].segment == Decimal("0.112")


def test_a_file_of_ones_own_is_the_whole_list_and_a_clinics_contract_stands_beside_it(tmp_path: Path) -> None:
    prices = load(written(tmp_path, GERMANY))
    assert [(clinic, country, price.segment, price.currency) for clinic, country, price in prices.entries()] == [
        ("", "DE", Decimal("0.112"), "USD"),
        ("north", "US", Decimal("0.005"), "EUR"),
    ]
    assert list(prices.rows())[1] == ("north", "US", "0.005", "0.01", "EUR", "its contract", "2026-11-01")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("  DE:", "  GERMANY:", ":2: prices.GERMANY: no country with telephone numbers: write its two letters"),
        ("  DE:", "  XX:", ":2: prices.XX: no country"),
        ("    US:", "    us:", ":5: clinics.north.us: no country"),
        ("segment: 0.005", "segment: -1", ":6: clinics.north.US.segment: Input should be greater than or equal to 0"),
        ("segment: 0.005", "segment: cheap", ":6: clinics.north.US.segment: Input should be a valid decimal"),
        ("segment: 0.005", "segment: 0.0000001", ":6: clinics.north.US.segment"),
        ("picture: 0.01", "picture: 101", ":7: clinics.north.US.picture: Input should be less than or equal to 100"),
        ("currency: EUR", "currency: euros", ":8: clinics.north.US.currency"),
        ("      source: its contract\n", "", ":5: clinics.north.US.source: Field required: see docs/analysts-guide.md"),
        ("as_of: 2026-11-01", "as_of: lately", ":10: clinics.north.US.as_of"),
        ("      as_of: 2026-11-01", "      as_of: 2026-11-01\n      colour: red", ":11: clinics.north.US.colour"),
        ("segment: 0.112, ", "", ":2: prices.DE: Value error, write segment, picture or both"),
        ("{segment: 0.112, source: the list, as_of: 2026-08-28}", "0.112", ":2: prices.DE: expected a mapping"),
        ("      picture: 0.01", "      segment: 0.01", ":7: clinics.north.US.segment: given twice: keep one"),
        ("prices:", "price:", ":1: expected a mapping with `prices`, `clinics` or both"),
        ("prices:", "prices: {", "not YAML"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert before in GERMANY
    file = written(tmp_path, GERMANY.replace(before, after, 1))
    with pytest.raises(SmsPricesError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:")
    assert says in str(caught.value)


def test_the_command_lists_what_is_in_force_and_checks_a_file(tmp_path: Path) -> None:
    shown = CliRunner().invoke(luxe, ["prices", "--json", "--file", str(written(tmp_path, GERMANY))])
    assert shown.exit_code == 0
    assert '"country": "DE", "segment": "0.112"' in shown.stdout
    refused = CliRunner().invoke(luxe, ["prices", "--file", str(written(tmp_path, GERMANY.replace("DE", "XX")))])
    assert refused.exit_code == 1
    assert ":2: prices.XX" in refused.stderr
    assert "no known price" in CliRunner().invoke(luxe, ["prices"]).stdout
