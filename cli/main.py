"""`luxe`: one command, a module for each of its words, imported only when that word is used."""

from __future__ import annotations

import importlib
import sys

import click

from connectors.logs import is_ours, trace_of

# word → (module that exposes `command`, one line of help). The help is here so that `luxe --help` imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("cli.up", "Start the stack and the pipeline; start again what died."),
    "down": ("cli.down", "Stop what `up` started."),
    "demo": ("cli.demo", "Run a made-up clinic's day through all of it; account for it."),
    "account": ("cli.account", "Count every notification once, by its final state."),
    "explain": ("cli.explain", "Why somebody did, or did not, get a notification; all of a patient's."),
    "simulate": ("cli.simulate", "A made-up clinic's year in minutes: what would be sent."),
    "what-if": ("cli.what_if", "Would somebody get it at some time? Nothing is sent."),
    "watch": ("cli.watch", "Follow deliveries live: one line for each decision and status."),
    "send": ("cli.send", "Send one notification by hand, as the API does."),
    "waitlist": ("cli.waitlist", "Waitlist slots and whose turn it is; play one through in seconds."),
    "query": ("cli.query", "Ask ClickHouse; without a query, list what can be asked."),
    "topics": ("cli.topics", "Print, create and compare the topic table."),
    "produce": ("cli.produce", "Publish events: a practice system's CSV export, or JSON."),
    "catalog": ("cli.catalog", "Which event tells whom what; check a changed catalogue."),
    "dead-letters": ("cli.dead_letters", "What could not be handled, why, and what mends it."),
    "status": ("cli.status", "Show services, queues, providers; exit 1 if a service is not well."),
    "metrics": ("cli.metrics", "Every metric; where Prometheus finds them; what they say now."),
    "recipients": ("cli.recipients", "Import patients and staff from a file; show one, redacted."),
    "policies": ("cli.policies", "Import clinics' policies from YAML; list them."),
    "documents": ("cli.documents", "Clinics' blank forms that emails carry: add, list, remove."),
    "segments": ("cli.segments", "Birthdays, the inactive and the like: list, scan, try."),
    "prices": ("cli.prices", "What texts cost by country; check a file of your own contract."),
    "templates": ("cli.templates", "Check, preview and publish the texts of notifications."),
    "api": ("cli.api", "The API's OpenAPI description: print it, write it, compare it."),
    "token": ("cli.token", "A token for the API, signed with this installation's secret."),
    "keys": ("cli.keys", "Status and rotation of the encryption keys; erase a person."),
    "schemas": ("cli.schemas", "List, check, generate, document and push the record contracts."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(word, line) for word, (_module, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luxe-notify", prog_name="luxe")
def luxe() -> None:
    """Luxe Notify: a clinic's events in, SMS, email, push and in-app out, every step on record. New here? Run `luxe demo`."""


def main() -> None:
    """The program `luxe`. What goes wrong is one clear line, and exit status 1; a bug shows where it is, and no value."""
    try:
        luxe()
    except Exception as error:  # noqa: BLE001 — the last stop of every command
        # An error of ours is a sentence that says what is wrong and what to do. One of anybody else's is a bug of ours.
        said = str(error) if is_ours(error) else f"a bug; please report this\n{trace_of(error)}"
        click.echo(f"luxe: {said}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
