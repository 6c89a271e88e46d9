"""``luxe api``: the API's description, which is made of its code."""

from __future__ import annotations

import json
from pathlib import Path

import click

import api
from api.app import all_routes
from api.openapi import openapi

COMMITTED = Path(api.__file__).with_name("openapi.json")


@click.group("api")
def command() -> None:
    """The API's OpenAPI description."""


@command.command("openapi")
@click.option("--write", is_flag=True, help="Into the committed file, api/openapi.json.")
@click.option("--check", is_flag=True, help="Exit 1 if the committed file says something else.")
def describe(write: bool, check: bool) -> None:
    """Print OpenAPI 3.1 as the code has it; a running API serves the same at /openapi.json."""
    text = json.dumps(openapi(all_routes()), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if write:
        COMMITTED.write_text(text, encoding="utf-8")
        click.echo(f"{COMMITTED.name}: written; commit it")
    elif check:
        if not COMMITTED.exists() or COMMITTED.read_text(encoding="utf-8") != text:
            raise click.ClickException(f"{COMMITTED.name} is not what the code says; run `luxe api openapi --write`")
        click.echo(f"{COMMITTED.name}: as the code has it")
    else:
        click.echo(text, nl=False)
