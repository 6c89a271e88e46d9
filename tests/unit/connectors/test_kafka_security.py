"""How we speak to Kafka, by the settings; and what is wrong with them, named with its mend and without a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors import kafka_security
from connectors.kafka import client_config
from connectors.settings import Settings, SettingsError

SECRET = "so-ein-geheimnis"


@pytest.fixture
def pem(tmp_path: Path) -> Callable[[str, str], dict[str, Path]]:
    """Makes a certificate and its key, encrypted where a password is given."""

    def make(name: str, password: str = "") -> dict[str, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        who, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
        builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        signed = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1)).sign(key, hashes.SHA256())
        sealed: Any = serialization.BestAvailableEncryption(password.encode()) if password else None
        form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        files = {"certificate": tmp_path / f"{name}.pem", "key": tmp_path / f"{name}-key.pem"}
        files["certificate"].write_bytes(signed.public_bytes(form))
        files["key"].write_bytes(key.private_bytes(form, kind, sealed or serialization.NoEncryption()))
        return files

    return make


def test_in_the_clear_nothing_is_added() -> None:
    assert kafka_security.librdkafka(Settings()) == kafka_security.aiokafka(Settings()) == {}


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE", "KEY_PASSWORD", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"LUXE_KAFKA_{name}", "")
    assert kafka_security.librdkafka(Settings()) == {}
    assert kafka_security.librdkafka(Settings(kafka_security="SSL")) == {"security.protocol": "SSL"}


def test_the_machines_own_authorities_where_none_are_named() -> None:
    settings = Settings(kafka_security="SSL")
    assert kafka_security.librdkafka(settings) == {"security.protocol": "SSL"}
    context = kafka_security.aiokafka(settings)["ssl_context"]
    assert context.check_hostname


def test_a_password_goes_to_both(pem: Callable[..., dict[str, Path]]) -> None:
    authority = pem("authority")["certificate"]
    settings = Settings(
        kafka_security="SASL_SSL", kafka_ca_file=authority, kafka_username="luxe", kafka_password=SECRET
    )
    wanted = {
        **{"security.protocol": "SASL_SSL", "ssl.ca.location": str(authority)},
        **{"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "luxe", "sasl.password": SECRET},
    }
    assert kafka_security.librdkafka(settings) == wanted
    assert wanted.items() <= client_config(settings).items()
    told = kafka_security.aiokafka(settings)
    assert (told.pop("ssl_context").check_hostname, told) == (
        True,
        {
            **{"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"},
            **{"sasl_plain_username": "luxe", "sasl_plain_password": SECRET},
        },
    )
    assert SECRET not in repr(settings)


def test_a_certificate_of_ours_with_an_encrypted_key(pem: Callable[..., dict[str, Path]]) -> None:
    ours = pem("ours", SECRET)
    files = {"kafka_certificate_file": ours["certificate"], "kafka_key_file": ours["key"]}
    settings = Settings(kafka_security="SSL", kafka_key_password=SECRET, **files)
    assert kafka_security.librdkafka(settings) == {
        **{"security.protocol": "SSL", "ssl.certificate.location": str(ours["certificate"])},
        **{"ssl.key.location": str(ours["key"]), "ssl.key.password": SECRET},
    }
    kafka_security.aiokafka(settings)
    for wrong in ({}, {"kafka_key_password": "another"}):
        with pytest.raises(SettingsError, match=r"LUXE_KAFKA_CERTIFICATE_FILE.*LUXE_KAFKA_KEY_PASSWORD"):
            Settings(kafka_security="SSL", **files, **wrong)


def test_a_key_of_another_certificate(pem: Callable[..., dict[str, Path]]) -> None:
    with pytest.raises(SettingsError, match=r"LUXE_KAFKA_CERTIFICATE_FILE.*its own key"):
        Settings(
            kafka_security="SSL",
            kafka_certificate_file=pem("ours")["certificate"],
            kafka_key_file=pem("others")["key"],
        )


def test_an_authority_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(SECRET)
    with pytest.raises(SettingsError, match=r"^LUXE_KAFKA_CA_FILE: holds no certificate") as caught:
        Settings(kafka_security="SSL", kafka_ca_file=tmp_path / "ca.pem")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_password": SECRET}, ["LUXE_KAFKA_PASSWORD: is of no use without TLS"]),
        ({"kafka_ca_file": "ca.pem"}, ["LUXE_KAFKA_CA_FILE: is of no use without TLS"]),
        (
            {"kafka_security": "SASL_SSL"},
            ["LUXE_KAFKA_USERNAME: SASL_SSL needs it", "LUXE_KAFKA_PASSWORD: SASL_SSL needs it"],
        ),
        ({"kafka_security": "SSL", "kafka_username": "luxe"}, ["LUXE_KAFKA_USERNAME: goes with SASL_SSL"]),
        ({"kafka_security": "SSL", "kafka_ca_file": "no/such.pem"}, ["LUXE_KAFKA_CA_FILE: no such file"]),
        (
            {"kafka_security": "SSL", "kafka_certificate_file": "no/such.pem"},
            ["LUXE_KAFKA_KEY_FILE: a certificate of ours and its key", "LUXE_KAFKA_CERTIFICATE_FILE: no such file"],
        ),
        (
            {"kafka_security": "SASL_PLAINTEXT"},
            ["LUXE_KAFKA_SECURITY: Input should be 'PLAINTEXT', 'SSL' or 'SASL_SSL'"],
        ),
        ({"kafka_key_password": SECRET}, ["LUXE_KAFKA_KEY_PASSWORD: is of no use without TLS"]),
        ({"kafka_security": "SSL", "kafka_key_password": SECRET}, ["LUXE_KAFKA_KEY_PASSWORD: goes with"]),
        (
            {"kafka_security": "SASL_SSL", "kafka_username": "", "kafka_password": ""},
            ["LUXE_KAFKA_USERNAME: SASL_SSL needs it", "LUXE_KAFKA_PASSWORD: SASL_SSL needs it"],
        ),
        ({"kafka_security": "SSL", "kafka_ca_file": "a\0b"}, ["LUXE_KAFKA_CA_FILE: no such file"]),
        ({"kafka_sasl_mechanism": "GSSAPI"}, ["LUXE_KAFKA_SASL_MECHANISM: Input should be"]),
    ],
)
def test_what_does_not_go_together_is_named(given: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**given)
    faults = str(caught.value).split("; LUXE_")
    assert len(faults) == len(said)
    for fault, wanted in zip(faults, said, strict=True):
        assert fault.removeprefix("LUXE_").startswith(wanted.removeprefix("LUXE_"))
    assert SECRET not in str(caught.value)
