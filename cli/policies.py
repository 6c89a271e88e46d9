"""``luxe policies``: what clinics decided for themselves."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click
import psycopg
import yaml
from rich.console import Console
from rich.table import Table

from cli.database import in_database, operator
from connectors.postgres import policies
from connectors.postgres.policies import PolicyError, StoredPolicy
from connectors.postgres.records import POLICY, Records
from connectors.settings import Settings
from schemas.codec import CodecError
from schemas.definitions import definition
from streams.catalog import Catalog, NotificationType
from streams.rules.adjusting import timing_faults

# Given by the store, not by the file.
_OURS = frozenset({"version", "wrapped_key", "updated_at", "updated_by"})


@click.group("policies")
def command() -> None:
    """Clinics' policies: import them from YAML, list them."""


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_file(file: Path) -> None:
    """Store the clinic policy in FILE (YAML), or the list of them; all or none.

    The fields are those of luxe.pipeline.ClinicPolicy in docs/schema-reference.md; what a policy leaves out takes its default.
    """
    found = read_policies(file)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[tuple[str, bool]]:
        done = []
        async with connection.transaction():
            for place, policy in enumerate(found, 1):
                try:
                    written = await policies.put(connection, records, policy, operator())
                except (PolicyError, CodecError) as error:
                    raise click.ClickException(f"{file}: policy {place}: {error}") from error
                done.append((f"{policy['clinic_id']} version {written.version}", bool(written.outbox_ids)))
        return done

    for name, changed in in_database(Settings(), work):
        click.echo(f"{name}: {'stored' if changed else 'unchanged'}")


@command.command("list")
def list_policies() -> None:
    """Every clinic's policy: version, zone, who changed it last."""

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[StoredPolicy]:
        return await policies.stored(connection)

    table = Table("clinic", "name", "zone", "version", "changed", "by", caption="`*` stands in for unknown clinics")
    for policy in in_database(Settings(), work):
        changed = policy.updated_at.strftime("%Y-%m-%d %H:%M UTC")
        table.add_row(policy.clinic_id, policy.name, policy.time_zone, str(policy.version), changed, policy.updated_by)
    Console().print(table)


def read_policies(file: Path) -> list[dict[str, Any]]:
    """The policies in a YAML file as they are written, names checked. Raises ClickException naming file, place and field."""
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        found = loader.get_single_data()
    except yaml.YAMLError as error:
        where = (
            f", line {error.problem_mark.line + 1}"
            if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark
            else ""
        )
        raise click.ClickException(f"{file}{where}: not YAML; quote values with colons") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: not UTF-8; save it as UTF-8") from error
    listed = found if isinstance(found, list) else [found]
    for place, policy in enumerate(listed, 1):
        if not isinstance(policy, dict) or not isinstance(policy.get("clinic_id"), str) or not policy["clinic_id"]:
            raise click.ClickException(f"{file}: policy {place}: write a mapping with a clinic_id")
        _check_names(f"{file}: policy {place}", policy)
    found = [_with_days(policy, f"{file}: policy {place}") for place, policy in enumerate(listed, 1)]
    if any(policy.get("timings") for policy in found):
        types = Catalog.load().types
        for place, policy in enumerate(found, 1):
            _check_timings(f"{file}: policy {place}", policy, types)
    return found


def _check_names(where: str, policy: Mapping[str, Any]) -> None:
    known = [field["name"] for field in definition(POLICY)["fields"] if field["name"] not in _OURS]
    for name in policy:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise click.ClickException(f"{where}: no field {name}" + (f"; is it {near[0]}?" if near else ""))
    for name in ("name", "time_zone"):
        if name not in policy:
            raise click.ClickException(f"{where}: {name} is missing")


_TIMING: Mapping[str, Any] = {"services": [], "skip": False, "offset": None, "not_before": None, "not_after": None}


def _check_timings(where: str, policy: dict[str, Any], types: Mapping[str, NotificationType]) -> None:
    """Timings are mappings of known fields, here with their defaults, and within what the catalogue allows."""
    timings = policy.get("timings") or []
    names = ", ".join(("notification_type", *_TIMING))
    for number, row in enumerate(timings):
        unknown = not isinstance(row, dict) or row.keys() - _TIMING.keys() != {"notification_type"}
        if unknown or not isinstance(row["notification_type"], str):
            raise click.ClickException(
                f"{where}: timings.{number}: write a mapping of {names}, the first of them always"
            )
    policy["timings"] = [{**_TIMING, **row} for row in timings]
    try:
        fault = next(timing_faults(policy["timings"], types), None)
    except (TypeError, AttributeError):
        return  # a value of another kind than its field's: the schema says which
    if fault is not None:
        raise click.ClickException(f"{where}: {fault}")


def _with_days(policy: dict[str, Any], where: str) -> dict[str, Any]:
    """Holidays as days, written with quotes or without."""
    days = policy.get("holidays", [])
    try:
        return policy | {"holidays": [day if isinstance(day, date) else date.fromisoformat(day) for day in days]}
    except (TypeError, ValueError):
        raise click.ClickException(f"{where}: holidays: write a list of days as YYYY-MM-DD") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 21:30 as the number 1290 and +15005550100 as one too; here only plain whole numbers are numbers."""


_INTEGER = "tag:yaml.org,2002:int"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _INTEGER]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INTEGER, re.compile(r"[0-9]{1,9}$"), list("0123456789"))
