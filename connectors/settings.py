"""Settings: one typed object, read once at the edge of a process and passed down as an argument.

Precedence: environment (``LUXE_…``) > files named like the variables, in small letters, in the folder LUXE_SECRETS_DIR
(as containers get their secrets) > the endpoints file that ``luxe up`` writes into the state directory > defaults.
Secrets come from the environment or from files, never from the command line (it is visible to every user of a machine).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

ENDPOINTS_FILE = "endpoints.json"
DEFAULT_STATE_DIR = Path(".luxe")


class EndpointsSource(PydanticBaseSettingsSource):
    """What the running local stack says of itself: ``<state_dir>/endpoints.json``, a flat map of setting name to value."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        state_dir = Path(self.current_state.get("state_dir") or DEFAULT_STATE_DIR)
        path = state_dir / ENDPOINTS_FILE
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{path}: cannot be read ({type(error).__name__}); run `luxe up` to write it anew"
            ) from error
        if not isinstance(found, dict):
            raise SettingsError(f"{path}: expected a JSON object; run `luxe up` to write it anew")
        known = self.settings_cls.model_fields
        return {name: value for name, value in found.items() if name in known}


class SettingsError(Exception):
    """The settings cannot be used; the message names the setting and the mend."""


class Settings(BaseSettings):
    """Everything a process of ours can be told. Times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="LUXE_", extra="ignore", hide_input_in_errors=True)

    def __init__(self, **given: Any) -> None:
        """Raises SettingsError, which names each variable that cannot be used, but never its value."""
        try:
            super().__init__(**given)
        except ValidationError as error:
            faults = [f"LUXE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
            raise SettingsError("; ".join(faults)) from None

    state_dir: Path = Field(
        DEFAULT_STATE_DIR, description="Everything the local stack keeps: data, logs, keys, pid files."
    )

    # Kafka
    kafka_bootstrap: str = Field("127.0.0.1:19092", description="host:port[,host:port] of the brokers.")
    kafka_partitions: int = Field(4, ge=1, le=1024, description="Partitions of every keyed topic; 12 in production.")
    kafka_replication: int = Field(1, ge=1, le=9, description="Replicas of every topic; 3 in production.")
    kafka_min_insync: int = Field(1, ge=1, le=9, description="min.insync.replicas of every topic; 2 in production.")
    schema_registry_url: str = Field("file:", description="`file:` (the committed directory) or http(s)://registry.")
    schema_registry_auth: SecretStr | None = Field(None, description="user:password of an http registry.")

    # Postgres and ClickHouse
    postgres_dsn: SecretStr = Field(
        SecretStr("postgresql://luxe@127.0.0.1:15432/luxe"), description="libpq DSN or URL."
    )
    clickhouse_dsn: SecretStr = Field(
        SecretStr("chdb:"), description="`chdb:` (in-process) or http(s)://user:password@host:port/db."
    )
    clickhouse_http_host: str = Field("127.0.0.1", description="Where the embedded engine is served, read-only.")
    clickhouse_http_port: int = Field(18123, ge=0, le=65535)

    # Sealing
    kek_file: Path | None = Field(None, description="Key ring file (0600); default <state_dir>/keys.json.")

    # Providers. The loopback provider stands in where a base URL points at it.
    twilio_account_sid: str = Field("AC00000000000000000000000000000000")
    twilio_auth_token: SecretStr = Field(SecretStr("loopback-token"))
    twilio_base_url: str | None = Field(None, description="None: Twilio itself.")
    twilio_care_sender: str = Field("+15005550006", description="Number or messaging service (MG…) of care texts.")
    twilio_marketing_sender: str = Field(
        "+15005550009", description="Its own sender, so that STOP to marketing never blocks care."
    )
    sendgrid_api_key: SecretStr = Field(SecretStr("SG.loopback"))
    sendgrid_base_url: str | None = Field(None, description="None: SendGrid itself.")
    sendgrid_webhook_public_key: str | None = Field(None, description="Base64 DER of the event webhook's ECDSA key.")
    email_from: str = Field("care@luxe.example")
    fcm_base_url: str | None = Field(None, description="None: Firebase itself.")
    loopback_url: str | None = Field(None, description="Control address of the loopback provider, when one runs.")

    # What listens
    webhook_host: str = Field("127.0.0.1")
    webhook_port: int = Field(18090, ge=0, le=65535)
    public_base_url: str = Field(
        "http://127.0.0.1:18090", description="How providers and patients reach the webhooks and the API."
    )
    log_format: Literal["text", "json"] = "text"

    @property
    def kek_path(self) -> Path:
        """The key ring's file."""
        return self.kek_file or self.state_dir / "keys.json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        secret_files = SecretsSettingsSource(settings_cls, secrets_dir=os.environ.get("LUXE_SECRETS_DIR"))
        return init_settings, env_settings, secret_files, EndpointsSource(settings_cls)
