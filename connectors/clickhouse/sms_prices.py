"""What texts cost by country of the number, as data: a YAML file, checked at the start; an error names the line and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors import lined_yaml

SHIPPED = Path(__file__).parent / "sms_prices.yaml"
_GUIDE = "docs/analysts-guide.md"

# Twilio's dearest segment is below 1; a hundred is a comma in the wrong place.
Money = Annotated[Decimal, Field(ge=0, le=100, decimal_places=6)]


class SmsPricesError(Exception):
    """The prices cannot be used. One line a fault: ``file:line: field: what is wrong: what to do``."""


class Price(BaseModel):
    """One country's. ``segment``: of a text; ``picture``: of one with a picture, whole; None: not known. ``as_of``: read then."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    segment: Money | None = None
    picture: Money | None = None
    currency: str = Field("USD", pattern="^[A-Z]{3}$")
    source: str = Field(min_length=1, max_length=200)
    as_of: date

    @model_validator(mode="after")
    def _says_something(self) -> Price:
        if self.segment is None and self.picture is None:
            raise ValueError("write segment, picture or both; leave out a country whose prices are not known")
        return self


@dataclass(frozen=True, slots=True)
class SmsPrices:
    """The list, by ISO 3166 country, and clinics' own contracts, which go before it, a country at a time."""

    listed: Mapping[str, Price]
    clinics: Mapping[str, Mapping[str, Price]]

    def entries(self) -> Iterator[tuple[str, str, Price]]:
        """(clinic or empty, country, price), the list first."""
        for country, price in self.listed.items():
            yield "", country, price
        for clinic_id, own in self.clinics.items():
            for country, price in own.items():
                yield clinic_id, country, price

    def rows(self) -> Iterator[tuple[str | None, ...]]:
        """As the view ``sms_prices`` has its columns."""
        for clinic_id, country, price in self.entries():
            amounts = (None if one is None else f"{one:f}" for one in (price.segment, price.picture))
            yield clinic_id, country, *amounts, price.currency, price.source, price.as_of.isoformat()


def load(path: Path | None = None) -> SmsPrices:
    """The prices of a file; None: those that are shipped. Raises SmsPricesError."""
    file = path or SHIPPED
    found, lines = lined_yaml.read(file, SmsPricesError)
    if not isinstance(found, dict) or not found or set(found) - {"prices", "clinics"}:
        raise SmsPricesError(f"{file}:1: expected a mapping with `prices`, `clinics` or both, and nothing else")
    faults: list[str] = []
    listed = _by_country(file, found.get("prices"), ("prices",), lines, faults)
    clinics: dict[str, Mapping[str, Price]] = {}
    contracts = found.get("clinics")
    if contracts is not None and not isinstance(contracts, dict):
        faults.append(f"{file}:{lines['clinics',]}: clinics: expected a mapping of clinics to countries")
        contracts = None
    for clinic_id, own in (contracts or {}).items():
        at = ("clinics", str(clinic_id))
        if not str(clinic_id).strip():
            faults.append(f"{file}:{lines[at]}: clinics: a clinic without an id: write the clinic_id of its events")
        clinics[str(clinic_id)] = _by_country(file, own, at, lines, faults)
    if faults:
        raise SmsPricesError("\n".join(faults))
    return SmsPrices(listed, clinics)


def _by_country(
    file: Path, value: Any, at: tuple[str, ...], lines: lined_yaml.Lines, faults: list[str]
) -> dict[str, Price]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(f"{file}:{lines[at]}: {'.'.join(at)}: expected a mapping of countries to prices")
        return {}
    prices: dict[str, Price] = {}
    for country, entry in value.items():
        where = (*at, country)
        if not re.fullmatch("[A-Z]{2}", country) or country not in phonenumbers.SUPPORTED_REGIONS:
            faults.append(
                f"{file}:{lines[where]}: {'.'.join(where)}: no country with telephone numbers: "
                "write its two letters of ISO 3166 in capitals, as US or DE"
            )
        elif not isinstance(entry, dict):
            faults.append(
                f"{file}:{lines[where]}: {'.'.join(where)}: expected a mapping with segment, source and as_of"
            )
        else:
            try:
                prices[country] = Price.model_validate(entry)
            except ValidationError as error:
                faults += [
                    lined_yaml.told(file, where, lines, fault, _GUIDE) for fault in error.errors(include_url=False)
                ]
    return prices
