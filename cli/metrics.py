"""``luxe metrics``: which there are, where they are asked for, what they say now."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from cli import listing
from cli.stack_options import state_dir_option
from connectors.metrics.asking import ask_all
from connectors.metrics.catalogue import METRICS
from connectors.metrics.targets import file_sd, targets

HEADINGS = ("metric", "type", "labels", "of", "what it says")


@click.group("metrics", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Every metric (no command), where Prometheus finds them, or what they say now."""
    if context.invoked_subcommand is None:
        context.invoke(list_metrics)


@command.command("list")
@click.option("--markdown", is_flag=True, help="The table as in docs/metrics.md.")
def list_metrics(markdown: bool = False) -> None:
    """Every metric: type, labels, whose it is, what it says."""
    if markdown:
        click.echo(markdown_table(), nl=False)
        return
    rows = [
        (metric.name, metric.kind, ", ".join(metric.labels), ", ".join(metric.services), metric.meaning)
        for metric in METRICS
    ]
    listing.show(Console(), f"{len(rows)} metrics", HEADINGS, rows)


@command.command("targets")
@state_dir_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, whole or not at all, instead of printing: what file_sd_configs of Prometheus names.",
)
def list_targets(state_dir: Path, output: Path | None) -> None:
    """Where the running processes' metrics are, as Prometheus' file_sd JSON. Exit status 1 if there is none."""
    found = targets(state_dir)
    text = json.dumps(file_sd(found), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        half = output.with_name(f"{output.name}.tmp")
        half.write_text(text)
        half.replace(output)
        click.echo(f"{output}: {len(found)} targets", err=True)
    if not found:
        click.echo(f"No process of {state_dir.absolute()} tells metrics. Start it with `luxe up`.", err=True)
        sys.exit(1)


@command.command("show")
@state_dir_option
@click.argument("words", nargs=-1)
def show(state_dir: Path, words: tuple[str, ...]) -> None:
    """What the running processes say now, zeros left out; only metrics whose names hold one of WORDS, if given."""
    answers = ask_all(state_dir)
    if not answers:
        click.echo(f"No process of {state_dir.absolute()} tells metrics. Start it with `luxe up`.", err=True)
        sys.exit(1)
    for answer in answers:
        for sample in answer.samples:
            if not sample.value or sample.name.endswith(("_bucket", "_created")):
                continue
            if words and not any(word in sample.name for word in words):
                continue
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items() if value)
            click.echo(f"{answer.target.service}  {sample.name}{{{labels}}}  {sample.value:g}")


def markdown_table() -> str:
    """The table as Markdown, for docs/metrics.md (held equal by a test)."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    for metric in METRICS:
        labels = ", ".join(metric.labels) or "–"
        meaning = metric.meaning.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {', '.join(metric.services)} | {meaning} |")
    return "\n".join(lines) + "\n"
