"""`luxe schemas`: list, check, generate, document the record contracts, and push them into an http registry."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from connectors.settings import Settings
from schemas.committed_ids import as_text, grow
from schemas.compatibility import incompatibilities, level_for
from schemas.definitions import ROOT, definitions, subjects, topics_of, versions
from schemas.events import EVENT_RECORDS
from schemas.generation.files import REFERENCE_PATH, model_files, reference_text, stale
from schemas.push import PushOutcome, push_subject
from schemas.registry import IDS_PATH, CommittedVersion, HttpRegistry, RegistryError, open_registry, read_ids


@click.group("schemas")
def command() -> None:
    """The record contracts: schemas/avro/**/*.avsc and what is made from them."""


@command.command("list")
def list_() -> None:
    """Every record, its event type, topics, version and id."""
    ids = _committed()
    table = Table(box=None, pad_edge=False)
    for column in ("record", "event type", "topics", "versions", "id"):
        table.add_column(column, overflow="fold")
    for name in definitions():
        topics = topics_of(name)
        lines = next(
            (ids[of_subject] for of_subject, record in subjects().items() if record == name and of_subject in ids), []
        )
        shown = topics[0] if topics else "(sealed in others, or state)"
        if len(topics) > 1:
            shown += f" and {len(topics) - 1} more"
        table.add_row(
            name,
            EVENT_RECORDS.get(name, ""),
            shown,
            str(len(versions(name))),
            str(lines[-1].id) if lines else "none yet: `luxe schemas generate`",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@command.command("check")
def check() -> None:
    """Check that all is in step with the schemas.

    Exit 1 unless versions are compatible and ids, models and the reference are as the schemas say.
    """
    problems: list[str] = []
    try:
        for name in definitions():
            level = level_for(name)
            problems += [f"{name} ({level}): {line}" for line in incompatibilities(versions(name), level)]
    except ModuleNotFoundError:
        problems.append('compatibility needs Avro\'s own checker: pip install -e ".[dev]"')
    growth = grow(_committed(), subjects(), {name: versions(name) for name in definitions()})
    problems += growth.problems
    if not growth.problems and IDS_PATH.read_text(encoding="utf-8") != as_text(growth.lines):
        problems.append("schemas/ids.json lacks ids of new subjects or versions: run `luxe schemas generate`")
    problems += [
        f"{_shown(path)} is not what the schemas say: run `luxe schemas generate`" for path in stale(model_files())
    ]
    if stale({REFERENCE_PATH: reference_text()}):
        problems.append(f"{_shown(REFERENCE_PATH)} is not what the schemas say: run `luxe schemas docs`")
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo(
        f"{len(definitions())} records in {len(subjects())} subjects: compatible, ids, models and reference in step."
    )


@command.command("generate")
@click.option(
    "--amend",
    multiple=True,
    metavar="RECORD",
    help="Full name of a record whose newest version was never in use: it keeps its id and takes the new text.",
)
def generate(amend: tuple[str, ...]) -> None:
    """Write ids.json, records.py and models/*.py from the schemas. Ids only grow."""
    unknown = sorted(set(amend) - definitions().keys())
    if unknown:
        raise click.UsageError(f"no record {', '.join(unknown)}; `luxe schemas list` shows them")
    growth = grow(_committed(), subjects(), {name: versions(name) for name in definitions()}, amend)
    if growth.problems:
        for problem in growth.problems:
            click.echo(problem, err=True)
        sys.exit(1)
    written = _write({IDS_PATH: as_text(growth.lines), **model_files()})
    click.echo(f"Wrote {written}." if written else "Everything was in step already.")


@command.command("docs")
def docs() -> None:
    """Write docs/schema-reference.md from the schemas."""
    written = _write({REFERENCE_PATH: reference_text()})
    click.echo(f"Wrote {written}." if written else "It was in step already.")


@command.command("push")
@click.option("--url", help="Registry to push into; the setting schema_registry_url otherwise.")
@click.option("--dry-run", is_flag=True, help="Only say what would be registered.")
def push(url: str | None, dry_run: bool) -> None:
    """Register the schemas in an http registry.

    Every version of every subject, with its compatibility; what is there is left alone.
    """
    settings = Settings()
    auth = settings.schema_registry_auth
    try:
        registry = open_registry(url or settings.schema_registry_url, auth.get_secret_value() if auth else None)
        if not isinstance(registry, HttpRegistry):
            raise click.UsageError("the file registry is the committed directory itself; name an http one with --url")
        outcomes = _push_all(registry, dry_run=dry_run)
    except RegistryError as error:
        raise click.ClickException(str(error)) from error
    added = [line for outcome in outcomes for line in outcome.added]
    for line in added:
        click.echo(line)
    verb = "would be registered" if dry_run else "registered"
    click.echo(
        f"{len(outcomes)} subjects: {len(added)} versions {verb}, {sum(o.kept for o in outcomes)} there already."
    )


def _committed() -> dict[str, list[CommittedVersion]]:
    try:
        return read_ids()
    except RegistryError as error:
        raise click.ClickException(str(error)) from error


def _push_all(registry: HttpRegistry, *, dry_run: bool) -> list[PushOutcome]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    outcomes = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("subjects", total=len(subjects()))
        for of_subject, name in sorted(subjects().items()):
            outcomes.append(push_subject(registry, of_subject, name, dry_run=dry_run))
            progress.advance(task)
    return outcomes


def _write(files: dict[Path, str]) -> str:
    """Write those that differ, remove stale ones, and name them."""
    differing = stale(files)
    for path in differing:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
    return ", ".join(map(_shown, differing))


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))
