"""``python -m connectors.webhooks``: the webhooks as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import click

from connectors.serving import Address, serve
from connectors.webhooks.app import make_app


@click.command()
def main() -> None:
    """Take the providers' signed receipts and turn them into statuses."""
    serve(
        "webhooks",
        make_app,
        lambda settings: Address(settings.webhook_host, settings.webhook_port, "LUXE_WEBHOOK_PORT"),
    )


if __name__ == "__main__":
    main()
