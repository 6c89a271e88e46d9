"""``python -m api``: the API as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import click

from api.app import make_app
from connectors.serving import Address, serve


@click.command()
def main() -> None:
    """Serve the API on loopback, or where LUXE_API_HOST and LUXE_API_PORT say."""
    serve("api", make_app, lambda settings: Address(settings.api_host, settings.api_port, "LUXE_API_PORT"))


if __name__ == "__main__":
    main()
