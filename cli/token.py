"""``luxe token``: a token for trying the API on this machine; in production the identity provider issues them."""

from __future__ import annotations

import time

import click
import jwt

from api.access import OWN_INBOX
from api.identity import EVERY_CLINIC, MAX_LIFETIME_SECONDS, ROLES, Unidentified, Verifier
from api.inbox_session import ENTRANCE
from api.secret import jwt_secret
from connectors.settings import Settings, SettingsError

DEFAULT_LIFETIME_SECONDS = 3600


@click.command("token")
@click.option("--role", type=click.Choice(sorted(ROLES)), required=True, help="What the caller is.")
@click.option("--sub", "subject", help="The caller's id; of a patient the practice system's id, without `patient:`.")
@click.option("--clinic", "clinics", multiple=True, metavar="ID", help="A clinic the caller works for; '*': every one.")
@click.option(
    "--seconds",
    type=click.IntRange(1, MAX_LIFETIME_SECONDS),
    default=DEFAULT_LIFETIME_SECONDS,
    show_default=True,
    help="How long it is good.",
)
@click.option("--page", is_flag=True, help="Print a link that signs a browser in to the inbox, or the alert board.")
def command(role: str, subject: str | None, clinics: tuple[str, ...], seconds: int, page: bool) -> None:
    """Print a token for the API, to be sent as `Authorization: Bearer TOKEN`.

    It is signed with LUXE_API_JWT_SECRET, or with the secret in the state directory, which is made where there is none.
    """
    if subject is None:
        if role == "patient":
            raise click.UsageError("name the patient: --sub ID")
        subject = f"dev-{role}"
    if page and role not in OWN_INBOX:
        raise click.UsageError(f"the role {role} has no inbox; leave --page out")
    if not clinics and role != "patient":
        raise click.UsageError(f"name a clinic: --clinic ID, or --clinic '{EVERY_CLINIC}' for admin and service")
    try:
        settings = Settings()
        secret = jwt_secret(settings)
        now = int(time.time())
        claims = {
            "sub": subject,
            "role": role,
            "clinics": list(clinics),
            "aud": settings.api_jwt_audience,
            "iat": now,
            "exp": now + seconds,
        }
        if settings.api_jwt_issuer is not None:
            claims["iss"] = settings.api_jwt_issuer
        token = jwt.encode(claims, secret, "HS256")
        Verifier.of(settings, secret).identify(token)  # what the API would say of it, it says now
    except (SettingsError, Unidentified) as error:
        raise click.ClickException(str(error)) from error
    # In the fragment: browsers send that to nobody, and the page takes it out of the address.
    click.echo(f"{settings.pages_url}{ENTRANCE}#{token}" if page else token)
