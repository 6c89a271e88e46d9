"""What refuses us says so in our log, not that it is away: TLS spoken to our broker, and our way of speaking to who wants TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors import kafka, kafka_log
from connectors.kafka import make_producer
from connectors.kafka_log import ClientLog
from connectors.kafka_refusals import NO_TLS, UNTRUSTED, WANTS_TLS, Refusal
from connectors.settings import Settings
from tests.conftest import Stack

pytestmark = pytest.mark.integration

SECONDS = 15.0


@pytest.fixture(autouse=True)
def _a_log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "CLIENT_LOG", ClientLog())


@pytest.fixture
def tls_listener(tmp_path: Path) -> Iterator[str]:
    """Its address; its certificate is its own word only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    lasting = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    certificate = lasting.sign(key, hashes.SHA256())
    pem = tmp_path / "listener.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed: the test is over
                return
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=accept)
    thread.start()
    host, port = listening.getsockname()
    yield f"{host}:{port}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def first_line(settings: Settings, caplog: pytest.LogCaptureFixture, **overrides: str) -> tuple[str, str]:
    """Level and text of what a producer has us say first."""
    producer = make_producer(settings, **overrides)
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        producer.poll(0.1)
        for record in caplog.records:
            if record.name == kafka_log.__name__:
                return record.levelname, record.getMessage()
    raise AssertionError("nothing was said")


def expected(scheme: str, address: str, refusal: Refusal) -> tuple[str, str]:
    begins = "Kafka refuses us, and will until that is mended." if refusal.certain else "Kafka may refuse us."
    return "ERROR" if refusal.certain else "WARNING", f"{begins} {scheme}{address}/bootstrap: {refusal.said}"


def test_tls_spoken_to_our_broker(stack: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = stack.settings_for(tmp_path)
    said = first_line(settings, caplog, security_protocol="ssl")
    assert said == expected("ssl://", settings.kafka_bootstrap, NO_TLS)


def test_a_certificate_that_nobody_signed(tls_listener: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(state_dir=tmp_path, kafka_bootstrap=tls_listener)
    assert first_line(settings, caplog, security_protocol="ssl") == expected("ssl://", tls_listener, UNTRUSTED)


def test_a_listener_that_wants_tls(tls_listener: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(state_dir=tmp_path, kafka_bootstrap=tls_listener)
    assert first_line(settings, caplog) == expected("", tls_listener, WANTS_TLS)
