"""`python -m streams intake|notify|coordinator`: one hop, or the waitlist's coordinator, as a process of its own."""

from __future__ import annotations

import sys
from typing import NoReturn

from connectors.exit_status import EXIT_SETTINGS
from connectors.logs import configure_logging
from connectors.sealing import KeyRingError
from connectors.settings import Settings, SettingsError
from schemas.registry import RegistryError
from streams.catalog import CatalogError

HOPS = ("intake", "notify")
COORDINATOR = "coordinator"


def main(arguments: list[str]) -> NoReturn:
    """Runs the hop until it is told to end. Exit status 1: not a hop; 78: it cannot be configured; else the runtime's own."""
    if len(arguments) != 1 or arguments[0] not in (*HOPS, COORDINATOR):
        sys.exit(f"usage: python -m streams {'|'.join((*HOPS, COORDINATOR))}")
    try:
        settings = Settings()
        configure_logging(settings.log_format)
        if arguments[0] == COORDINATOR:
            from streams.waitlist.process import run

            sys.exit(run(settings))
        if arguments[0] == "intake":
            from streams.intake import build_intake as build
        else:
            from streams.app import build_notify as build
        app = build(settings)
    except (SettingsError, KeyRingError, RegistryError, CatalogError) as error:
        print(f"streams {arguments[0]}: {error}", file=sys.stderr)
        sys.exit(EXIT_SETTINGS)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1:])
