"""``python -m connectors.loopback``: the loopback provider as a process of its own."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click
import uvloop
from pydantic import ValidationError

from connectors.loopback.app import Options, serve
from connectors.loopback.store import StoreError
from connectors.settings import Settings, SettingsError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=18200, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option(
    "--state-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where messages and keys are kept, across restarts. Made when missing (0700); holds message bodies in clear.",
)
@click.option(
    "--receipts",
    type=click.Choice(["on", "off"]),
    default="on",
    envvar="LUXE_LOOPBACK_RECEIPTS",
    show_envvar=True,
    help="Whether to post receipts.",
)
@click.option("--webhook-url", help="Base URL of our webhooks, for email events and inbound texts.")
@click.option(
    "--sendgrid-webhook-path", default="/webhooks/sendgrid/events", help="Path of the event webhook under it."
)
@click.option("--inbound-webhook-path", default="/webhooks/twilio/inbound", help="Path of inbound texts under it.")
@click.option(
    "--messaging-service",
    "messaging_services",
    multiple=True,
    metavar="MG…=NUMBER[,NUMBER]",
    help="A messaging service and its numbers; repeat for more.",
)
@click.option("--sent-after-ms", default=20, type=click.IntRange(0, 600_000), help="Acceptance to `sent`.")
@click.option("--delivered-after-ms", default=100, type=click.IntRange(0, 600_000), help="Acceptance to the outcome.")
@click.option(
    "--max-messages", default=1_000_000, type=click.IntRange(1), help="Messages kept for inspection; the oldest leave."
)
@click.option(
    "--max-log-bytes", default=8 << 30, type=click.IntRange(1 << 20), help="Log size past which it answers 503."
)
@click.option("--receipt-concurrency", default=32, type=click.IntRange(1, 1000), help="Receipts posted at a time.")
@click.option("--max-receipt-attempts", default=10, type=click.IntRange(1, 100), help="Tries of one receipt.")
@click.option("--max-pending-receipts", default=1_000_000, type=click.IntRange(1), help="More than this are dropped.")
def main(
    host: str,
    port: int,
    state_dir: Path,
    receipts: str,
    webhook_url: str | None,
    sendgrid_webhook_path: str,
    inbound_webhook_path: str,
    messaging_services: tuple[str, ...],
    sent_after_ms: int,
    delivered_after_ms: int,
    max_messages: int,
    max_log_bytes: int,
    receipt_concurrency: int,
    max_receipt_attempts: int,
    max_pending_receipts: int,
) -> None:
    """Speak the HTTP of Twilio's Messages, SendGrid's mail/send and FCM v1 on this machine, and send nothing anywhere.

    Credentials are the ones the pipeline is set to use: LUXE_TWILIO_ACCOUNT_SID, LUXE_TWILIO_AUTH_TOKEN and
    LUXE_SENDGRID_API_KEY. For push, give firebase-admin the service account file written into the state directory.

    What was sent: GET /messages and /messages/count. Misbehave: POST /faults. See docs/loopback-provider.md.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if delivered_after_ms < sent_after_ms:
        raise click.UsageError("--delivered-after-ms: must not be less than --sent-after-ms")
    services: dict[str, list[str]] = {}
    for service, separator, numbers in (one.partition("=") for one in messaging_services):
        if not (separator and service and numbers):
            raise click.UsageError("--messaging-service: write MG…=NUMBER[,NUMBER]")
        services[service] = numbers.split(",")
    try:
        settings = Settings()
        options = Options(
            host=host,
            port=port,
            state_dir=state_dir,
            account_sid=settings.twilio_account_sid,
            auth_token=settings.twilio_auth_token.get_secret_value(),
            api_key=settings.sendgrid_api_key.get_secret_value(),
            receipts=receipts == "on",
            webhook_url=webhook_url,
            sendgrid_webhook_path=sendgrid_webhook_path,
            inbound_webhook_path=inbound_webhook_path,
            messaging_services=services,
            sent_after_ms=sent_after_ms,
            delivered_after_ms=delivered_after_ms,
            max_messages=max_messages,
            max_log_bytes=max_log_bytes,
            receipt_concurrency=receipt_concurrency,
            max_receipt_attempts=max_receipt_attempts,
            max_pending_receipts=max_pending_receipts,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except ValidationError as error:
        wrong = ", ".join(f"LUXE_{problem['loc'][0]}".upper() for problem in error.errors(include_input=False))
        sys.exit(f"loopback provider: settings cannot be used: {wrong}; correct or unset them")
    except (StoreError, SettingsError) as error:
        sys.exit(f"loopback provider: {error}")
    except OSError as error:
        sys.exit(f"loopback provider: cannot listen on {host}:{port} ({error.strerror or error}); give another --port")


if __name__ == "__main__":
    main()
