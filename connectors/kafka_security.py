"""How we speak to Kafka: in the clear, in TLS, or in TLS with a password.

For librdkafka, and for aiokafka, which keeps a stream's membership of its group. Both check that a broker's certificate is for
the name that it was asked for by, and take no TLS below 1.2, the specification's floor (OpenSSL 3 and Python's default contexts
see to it). A password without TLS is not to be had: SASL_PLAINTEXT is no choice here.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

if TYPE_CHECKING:
    from connectors.settings import Settings

Security = Literal["PLAINTEXT", "SSL", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_FILES = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file")


def faults(settings: Settings) -> list[str]:
    """What is wrong with the settings of it, each named with its mend; empty: they can be used. Reads the files they name."""
    secrets = ("kafka_username", "kafka_password", "kafka_key_password")
    named = {name: _is_given(getattr(settings, name)) for name in (*_FILES, *secrets)}
    chosen = settings.kafka_security
    if chosen == "PLAINTEXT":
        return [
            f"{_variable(name)}: is of no use without TLS; set LUXE_KAFKA_SECURITY to SSL or SASL_SSL, or leave it out"
            for name, is_given in named.items()
            if is_given
        ]
    found = []
    for name in ("kafka_username", "kafka_password"):
        if chosen == "SASL_SSL" and not named[name]:
            found.append(f"{_variable(name)}: SASL_SSL needs it")
        if chosen == "SSL" and named[name]:
            found.append(
                f"{_variable(name)}: goes with SASL_SSL, not with SSL; set LUXE_KAFKA_SECURITY, or leave it out"
            )
    if named["kafka_certificate_file"] != named["kafka_key_file"]:
        missing = "kafka_key_file" if named["kafka_certificate_file"] else "kafka_certificate_file"
        found.append(f"{_variable(missing)}: a certificate of ours and its key go together")
    if named["kafka_key_password"] and not named["kafka_key_file"]:
        found.append("LUXE_KAFKA_KEY_PASSWORD: goes with LUXE_KAFKA_KEY_FILE; set that, or leave it out")
    found += [
        f"{_variable(name)}: no such file, or not ours to read"
        for name in _FILES
        if named[name] and not _is_readable(getattr(settings, name))
    ]
    return found or _unloadable(settings)


def librdkafka(settings: Settings) -> dict[str, Any]:
    """For clients of confluent-kafka; nothing for a plaintext listener."""
    if settings.kafka_security == "PLAINTEXT":
        return {}
    found: dict[str, Any] = {
        "security.protocol": settings.kafka_security,
        "ssl.ca.location": _text(settings.kafka_ca_file),
        "ssl.certificate.location": _text(settings.kafka_certificate_file),
        "ssl.key.location": _text(settings.kafka_key_file),
        "ssl.key.password": _secret(settings.kafka_key_password),
    }
    if settings.kafka_security == "SASL_SSL":
        found |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": _secret(settings.kafka_password),
        }
    return {name: value for name, value in found.items() if value is not None}


def aiokafka(settings: Settings) -> dict[str, Any]:
    """For aiokafka's consumer; nothing for a plaintext listener."""
    if settings.kafka_security == "PLAINTEXT":
        return {}
    found: dict[str, Any] = {"security_protocol": settings.kafka_security, "ssl_context": _context(settings)}
    if settings.kafka_security == "SASL_SSL":
        found |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": _secret(settings.kafka_password),
        }
    return found


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_text(settings.kafka_ca_file))
    if _text(settings.kafka_certificate_file) is not None:
        _load_ours(context, settings)
    return context


def _load_ours(context: ssl.SSLContext, settings: Settings) -> None:
    certificate, key = _text(settings.kafka_certificate_file), _text(settings.kafka_key_file)
    # Never by asking at a terminal, which OpenSSL does for a key that needs a password and got none.
    context.load_cert_chain(certificate or "", key, password=lambda: _secret(settings.kafka_key_password) or "")


def _unloadable(settings: Settings) -> list[str]:
    # Loaded into a context of its own, without the machine's own authorities: these take 20 ms to read.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = []
    if _text(settings.kafka_ca_file) is not None:
        try:
            context.load_verify_locations(_text(settings.kafka_ca_file))
        except (ssl.SSLError, OSError):
            found.append("LUXE_KAFKA_CA_FILE: holds no certificate; it wants those of the brokers' authorities, in PEM")
    if _text(settings.kafka_certificate_file) is not None:
        try:
            _load_ours(context, settings)
        except (ssl.SSLError, OSError, ValueError):
            found.append(
                "LUXE_KAFKA_CERTIFICATE_FILE: it and LUXE_KAFKA_KEY_FILE cannot be used; they want a certificate and its own key,"
                " in PEM, and LUXE_KAFKA_KEY_PASSWORD where the key is encrypted"
            )
    return found


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except (OSError, ValueError):  # ValueError: no path can be like that
        return False


def _is_given(value: Path | str | SecretStr | None) -> bool:
    # An empty variable, as compose files and charts leave one that nobody set, is none. As a path it is the folder.
    return value != Path() and bool(value)


def _variable(name: str) -> str:
    return f"LUXE_{name.upper()}"


def _text(path: Path | None) -> str | None:
    return str(path) if _is_given(path) else None


def _secret(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
