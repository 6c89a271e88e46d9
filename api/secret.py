"""The secret that signs HS256 tokens: a setting, or else a file of the installation's own, readable by its user only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from connectors.settings import Settings, SettingsError

SECRET_FILE = "api-jwt-secret"  # noqa: S105 — a file's name
# RFC 7518 §3.2: an HS256 key is at least as long as its hash.
SECRET_BYTES = 32


def jwt_secret(settings: Settings) -> str:
    """The secret; the file is made where neither it nor the setting exists. Raises SettingsError."""
    if settings.api_jwt_secret is not None:
        return settings.api_jwt_secret.get_secret_value()
    path = settings.state_dir / SECRET_FILE
    try:
        _make(path)
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path}: others may read it; chmod 600 it, or remove it and a new one is made")
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}; make the folder writable, or set LUXE_API_JWT_SECRET"
        ) from error
    if len(secret) < SECRET_BYTES:
        raise SettingsError(f"{path}: holds {len(secret)} characters, at least {SECRET_BYTES} are needed; remove it")
    return secret


def _make(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
    try:
        os.link(draft, path)  # whoever is first wins; nobody ever reads half a secret
    except FileExistsError:
        return
    finally:
        draft.unlink()
