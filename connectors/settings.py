"""Settings: one typed object, read once at the edge of a process and passed down as an argument.

Precedence: environment (``LUXE_…``) > files named like the variables, in small letters, in the folder LUXE_SECRETS_DIR
(as containers get their secrets) > the endpoints file that ``luxe up`` writes into the state directory > defaults.
Secrets come from the environment or from files, never from the command line (it is visible to every user of a machine).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSettings

from connectors.kafka_security import Mechanism, Security
from connectors.kafka_security import faults as kafka_faults

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


def _fault(place: tuple[int | str, ...], said: str) -> str:
    # What is wrong with several together names them itself.
    return f"LUXE_{'_'.join(map(str, place)).upper()}: {said}" if place else said.removeprefix("Value error, ")


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
            raise SettingsError("; ".join(_fault(each["loc"], each["msg"]) for each in error.errors())) from None
        except UnreadableSettings as error:  # it says which, and carries the value only as its cause
            raise SettingsError(f'{error}; write a list as JSON, such as ["one", "two"]') from None

    state_dir: Path = Field(
        DEFAULT_STATE_DIR, description="Everything the local stack keeps: data, logs, keys, pid files."
    )

    # Kafka
    kafka_bootstrap: str = Field("127.0.0.1:19092", description="host:port[,host:port] of the brokers.")
    kafka_security: Security = Field(
        "PLAINTEXT",
        description="PLAINTEXT: for this machine, or a network of your own. SASL_SSL: TLS and a password.",
    )
    kafka_ca_file: Path | None = Field(
        None, description="PEM of the authorities that sign the brokers' certificates; None: the machine's own."
    )
    kafka_certificate_file: Path | None = Field(
        None, description="PEM of our own certificate, where brokers know clients by it (mutual TLS)."
    )
    kafka_key_file: Path | None = Field(None, description="PEM of its key (0600).")
    kafka_key_password: SecretStr | None = Field(None, description="Of that key, where it is encrypted.")
    kafka_sasl_mechanism: Mechanism = Field(
        "SCRAM-SHA-512", description="How the password of SASL_SSL is shown; hosted Kafka often wants PLAIN."
    )
    kafka_username: str | None = Field(None, description="Whom we are to the brokers with SASL_SSL.")
    kafka_password: SecretStr | None = Field(None, description="Its password.")
    kafka_partitions: int = Field(
        4, ge=1, le=1024, description="Partitions of every keyed topic; 12 in production, 1 in a new local stack."
    )
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
    sendgrid_replay_seconds: int = Field(
        600, ge=60, le=86_400, description="How old a signed batch of events may be; older ones are refused as replays."
    )
    email_from: str = Field("care@luxe.example")
    fcm_base_url: str | None = Field(None, description="None: Firebase itself.")
    fcm_service_account_file: Path | None = Field(
        None, description="JSON key file (0600) of the Firebase project's service account; push needs it."
    )
    loopback_url: str | None = Field(None, description="Control address of the loopback provider, when one runs.")

    push_deep_link: str = Field(
        "luxe://notifications/",
        max_length=200,
        description="What the app opens for a push message; the notification's id follows. https:// opens it in browsers too.",
    )
    push_sync_seconds: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="After an inbox changed elsewhere its owner's devices hear of it silently, once in so long; 0: never.",
    )
    push_sync_per_second: int = Field(20, ge=1, le=1_000, description="People whom one push sink tells so in a second.")
    push_sync_people: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="People who wait for that, some 200 bytes each; of more nothing is told.",
    )

    waitlist_window_seconds: int = Field(
        1_800,
        ge=1,
        le=86_400,
        description="How long one patient of a waitlist has a slot to herself, at most; a slot's own expires_at may say less.",
    )

    inbox_days: int = Field(
        365, ge=1, le=3650, description="How long an in-app message stays in its inbox; alerts stay until they expire."
    )

    segments_file: Path | None = Field(
        None, description="YAML of the segments that are scanned for daily; None: those that are shipped."
    )

    # What listens
    webhook_host: str = Field("127.0.0.1")
    webhook_port: int = Field(18090, ge=0, le=65535)
    public_base_url: str = Field(
        "http://127.0.0.1:18090", description="How providers and patients reach the webhooks and the API."
    )
    pages_base_url: str | None = Field(
        None, description="How patients' browsers reach the API's pages, in links; None: as public_base_url says."
    )
    unsubscribe_days: int = Field(
        180, ge=30, le=3650, description="How long an unsubscribe link works; CAN-SPAM (15 USC 7704) wants 30 days."
    )
    sms_prices_file: Path | None = Field(
        None,
        description="YAML of what texts cost by country, and clinics' own contracts; None: the list that is shipped.",
    )
    short_link_days: int = Field(
        90, ge=1, le=730, description="How long the short links of a message work, counted from its sending."
    )
    sms_keyword_answers: Literal["provider", "ours"] = Field(
        "provider",
        description="Who answers STOP, START and HELP: Twilio, as it does by default, or we, where it was told not to.",
    )
    inbound_sweep_seconds: int = Field(
        60,
        ge=0,
        le=3600,
        description="The webhooks ask Twilio for texts from phones that they missed, once in so long; 0: never.",
    )
    inbound_sweep_days: int = Field(
        3, ge=1, le=30, description="How far back they ask after an outage; what is older stays missed, and is said so."
    )
    replies_stale_seconds: float = Field(
        10.0,
        ge=3,
        le=300,
        description="No answer about an appointment is taken while what moved or was called off is known no newer than this.",
    )
    api_host: str = Field("127.0.0.1")
    api_port: int = Field(18080, ge=0, le=65535)
    log_format: Literal["text", "json"] = "text"
    metrics: bool = Field(
        True, description="Whether each process answers Prometheus on /metrics; false: it does not listen."
    )
    metrics_host: str = Field("127.0.0.1", description="Where it does; anything but loopback wants a network policy.")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="For one process; 0: a free port, the same one again, told in <state_dir>/metrics.",
    )

    # Who may ask the API: tokens of the clinic's identity provider (JWKS), or signed with a secret that both sides hold.
    api_jwt_secret: SecretStr | None = Field(
        None, min_length=32, description="Signs HS256 tokens; default: the file <state_dir>/api-jwt-secret."
    )
    api_jwks: str | None = Field(
        None, description="https URL, or path, of the identity provider's JWKS: RS256 tokens are taken too."
    )
    api_jwt_audience: str = Field("luxe-api", min_length=1, description="What tokens must be for (aud).")
    api_jwt_issuer: str | None = Field(
        None, description="Who must have issued them (iss); None: whoever holds the key."
    )
    api_jwt_skew_seconds: int = Field(30, ge=0, le=300, description="How far clocks may be apart.")

    # How much the API takes
    api_request_seconds: float = Field(10.0, gt=0, le=120, description="A request that takes longer is answered 503.")
    api_in_force_seconds: float = Field(5.0, gt=0, le=60, description="How long a write waits to be in Kafka.")
    api_requests_per_second: float = Field(50.0, gt=0, description="Of one caller, or of one address without a token.")
    api_service_requests_per_second: float = Field(5_000.0, gt=0, description="Of one caller with the role service.")
    # Open connections to inboxes
    inbox_heartbeat_seconds: float = Field(
        25.0, ge=0.05, le=300, description="Below the minute after which proxies drop what is silent."
    )
    inbox_send_seconds: float = Field(
        10.0, gt=0, le=120, description="A connection whose client does not read for so long is closed (4408)."
    )
    inbox_connections: int = Field(5_000, ge=1, le=100_000, description="Open at once in one process (503).")
    inbox_connections_each: int = Field(16, ge=1, le=1_000, description="Of one person in one process (429).")
    inbox_search_items: int = Field(
        500, ge=1, le=10_000, description="A search opens so many of a person's newest items, and says so."
    )

    api_cors_origins: tuple[str, ...] = Field(
        (), description='Origins whose pages may call the API, as JSON (["https://portal.example"]); none by default.'
    )

    @model_validator(mode="after")
    def _speaks_to_kafka(self) -> Self:
        if faults := kafka_faults(self):
            raise ValueError("; ".join(faults))
        return self

    @property
    def kek_path(self) -> Path:
        """The key ring's file."""
        return self.kek_file or self.state_dir / "keys.json"

    @property
    def pages_url(self) -> str:
        """What links in messages begin with."""
        return (self.pages_base_url or self.public_base_url).rstrip("/")

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
