"""A broker of one's own that is spoken to in TLS, and knows clients by certificate or password; in the clear for its keeper."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.kafka import make_admin
from connectors.settings import Settings
from connectors.stack import kafka
from connectors.stack.ports import free_port
from connectors.stack.stack import LocalStack

PASSWORD, KEY_PASSWORD = "so-ein-geheimnis", "noch-eins"  # of this test's broker only
TLS, LOGIN, MUTUAL = "tls", "login", "mutual"


class Authority:
    """Signs certificates, and is trusted by whoever is given its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, rsa.generate_private_key(65_537, 2_048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._build(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def sign(self, name: str, address: str = "127.0.0.1", password: str = "") -> tuple[Path, Path]:
        """A certificate, and its key."""
        key = rsa.generate_private_key(65_537, 2_048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        signed = self._build(subject, key).add_extension(here, critical=False).sign(self._key, hashes.SHA256())
        sealed: Any = serialization.BestAvailableEncryption(password.encode()) if password else None
        key_file, file = self._folder / f"{name}-key.pem", self._folder / f"{name}.pem"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                sealed or serialization.NoEncryption(),
            )
        )
        file.write_bytes(_pem(signed))
        return file, key_file

    def _build(self, subject: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        return made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Secured:
    """The broker: its addresses, and who is trusted."""

    folder: Path
    keeper: Settings
    ports: dict[str, int]
    authority: Authority

    def settings(self, listener: str, **given: Any) -> Settings:
        """Of whoever speaks to that listener and trusts its certificate."""
        security = "SASL_SSL" if listener == LOGIN else "SSL"
        about: dict[str, Any] = {
            "state_dir": self.folder / "clients",
            "kafka_bootstrap": f"127.0.0.1:{self.ports[listener]}",
            "kafka_security": security,
            "kafka_ca_file": self.authority.certificate,
        }
        return Settings(**(about | given))


@contextmanager
def secured_broker() -> Iterator[Secured]:
    """With users `scram` and `plain` by PASSWORD, who may do everything, as may who is `CN=client`; `outsider` may nothing."""
    with tempfile.TemporaryDirectory(prefix="luxe-secured-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        authority = Authority(folder, "authority")
        certificate, key = authority.sign("broker")
        store = folder / "store.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        ports: dict[str, int] = {}
        for listener in (TLS, LOGIN, MUTUAL):
            ports[listener] = free_port(ports.values())
        plain = kafka.broker_properties

        def with_more(*given: Any) -> dict[str, str]:
            return _secured(plain(*given), ports, store, authority.certificate)

        local = LocalStack(folder / "state", durable=False, default_ports=False, partitions=4, owner_pid=os.getpid())
        try:
            with patch.object(kafka, "broker_properties", with_more):
                local.up(["kafka"])
            keeper = local.settings()
            user = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
            admin = make_admin(keeper)
            made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion("scram", user, PASSWORD.encode())])
            for one in made.values():
                one.result(30)
            yield Secured(folder, keeper, ports, authority)
        finally:
            local.wipe()


def _secured(properties: dict[str, str], ports: dict[str, int], store: Path, trusted: Path) -> dict[str, str]:
    listening = ",".join(f"{listener.upper()}://127.0.0.1:{port}" for listener, port in ports.items())
    modules = "org.apache.kafka.common.security"
    return properties | {
        "listeners": f"{properties['listeners']},{listening}",
        "advertised.listeners": f"{properties['advertised.listeners']},{listening}",
        "listener.security.protocol.map": f"{properties['listener.security.protocol.map']},TLS:SSL,LOGIN:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trusted),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.login.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.login.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        "listener.name.login.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required"
        f' user_plain="{PASSWORD}" user_outsider="{PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:scram;User:plain;User:CN=client",
    }
