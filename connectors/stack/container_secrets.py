"""``python -m connectors.stack.container_secrets``: makes the secrets that docker-compose.kafka.yml reads, once.

A secret that is there already is kept: the stores were made with it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click

DEFAULT_DIRECTORY = Path(".secrets")
POSTGRES_USER = CLICKHOUSE_USER = "luxe"


def make_secrets(directory: Path) -> list[Path]:
    """Writes every secret that is missing; returns the files it wrote.

    The folder is private (0700), the files in it are not: they are bound into containers, whose account must read them.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    written = []

    def keep(name: str, fresh: str) -> str:
        path = directory / name
        if not path.exists():
            path.write_text(fresh)
            path.chmod(0o644)
            written.append(path)
        return path.read_text()

    postgres = keep("postgres_password", secrets.token_hex(24))
    keep("luxe_postgres_dsn", f"postgresql://{POSTGRES_USER}:{postgres}@postgres:5432/luxe")
    clickhouse = keep("clickhouse_password", secrets.token_hex(24))
    keep("luxe_clickhouse_dsn", f"http://{CLICKHOUSE_USER}:{clickhouse}@clickhouse-server:8123/luxe")
    keep("luxe_twilio_auth_token", secrets.token_hex(16))
    keep("luxe_sendgrid_api_key", f"SG.{secrets.token_hex(16)}")
    return written


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DIRECTORY)
def main(directory: Path) -> None:
    """Make the containers' secrets in DIRECTORY (default .secrets)."""
    written = make_secrets(directory)
    click.echo(
        f"{len(written)} secrets made in {directory}. Next: docker compose -f docker-compose.kafka.yml up --build"
    )


if __name__ == "__main__":
    main()
